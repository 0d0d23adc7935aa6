"""A run that has come as far as the gate, with stand-ins for what its steps have made."""

import json
from pathlib import Path

from published_tickets import export

from pipeline.config import Settings
from pipeline.flow import Flow
from pipeline.recipes import load_recipe
from pipeline.steps import GRAPH, node_name
from pipeline.store import Factors

SCORE = {"value": 0.9, "interval": [0.8, 1.0]}
GATE = {
    "kind": "classification",
    "metric": "macro_f1",
    "rows": 1200,
    "reasons": ["Every critical rule holds."],
    "scores": {model: {"accuracy": SCORE, "macro_f1": SCORE} for model in ("candidate", "baseline", "champion")},
    "bootstrap": {"confidence": 0.95},
}


def judged_run(recipe: Path, workspace: Path, verdict: str, *overrides: str, candidate: str = "one") -> Flow:
    """Return a run of a recipe whose task `kind` has a verdict on a candidate."""
    flow = Flow.create(load_recipe(recipe, overrides), recipe, Settings(workspace=workspace))
    results = {
        "validate": {},
        "pretrain": {},
        "finetune": {},
        "evaluate": {},
        "gate": {"verdict": verdict, "reasons": GATE["reasons"]},
        "publish": {"forced": None},
    }
    for step, result in results.items():

        def write(out: Path, step: str = step, result: dict = result) -> dict:
            if step == "evaluate":
                (out / "metrics.json").write_text('{"accuracy": 0.9}')
            if step == "gate":
                (out / "gate.json").write_text(json.dumps(GATE | {"verdict": verdict}))
            if step == "publish":
                export(out / "export", 0.9, 1, ["a"], verdict)
            return result

        artifact = flow.store.run(step, Factors(step, {"candidate": candidate, "verdict": verdict}, {}, ""), write)
        entry = {"reference": artifact.reference, "hit": False, "seconds": 0.0, "status": "done"}
        node = node_name(step, "kind" if GRAPH[step].per_task else None)
        flow.store.runs.record(flow.run_id, node, entry)
    return flow

"""Make the export of a proven model: bundle, metrics, verdict, recipe and card, reopened in a fresh process.

The registry is not touched here: a failed proof leaves nothing to register, and `pipeline/flow.py` registers only what
this step returned.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.errors import PublishError
from pipeline.formats.formats import KERAS
from pipeline.publishing.adapters import ADAPTERS, export_adapters
from pipeline.publishing.archive import packages_of
from pipeline.publishing.card import model_card
from pipeline.publishing.exports import prove_formats, write_formats
from pipeline.publishing.golden import golden_rows
from pipeline.publishing.proof import prove, prove_on_backends

if TYPE_CHECKING:
    from pipeline.config import Decode, Recipe
    from pipeline.progress import Progress


@dataclass(frozen=True)
class PublishResult:
    """A proven export.

    files: relative path -> bytes. max_difference: largest absolute difference of a probability on the golden rows.
    forced: why it is published against the verdict; None when the verdict is a pass. formats: those beside `.keras`.
    """

    task: str
    files: dict[str, int]
    golden_rows: int
    max_difference: float
    tolerance: float
    backend: str
    forced: str | None = None
    formats: tuple[str, ...] = ()


def publish(
    recipe: Recipe,
    task: str,
    model: Path,
    evaluation: Path,
    verdict: Path,
    rows: Path,
    out: Path,
    progress: Progress,
    *,
    recipe_yaml: str,
    backbone: Path | None = None,
    force: str | None = None,
) -> PublishResult:
    """Write out/export/ and out/proof.json.

    Args:
        recipe: `name`, `publish`, `tasks.<task>.decode` and `runtime.backend` are read.
        task: name of the task.
        model: bundle folder of the candidate.
        evaluation: artifact folder of `evaluate` for this candidate.
        verdict: artifact folder of `gate` for this candidate.
        rows: artifact folder of `validate`, whose reference goes with the model: later rows are compared with it.
        out: receives export/ and proof.json.
        progress: told how the proof went.
        recipe_yaml: the whole recipe, kept in the export and told in the card.
        backbone: artifact folder of `pretrain`, on which adapters alone are put again; None where none are asked for.
        force: why it is to be published whatever the verdict; kept in the export's gate.json and told in the card.

    Raises:
        PublishError: the verdict is not a pass and nobody forces it, or the reopened export answers differently.

    """
    from pipeline.backend import installed_backends, select_backend
    from pipeline.judge.predictions import read_metrics, read_predictions

    gate = _judged(verdict, task, force, progress)
    backend = select_backend(recipe.runtime.backend)
    export = out / "export"
    _assemble(export, recipe, task, model, evaluation, rows)
    (export / "gate.json").write_text(json.dumps(gate, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (export / "recipe.yaml").write_text(recipe_yaml, "utf-8")
    packages = packages_of(export / "model.keras", backend)
    requirements = "".join(f"{name}=={number}\n" for name, number in packages.items())
    (export / "requirements.txt").write_text(requirements, "utf-8")

    asked, predictions = recipe.publish, read_predictions(evaluation)
    golden = golden_rows(predictions, asked.golden_rows)
    proof = prove(export, golden, out) | {"task": task, "backend": backend, "packages": packages}
    progress.say(f"reopened in a fresh process: {proof['rows']} rows agree within {proof['max_difference']:.1e}")
    others = [name for name in installed_backends() if name != backend] if asked.backends == "installed" else []
    proof["backends"] = prove_on_backends(export, golden, others, progress)
    formats = [name for name in dict.fromkeys(asked.formats) if name != KERAS]
    write_formats(export, formats)
    proof["formats"] = prove_formats(export, formats, predictions, asked.golden_rows, progress)
    (out / "proof.json").write_text(json.dumps(proof, indent=2) + "\n", "utf-8")

    adapters = model.parent / ADAPTERS
    if asked.adapters and backbone and adapters.is_dir():
        export_adapters(export, adapters, backbone)
        progress.say("the adapters on their backbone give the very weights of the model")

    name = asked.registered_model.format(recipe=recipe.name, task=task)
    card = model_card(name, yaml.safe_load(recipe_yaml), task, read_metrics(evaluation), gate, proof)
    (export / "MODEL_CARD.md").write_text(card, "utf-8")
    files = {
        path.relative_to(export).as_posix(): path.stat().st_size for path in sorted(export.rglob("*")) if path.is_file()
    }
    worst, tolerance = proof["max_difference"], proof["tolerance"]
    return PublishResult(task, files, proof["rows"], worst, tolerance, backend, gate.get("forced"), tuple(formats))


def _judged(verdict: Path, task: str, force: str | None, progress: Progress) -> dict[str, Any]:
    """Return the verdict, with the reason why it is overruled where it is; one that is not a pass is refused."""
    gate: dict[str, Any] = json.loads((verdict / "gate.json").read_text("utf-8"))
    if gate["verdict"] == "pass":
        return gate
    if force is None:
        raise PublishError(
            f"the verdict on {task!r} is {gate['verdict']!r}; only 'pass' is published. Reasons: "
            f"{' '.join(gate['reasons']) or 'none given'} To publish it all the same, and have it recorded why: "
            "--force REASON"
        )
    progress.say(f"the verdict on {task} is {gate['verdict']}, and it is published by force: {force}")
    return gate | {"forced": force}


def _assemble(export: Path, recipe: Recipe, task: str, model: Path, evaluation: Path, rows: Path) -> None:
    """Copy into a new folder what earlier steps have made."""
    shutil.rmtree(export, ignore_errors=True)  # half of one, when an earlier attempt was killed
    shutil.copytree(model, export)
    section = recipe.tasks[task]
    if section.data.kind == "generation":
        _settle(export / "bundle.json", section.decode)
    shutil.copy2(evaluation / "metrics.json", export)
    (export / "reference").mkdir()
    for path in (rows / "reference").glob(f"{task}.*"):
        shutil.copy2(path, export / "reference")


def _settle(card: Path, decode: Decode) -> None:
    """Write into a bundle's card how it is to write its answers: as it was evaluated."""
    values = json.loads(card.read_text("utf-8")) | {"decode": decode.model_dump(mode="json")}
    card.write_text(json.dumps(values, indent=2, ensure_ascii=False), "utf-8")

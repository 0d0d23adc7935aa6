"""The verdict as a question to the person who decides whether a candidate is published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.judge.names import opponent, spoken
from pipeline.judge.prose import cell

VERDICTS = {"pass": "passed", "needs_review": "needs a person's review"}
ASKED = ("candidate", "champion", "baseline", "scratch")


def question(model: str, gate: Mapping[str, Any], champion: str | None, links: Mapping[str, str]) -> tuple[str, str]:
    """Return the question as one line, and as Markdown what an answer needs.

    Args:
        model: str. Name in the registry.
        gate: mapping. Contents of gate.json, whose verdict is no `fail`.
        champion: str or None. The version that serves now.
        links: mapping of str to str. What else there is to read -> its address.
    """
    verdict, kind = VERDICTS[gate["verdict"]], gate["kind"]
    models = [name for name in ASKED if name in gate["scores"]]
    titles = [opponent(name, kind) + (f" (version {champion})" if name == "champion" else "") for name in models]
    metrics = sorted(gate["scores"]["candidate"], key=lambda name: name != gate["metric"])  # the decisive one first
    rows = [
        f"| {spoken(metric)} | {' | '.join(cell(gate['scores'][name][metric]) for name in models)} |"
        for metric in metrics
    ]
    against = f"It would take the place of version {champion}." if champion else "It would be the first champion."
    bootstrap = gate["bootstrap"]
    lines = [
        f"**The candidate for `{model}` {verdict}.** {against}",
        "",
        *(f"- {reason}" for reason in gate["reasons"]),
        "",
        f"| metric | {' | '.join(titles)} |",
        "|---|" + "---|" * len(models),
        *rows,
        "",
        f"On {gate['rows']:,} test rows, with {bootstrap['confidence']:.0%} intervals: where "
        "they overlap, chance may have made the difference.",
        "",
        " · ".join(f"[{title}]({address})" for title, address in links.items()),
    ]
    return f"Publish {model}? The candidate {verdict}", "\n".join(lines)

"""What a person sees at the end of a run: per task the metrics side by side, the verdict, and how to use the model."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.output import duration
from pipeline.config.search import spoken_value
from pipeline.judge.names import HEADLINES, opponent, sign, spoken
from pipeline.progress import describe

if TYPE_CHECKING:
    from pipeline.flow import Outcome, TaskOutcome
    from pipeline.store import Artifact


VERDICTS = {"pass": ("passed", "green"), "fail": ("refused", "red"), "needs_review": ("needs review", "yellow")}


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Print the tables of a finished run, its report and its time."""
    for name, task in outcome.tasks.items():
        console.print()
        _print_task(name, task, console)
    console.print()
    facts = Facts()
    facts.add("report", str(outcome.report))
    facts.add("run", f"{outcome.run_id}  in {duration(outcome.seconds)}  look into it: tradewind show {outcome.run_id}")
    console.print(facts.table)


def print_artifact(artifact: Artifact, console: Console) -> None:
    """Print where a step's artifact is and the figures it returned."""
    facts = Facts()
    facts.add("artifact", artifact.reference)
    facts.add("folder", str(artifact.path))
    figures: dict[str, float | str] = {
        name.replace("_", " "): value
        for name, value in artifact.result.items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    }
    if figures:
        facts.add("result", describe(figures))
    console.print(facts.table)
    if trials := artifact.result.get("trials"):
        console.print(_trials_table(trials, artifact.result["metric"], artifact.result["best_trial"]))


def _print_task(name: str, task: TaskOutcome, console: Console) -> None:
    word, colour = VERDICTS[task.verdict]
    title = Text(name, style="bold")
    title.append(f"  {word}", style=f"bold {colour}")
    title.append(f", published as {task.model} version {task.version}" if task.version else ", not published")
    if task.waits:
        title.append(" yet: awaiting approval", style="bold yellow")
    console.print(title)
    console.print(_metrics_table(task))
    if search := task.search:
        console.print(_trials_table(search["trials"], search["metric"], search["best_trial"]))
    facts = Facts()
    if task.forced:
        facts.add("forced", task.forced, style="bold red")
    if task.waits:
        facts.add("approval", "the recipe wants a person's; run the same command again with --approve REASON")
    for number, reason in enumerate(task.reasons):
        facts.add("" if number else "verdict", reason)
    for number, place in enumerate(task.delivered):
        facts.add("" if number else "also at", place)
    if task.example:
        label, confidence = task.example["label"], task.example["confidence"]
        text, pair = (" ".join((task.example.get(key) or "").split()) for key in ("text", "text_pair"))
        sure = "" if confidence is None else f"  ({float(confidence):.0%})"
        facts.add("example", f"{' | '.join(filter(None, (text, pair)))} → {label}{sure}")
        if task.version:
            second = f" --pair {quote(pair)}" if pair else ""
            facts.add("", f"tradewind predict --model {task.model} {quote(text)}{second}", style="cyan")
    console.print(facts.table)


def _metrics_table(task: TaskOutcome) -> Table:
    """Return one row per metric; the best value of each row is bold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=True, show_edge=False, padding=(0, 2, 0, 1))
    table.add_column("", min_width=16)
    rival = opponent("baseline", task.candidate.get("kind"))
    columns = {"candidate": task.candidate, rival: task.baseline, "champion": task.champion}
    if task.scratch:
        columns["without pretraining"] = task.scratch
    for title in columns:
        table.add_column(title, justify="right", min_width=9)
    for metric in HEADLINES[task.candidate.get("kind", "classification")]:
        values = [_value(metrics, metric) for metrics in columns.values()]
        known = [value for value in values if value is not None]
        if known:
            best = max(known, key=lambda value: sign(metric) * value)
            cells = [Text("-", style="dim") if value is None else _cell(value, best) for value in values]
            table.add_row(spoken(metric, start=False), *cells)
    return table


def _trials_table(trials: Sequence[Mapping[str, Any]], metric: str, best: int) -> Table:
    """Return one row per trial of a search; the best is bold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=True, show_edge=False, padding=(0, 2, 0, 1))
    for title in ("trial", *trials[0]["values"], f"validation {spoken(metric, start=False)}", "time"):
        table.add_column(title, justify="right")
    for trial in trials:
        values = [spoken_value(value) for value in trial["values"].values()]
        found = "diverged" if trial["metric"] is None else f"{trial['metric']:.3f}"
        style = "bold" if trial["trial"] == best else ""
        table.add_row(str(trial["trial"]), *values, found, duration(trial["seconds"]), style=style)
    return table


def _value(metrics: dict[str, Any] | None, metric: str) -> float | None:
    value = (metrics or {}).get(metric)
    return None if value is None else float(value)


def _cell(value: float, best: float) -> Text:
    return Text(f"{value:.3f}", style="bold" if value == best else "")


def quote(text: str) -> str:
    """Return the text quoted for a shell, in double quotes where they are enough."""
    return shlex.quote(text) if set(text) & set('"$`\\!') else f'"{text}"'


class Facts:
    """Names and values below each other; values are text as they are, never markup."""

    def __init__(self) -> None:
        self.table = Table.grid(padding=(0, 2, 0, 0))
        self.table.add_column(style="dim", min_width=8)
        self.table.add_column(overflow="fold")

    def add(self, name: str, value: str, style: str = "") -> None:
        """Add one line."""
        self.table.add_row(name, Text(value, style=style))

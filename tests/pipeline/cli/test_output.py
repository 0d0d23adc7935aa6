import io
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.cli.output import ConsoleDisplay, duration
from pipeline.cli.result import print_outcome, quote
from pipeline.flow import Outcome, TaskOutcome

CANDIDATE = {"accuracy": 0.8123, "macro_recall": 0.7154, "macro_f1": 0.7112}
BASELINE = {"accuracy": 0.8101, "macro_recall": 0.7054, "macro_f1": 0.7212}


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100, highlight=False)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def outcome(**changes) -> Outcome:
    values = {
        "verdict": "pass",
        "reasons": ["macro F1 0.711 reaches 0.600, interval [0.69, 0.73]"],
        "candidate": CANDIDATE,
        "baseline": BASELINE,
        "champion": None,
        "version": "3",
        "model": "demo-topic",
        "example": {"text": "Cholera [initial] $5", "label": "infections", "confidence": 0.934},
    }
    task = TaskOutcome(**values | changes)
    return Outcome(run_id="demo-1", tasks={"topic": task}, report=Path("workspace/report"), seconds=343.2)


def test_table_shows_candidate_baseline_and_champion_side_by_side(console):
    print_outcome(outcome(champion={"accuracy": 0.7999}), console)
    rows = [line.split() for line in shown(console).splitlines()]
    assert ["candidate", "linear", "baseline", "champion"] in rows
    assert ["accuracy", "0.812", "0.810", "0.800"] in rows
    assert ["macro-F1", "0.711", "0.721", "-"] in rows


def test_passed_task_shows_version_reasons_and_how_to_predict(console):
    print_outcome(outcome(), console)
    text = shown(console)
    assert "topic  passed, published as demo-topic version 3" in text
    assert "macro F1 0.711 reaches 0.600, interval [0.69, 0.73]" in text
    assert "Cholera [initial] $5 → infections  (93%)" in text, "brackets are text, not markup"
    assert "tradewind predict --model demo-topic 'Cholera [initial] $5'" in text
    assert "workspace/report" in text
    assert "5m43s" in text
    assert "tradewind show demo-1" in text


def test_the_example_stands_on_one_line_and_a_model_without_one_can_be_asked_too(console):
    example = {"text": "Hello,\n\nit broke", "text_pair": "Re: order", "label": "repair", "confidence": None}
    print_outcome(outcome(example=example), console)
    assert "Hello, it broke | Re: order → repair" in shown(console)
    print_outcome(outcome(example=None), console)
    assert 'tradewind predict --model demo-topic "TEXT"' in shown(console)


def test_refused_task_says_so_and_offers_no_model_that_does_not_exist(console):
    print_outcome(outcome(verdict="fail", version=None, reasons=["macro F1 0.711 misses 0.900"]), console)
    text = shown(console)
    assert "topic  refused, not published" in text
    assert "macro F1 0.711 misses 0.900" in text
    assert "tradewind predict" not in text


def test_forced_and_reviewed_tasks_say_so(console):
    print_outcome(outcome(verdict="needs_review", forced="the board agreed"), console)
    text = shown(console)
    assert "topic  needs review, published as demo-topic version 3" in text
    assert "forced    the board agreed" in text


def test_a_task_that_waits_for_a_person_says_how_to_approve_it(console):
    print_outcome(outcome(version=None, waits=True), console)
    text = shown(console)
    assert "topic  passed, not published yet: awaiting approval" in text
    assert "--approve REASON" in text
    assert "tradewind predict" not in text


def test_the_best_error_is_the_smallest(console):
    candidate, baseline = {"kind": "regression", "rmse": 0.5, "r2": None}, {"rmse": 0.7}
    print_outcome(outcome(candidate=candidate, baseline=baseline, example=None), console)
    rows = [line.split() for line in shown(console).splitlines()]
    assert ["RMSE", "0.500", "0.700", "-"] in rows
    assert not any(row[:1] == ["R²"] for row in rows), "a number that is undefined has no line"


def test_each_node_leaves_one_line_that_tells_work_from_a_hit(console):
    display = ConsoleDisplay(console, live=False)
    display.finished("validate", hit=True, seconds=0.01, summary="62,713 rows")
    display.finished("finetune topic", hit=False, seconds=112.3, summary="loss 0.41")
    kept, made = shown(console).splitlines()
    assert kept.startswith("• validate ")
    assert "kept from an earlier run" in kept
    assert made.split() == ["✓", "finetune", "topic", "1m52s", "loss", "0.41"]


@pytest.mark.parametrize("live", [True, False])
def test_display_names_the_node_that_failed_and_forgets_those_done(console, live):
    display = ConsoleDisplay(console, live)
    with display.step("validate") as progress:
        progress.update(1, 2, loss=0.5)
        progress.say("half")
    assert display.current is None
    with pytest.raises(ZeroDivisionError), display.step("pretrain"):
        raise ZeroDivisionError
    assert display.current == "pretrain"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.04, "0.0s"), (9.96, "10s"), (59.7, "1m00s"), (112.3, "1m52s"), (3599.8, "1h00m"), (7505, "2h05m")],
)
def test_durations_never_show_sixty(seconds, expected):
    assert duration(seconds) == expected


def test_quoting_is_safe_in_a_shell():
    assert quote("acute, 2nd") == '"acute, 2nd"'
    assert quote("it's $5") == "'it'\"'\"'s $5'"

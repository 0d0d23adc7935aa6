"""`tradewind models` on a real registry: what is listed, compared, promoted and taken back."""

from pathlib import Path

import pytest
from published_tickets import MODEL, publish_two

from pipeline.cli.application import execute


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two versions of one model."""
    workspace = tmp_path_factory.mktemp("workspace")
    publish_two(workspace)
    return workspace


@pytest.fixture
def tradewind(published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(published))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str]:
        code = execute(["models", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_list_shows_every_version_newest_first(tradewind) -> None:
    code, said = tradewind("list")
    lines = said.splitlines()
    assert code == 0
    assert lines[1].split()[:4] == [MODEL, "2", "champion", "tickets-1"]
    assert lines[2].split()[:4] == [MODEL, "1", "previous", "tickets-0"]
    assert "accuracy 0.900" in lines[1]


def test_show_tells_verdict_lineage_and_history(tradewind) -> None:
    said = tradewind("show", f"{MODEL}@previous")[1]
    assert f"{MODEL} version 1" in said
    assert "accuracy is 0.8." in said
    assert "publish/0" in said
    assert "run tickets-1" in said.splitlines()[-1]


def test_diff_tells_figures_labels_and_recipe(tradewind) -> None:
    code, said = tradewind("diff", f"{MODEL}:1", MODEL)
    assert code == 0
    assert "+0.1000" in said
    assert "labels gone: b" in said
    assert "labels new: c" in said
    assert {"-epochs: 1", "+epochs: 2"} <= set(said.splitlines())


def test_rollback_and_promote_move_the_champion(tradewind) -> None:
    assert tradewind("rollback", MODEL, "--why", "complaints") == (0, f"{MODEL} version 1 is the champion\n")
    assert "taken back" in tradewind("list")[1].splitlines()[1]
    assert "complaints" in tradewind("show", f"{MODEL}:2")[1]
    assert tradewind("promote", f"{MODEL}:2", "--why", "fixed") == (0, f"{MODEL} version 2 is the champion\n")
    assert "taken back" not in tradewind("list")[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rollback", MODEL), "--why"),
        (("promote", f"{MODEL}:2", "--why", "again"), "champion already"),
        (("show", f"{MODEL}:9"), "no version '9'; registered versions: 1, 2"),
        (("show", "ticket"), f"did you mean '{MODEL}'"),
        (("show", f"{MODEL}@prod"), "no alias 'prod'"),
    ],
)
def test_wrong_requests_say_what_there_is(tradewind, arguments, told) -> None:
    code, said = tradewind(*arguments)
    assert code in (1, 2)
    assert told in said

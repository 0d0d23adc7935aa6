"""The log of a served model, and what monitoring makes of it."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from served_texts import make_bundle, texts, write

from pipeline.cli import monitor as command
from pipeline.cli.application import execute
from pipeline.errors import DriftError, SourceError
from pipeline.monitoring.log import AnswerLog
from pipeline.monitoring.monitor import monitor, read_log


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is published of a model that was trained on half sunny texts."""
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def moved(bundle: Path, folder: Path) -> set[str]:
    return {metric.name for metric in monitor(bundle, "m", "1", folder, None, folder / "out").moved}


def test_more_of_the_same_does_not_move(bundle: Path, tmp_path: Path) -> None:
    write(tmp_path, texts(400, 2))
    assert moved(bundle, tmp_path) == set()


def test_each_way_to_move_is_found_alone(bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "answers", [(text, "sun") for text, _ in texts(400, 3)])
    assert moved(bundle, tmp_path / "answers") == {"answer_shift"}
    write(tmp_path / "doubt", texts(400, 4), confidence=0.6)
    assert moved(bundle, tmp_path / "doubt") == {"confidence_drop"}
    strange = [(f"{text} quarterly dividends of shares", label) for text, label in texts(400, 5)]
    write(tmp_path / "texts", strange)
    assert moved(bundle, tmp_path / "texts") == {"unknown_words", "separability", "length_shift"}


def test_answers_are_compared_with_those_on_test_rows_not_with_the_truth(bundle: Path, tmp_path: Path) -> None:
    metrics = json.loads((bundle / "metrics.json").read_text())
    biased = tmp_path / "bundle"
    biased.mkdir()
    for path in bundle.iterdir():
        (biased / path.name).symlink_to(path)
    (biased / "metrics.json").unlink()
    (biased / "metrics.json").write_text(json.dumps(metrics | {"confusion_matrix": [[0, 50], [0, 50]]}))
    write(tmp_path / "log", [(text, "sun") for text, _ in texts(400, 3)])
    assert moved(biased, tmp_path / "log") == set()


def test_report_says_what_moved(bundle: Path, tmp_path: Path) -> None:
    write(tmp_path, [(text, "sun") for text, _ in texts(400, 3)])
    found = monitor(bundle, "m", "1", tmp_path, None, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "monitor.json").read_text())["tasks"][0]
    assert written["rows"] == {"champion": 400, "now": 400}
    assert [metric["name"] for metric in written["metrics"] if not metric["passed"]] == ["answer_shift"]
    page = found.page.read_text()
    assert "<h1>m version 1</h1>" in page
    assert "answer shift" in page


def test_too_few_answers_are_an_error_not_a_pass(bundle: Path, tmp_path: Path) -> None:
    write(tmp_path, texts(30, 6))
    with pytest.raises(DriftError, match=r"the log has \d+ texts .* expected at least 50"):
        monitor(bundle, "m", "1", tmp_path, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_log_and_no_answer_of_this_model_are_told(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no log in"):
        read_log(tmp_path, "m", "1", None)
    write(tmp_path, texts(60, 6))
    with pytest.raises(SourceError, match=r"no answer of other:1; it has 60 of m:1"):
        read_log(tmp_path, "other", "1", None)
    with pytest.raises(SourceError, match="no answer of m:1 since"):
        read_log(tmp_path, "m", "1", datetime.now(UTC) + timedelta(hours=1))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceError, match="cannot be read"):
        read_log(tmp_path, "m", "1", None)


def test_log_is_written_whole_in_time_order_and_without_personal_data(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path, "m", redact=["email"], rows=3)
    for number in range(7):
        log.add("1", [f"mail {number} to a@b.org"], [None], [{"value": float(number)}])
    assert len(list(tmp_path.glob("*.parquet"))) == 2  # the seventh waits
    log.flush()
    rows = pa.concat_tables(pq.read_table(path) for path in sorted(tmp_path.glob("*.parquet")))
    assert rows["text"].to_pylist() == [f"mail {number} to <EMAIL>" for number in range(7)]
    assert [json.loads(answer)["value"] for answer in rows["answer"].to_pylist()] == list(range(7))
    assert not list(tmp_path.glob(".*partial"))


def test_what_has_waited_long_enough_is_written_without_another_answer(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path, "m", seconds=0.05)
    log.add("1", ["a"], None, [{"value": 1.0}])
    while not list(tmp_path.glob("*.parquet")):
        log.write_due()
    assert len(read_log(tmp_path, "m", "1", None)) == 1


def test_another_version_counts_for_itself(bundle: Path, tmp_path: Path) -> None:
    write(tmp_path, texts(400, 2))
    later = AnswerLog(tmp_path, "m")
    for text, _ in texts(400, 3):
        later.add("2", [text], None, [{"label": "sun", "confidence": 0.2, "top": []}])
    later.flush()
    assert moved(bundle, tmp_path) == set()


def test_share_of_the_rows_is_kept(tmp_path: Path) -> None:
    random.seed(0)
    write(tmp_path, texts(1000, 7), share=0.2)
    assert 140 < len(read_log(tmp_path, "m", "1", None)) < 260


def test_exit_status_tells_the_scheduler(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = SimpleNamespace(checked_bundle=lambda: bundle, name="m", version="1")
    monkeypatch.setattr("pipeline.predict.find_model", lambda registry, model, named_by: version)
    arguments = ["monitor", "m", "--log", str(tmp_path / "log"), "--out", str(tmp_path / "out"), "--since", "1h"]
    assert execute(arguments) == 1
    write(tmp_path / "log", texts(400, 2))
    assert execute(arguments) == 0
    write(tmp_path / "log", [(text, "sun") for text, _ in texts(400, 3)])
    assert execute(arguments) == command.MOVED
    assert "answer shift: observed" in capsys.readouterr().err
    assert execute([*arguments[:-1], "yesterday"]) == 2

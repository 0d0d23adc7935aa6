import filecmp
import json
from dataclasses import asdict

import pyarrow.parquet as pq
import pytest

from pipeline.config import Recipe
from pipeline.data.quality import checks as builtin
from pipeline.errors import RecipeError, SourceError, ValidationFailed
from pipeline.progress import SilentProgress
from pipeline.validate import validate

SOUND = [(f"a fine text, number {number}", ("bad", "good")[number % 2]) for number in range(40)]


class Listener(SilentProgress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def run(tmp_path):
    """Validate rows, given as (text, label) or as (text, label, kind), with one task on `label`."""

    def run(rows, checks=None, where=None, label="label", progress=None, out="out"):
        lines = [json.dumps(dict(zip(("text", "label", "kind"), row, strict=False))) for row in rows]
        (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
        recipe = Recipe.model_validate(
            {
                "name": "test",
                "data": {
                    "sources": {"reviews": {"kind": "files", "path": str(tmp_path / "rows.jsonl")}},
                    "checks": checks or {},
                },
                "tasks": {"mood": {"data": {"source": "reviews", "label": label, "where": where or {}}}},
            }
        )
        folder = tmp_path / out
        folder.mkdir(exist_ok=True)
        return validate(recipe, folder, progress or SilentProgress())

    return run


def load(path):
    return json.loads(path.read_text())


def quarantine(folder):
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]


def check(folder, name):
    return next(entry for entry in load(folder / "checks.json") if entry["name"] == name)


def test_sound_rows_pass_through(run, tmp_path):
    listener = Listener()
    result = run(SOUND, progress=listener)
    assert (result.rows, result.kept, result.quarantined, result.warnings) == (40, 40, 0, [])
    assert json.loads(json.dumps(asdict(result)))["sources"] == {"reviews": {"rows": 40, "kept": 40, "quarantined": 0}}
    table = pq.read_table(tmp_path / "out" / "rows" / "reviews" / "00000.parquet")
    assert table.column_names == ["row_id", "text", "group", "label"]
    assert {str(column.type) for column in table.columns} == {"string"}
    assert table.slice(0, 2).to_pylist() == [
        {"row_id": "reviews:1", "text": "a fine text, number 0", "group": None, "label": "bad"},
        {"row_id": "reviews:2", "text": "a fine text, number 1", "group": None, "label": "good"},
    ]
    assert quarantine(tmp_path / "out") == []
    assert all(entry["success"] for entry in load(tmp_path / "out" / "checks.json"))
    assert listener.said == ["reviews: 40 rows, none quarantined"]


def test_unsound_rows_are_quarantined_with_every_reason(run, tmp_path):
    unsound = [
        ("", "good"),
        (" \u200b\u00a0", "good"),
        (None, "good"),
        ("x", "good"),
        ("y" * 51, "bad"),
        ("bell \u0007", "bad"),
        ("lost \ufffd\u0001", "bad"),
        ("no label", None),
        ("blank label", "  "),
        ("\ud800 alone", "good"),
    ]
    listener = Listener()
    result = run(SOUND + unsound, {"max_characters": 50, "max_quarantined": 0.5}, progress=listener)
    found = quarantine(tmp_path / "out")
    assert {entry["source"] for entry in found} == {"reviews"}
    no_label = "no label: column label is empty, and task mood needs it"
    replacement = "replacement character: U+FFFD stands where a character was lost"
    assert [(entry["row_id"], entry["reason"]) for entry in found] == [
        ("reviews:41", "empty text"),
        ("reviews:42", "empty text"),
        ("reviews:43", "empty text"),
        ("reviews:44", "too short: fewer than 2 characters"),
        ("reviews:45", "too long: more than 50 characters"),
        ("reviews:46", "control character"),
        ("reviews:47", f"control character; {replacement}"),
        ("reviews:48", no_label),
        ("reviews:49", no_label),
        ("reviews:50", "not UTF-8: lone surrogate U+D800 in column text (rows.jsonl:50)"),
    ]
    assert found[-1]["text"] == "\\ud800 alone"
    assert found[-2]["columns"] == {"label": "  "}
    assert (result.kept, result.quarantined) == (40, 10)
    assert pq.read_metadata(tmp_path / "out" / "rows" / "reviews" / "00000.parquet").num_rows == 40
    figures = load(tmp_path / "out" / "statistics.json")["sources"]["reviews"]
    assert figures["quarantined_by_reason"] == {
        "empty text": 3,
        "control character": 2,
        "no label": 2,
        "not UTF-8": 1,
        "replacement character": 1,
        "too long": 1,
        "too short": 1,
    }
    assert listener.said[0].startswith("reviews: 10 of 50 rows quarantined (3 empty text, 2 control character,")
    assert listener.said[0].endswith("quarantine.jsonl")


def test_a_missing_label_matters_only_to_rows_the_task_uses(run, tmp_path):
    rows = [(text, label, "review") for text, label in SOUND] + [("a note", None, "note"), ("bare", None, "review")]
    run(rows, where={"kind": "review"})
    assert [entry["row_id"] for entry in quarantine(tmp_path / "out")] == ["reviews:42"]
    figures = load(tmp_path / "out" / "statistics.json")["sources"]["reviews"]
    assert figures["kept"] == 41
    assert figures["tasks"]["mood"]["labels"] == {"bad": 20, "good": 20}


def test_statistics(run, tmp_path):
    run(SOUND + [("four words are here", "good")] * 3)
    figures = load(tmp_path / "out" / "statistics.json")["sources"]["reviews"]
    assert (figures["rows"], figures["kept"], figures["distinct_texts"]) == (43, 43, 41)
    assert (figures["characters"]["min"], figures["characters"]["max"]) == (19, 22)
    assert figures["words"]["median"] == 5
    assert figures["words"]["total"] == 40 * 5 + 3 * 4
    mood = figures["tasks"]["mood"]
    assert (mood["rows"], mood["distinct_texts"], mood["texts_with_several_labels"]) == (43, 41, 0)
    assert mood["labels"] == {"bad": 20, "good": 23}
    assert mood["shares"] == {"bad": round(20 / 43, 6), "good": round(23 / 43, 6)}


@pytest.mark.parametrize(
    ("rows", "checks", "name", "words"),
    [
        ([(text, "good") for text, _ in SOUND], {}, "at least two labels", ["observed 1", "at least 2", "task mood"]),
        (
            [(text, f"label {number}") for number, (text, _) in enumerate(SOUND)],
            {},
            "more texts than labels",
            ["observed 40", "the 40 labels", "identifier"],
        ),
        (
            [("one text", "a"), ("one text", "b"), ("other text", "c")],
            {"min_rows": 1, "max_duplicates": 1},
            "more texts than labels",
            ["observed 2", "the 3 labels"],
        ),
        (SOUND[:7], {"min_rows": 8}, "enough rows", ["observed 7", "at least 8", "data.checks.min_rows"]),
        (
            [*SOUND, ("", "good"), ("", "bad")],
            {"max_quarantined": 0.04},
            "few rows quarantined",
            ["2 of 42 rows (4.76%)", "4.00%", "data.checks.max_quarantined"],
        ),
    ],
)
def test_critical_failure_stops_after_everything_is_written(run, tmp_path, rows, checks, name, words):
    with pytest.raises(ValidationFailed) as raised:
        run(rows, checks)
    folder = tmp_path / "out"
    message = str(raised.value)
    assert name in message
    assert all(word in message for word in [*words, "Fix: "]), message
    assert f"{folder}/data_docs/index.html" in message
    assert f"{folder}/quarantine.jsonl" in message
    assert check(folder, name)["success"] is False
    assert check(folder, name)["severity"] == "critical"
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written >= {"quarantine.jsonl", "statistics.json", "rows/reviews/00000.parquet", "data_docs/index.html"}


def test_all_critical_failures_are_told_at_once(run):
    with pytest.raises(ValidationFailed) as raised:
        run([("", "a"), ("text", "a"), ("text", "a")])
    assert all(name in str(raised.value) for name in ("enough rows", "few rows quarantined", "at least two labels"))


def test_quarantine_at_the_limit_passes(run):
    assert run([*SOUND[:19], ("", "bad")], {"min_rows": 19, "max_quarantined": 0.05}).quarantined == 1


def test_every_row_quarantined_is_a_failure_not_a_crash(run):
    with pytest.raises(ValidationFailed, match="enough rows: observed 0"):
        run([("", "a"), ("", "b")])


@pytest.mark.parametrize(
    ("rows", "checks", "name"),
    [
        ([*SOUND, ("a rare one", "rare")], {"min_rows_per_label": 2}, "enough rows per label"),
        (SOUND + SOUND[:20] * 3, {}, "few repeated texts"),
        ([*SOUND, (SOUND[0][0], "good")], {}, "one label per text"),
    ],
)
def test_warning_is_reported_and_does_not_stop(run, tmp_path, rows, checks, name):
    listener = Listener()
    result = run(rows, checks, progress=listener)
    assert len(result.warnings) == 1
    assert name in result.warnings[0]
    assert f"warning: {result.warnings[0]}" in listener.said
    assert check(tmp_path / "out", name)["success"] is False
    assert result.quarantined == 0


@pytest.mark.parametrize(
    ("rows", "checks"),
    [
        ([*SOUND, ("a rare one", "rare")], {"min_rows_per_label": 1}),
        (SOUND + SOUND[:20] * 2, {}),
        ([*SOUND, (SOUND[0][0], "good")], {"max_conflicting_labels": 0.025}),
    ],
)
def test_no_warning_at_the_limit(run, rows, checks):
    assert run(rows, checks).warnings == []


def test_label_column_that_is_absent(run):
    with pytest.raises(SourceError, match=r"tasks\.mood\.data\.label is 'lable'.*text, group, label.*mean 'label'"):
        run(SOUND, label="lable")
    with pytest.raises(SourceError, match=r"tasks\.mood\.data\.where is 'type'.*text, group, label"):
        run(SOUND, where={"type": "review"})


def test_where_that_matches_nothing_shows_the_values_there_are(run):
    with pytest.raises(SourceError, match=r"no row of source reviews matches.*'review'"):
        run([(text, label, "review") for text, label in SOUND], where={"kind": "reviews"})


def expecting(*expectations):
    return {"expectations": {"reviews": list(expectations)}}


def test_own_expectation_passes_or_fails_by_its_severity(run, tmp_path):
    labels = {"type": "expect_column_values_to_be_in_set", "arguments": {"column": "label", "value_set": ["good"]}}
    result = run(SOUND, expecting({**labels, "severity": "warning"}))
    assert "20 of 40" in result.warnings[0]
    with pytest.raises(
        ValidationFailed, match=r"expect_column_values_to_be_in_set.*20 of 40.*expectations.reviews\[0\]"
    ):
        run(SOUND, expecting(labels))
    labels["arguments"]["value_set"] = ["good", "bad"]
    assert run(SOUND, expecting(labels)).warnings == []
    assert check(tmp_path / "out", "expect_column_values_to_be_in_set[0]")["success"] is True


def test_own_expectation_whose_result_is_not_plain_json(run, tmp_path):
    labels = {"column": "label", "partition_object": {"values": ["bad", "good"], "weights": [0.5, 0.5]}}
    expectations = [
        {"type": "expect_column_kl_divergence_to_be_less_than", "arguments": {**labels, "threshold": 0.1}},
        {"type": "expect_column_proportion_of_unique_values_to_be_between", "arguments": {"column": "text"}},
    ]
    run(SOUND, expecting(*expectations))
    observed = [entry["observed"] for entry in load(tmp_path / "out" / "checks.json") if "expect_" in entry["name"]]
    assert observed == [0.0, 1.0]


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        ({"type": "expect_column_values_to_be_in_sett"}, ["reviews[0].type", "expect_column_values_to_be_in_set"]),
        (
            {"type": "expect_column_values_to_be_in_set", "arguments": {"colum": "label", "value_set": ["good"]}},
            ["reviews[0].arguments", "column: field required", "colum: extra fields", "colum, value_set"],
        ),
        (
            {"type": "expect_column_values_to_be_in_set", "arguments": {"column": "lable", "value_set": ["good"]}},
            ["reviews[0]", "'lable'", "text, group, label"],
        ),
    ],
)
def test_wrong_own_expectation_is_refused_before_anything_is_checked(run, tmp_path, expectation, words):
    with pytest.raises(RecipeError) as raised:
        run(SOUND, expecting(expectation))
    assert all(word in str(raised.value) for word in words), str(raised.value)
    assert not (tmp_path / "out" / "checks.json").exists()


@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_a_check_that_breaks_down_is_neither_a_pass_nor_bad_data(run, tmp_path, severity):
    broken = {"type": "expect_column_values_to_match_regex", "arguments": {"column": "text", "regex": "("}}
    with pytest.raises(
        RecipeError, match=r"(?s)1 check broke down, which says nothing about the data.*missing \)"
    ) as raised:
        run(SOUND, expecting({**broken, "severity": severity}))
    assert "reviews[0]" in str(raised.value)
    entry = check(tmp_path / "out", "expect_column_values_to_match_regex[0]")
    assert entry["success"] is None
    assert "missing )" in entry["error"]


def test_a_check_of_ours_that_breaks_down_is_a_defect_not_the_users_fault(run, monkeypatch):
    monkeypatch.setattr(builtin, "NOT_BLANK", "(")
    with pytest.raises(RuntimeError, match="text present: broke down"):
        run(SOUND)


def test_two_runs_write_the_same_bytes(run, tmp_path):
    rows = [*SOUND, ("", "good"), ("caf\ud800", "bad"), (SOUND[0][0], "good")]
    checks = {"max_quarantined": 0.2, **expecting({"type": "expect_column_to_exist", "arguments": {"column": "text"}})}
    assert run(rows, checks, out="first") == run(rows, checks, out="second")
    names = ["rows/reviews/00000.parquet", "quarantine.jsonl", "statistics.json", "checks.json", "data_docs/index.html"]
    match, differ, errors = filecmp.cmpfiles(tmp_path / "first", tmp_path / "second", names, shallow=False)
    assert (match, differ, errors) == (names, [], [])


@pytest.mark.slow
def test_icd10_is_sound(tmp_path):
    recipe = Recipe.model_validate(
        {
            "name": "icd10",
            "data": {"sources": {"icd10": {"kind": "icd10cm"}}},
            "tasks": {
                "chapter": {"data": {"source": "icd10", "label": "chapter", "where": {"kind": "description"}}},
                "completeness": {
                    "data": {"source": "icd10", "label": "completeness", "where": {"kind": "description"}}
                },
            },
        }
    )
    result = validate(recipe, tmp_path, SilentProgress())
    assert (result.rows, result.quarantined, result.warnings) == (71_535, 0, [])
    tasks = load(tmp_path / "statistics.json")["sources"]["icd10"]["tasks"]
    assert tasks["chapter"]["distinct_texts"] == 46_144
    assert len(tasks["chapter"]["labels"]) == 22
    assert len(tasks["completeness"]["labels"]) == 3

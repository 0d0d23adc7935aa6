import filecmp
import json
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import Recipe
from pipeline.data.quality import checks as builtin
from pipeline.data.quality import survey
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

    def run(rows, checks=None, where=None, label="label", progress=None, out="out", labels=None, source=None):
        lines = [json.dumps(dict(zip(("text", "label", "kind"), row, strict=False))) for row in rows]
        (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
        recipe = Recipe.model_validate(
            {
                "name": "test",
                "data": {
                    "sources": {"reviews": {"kind": "files", "path": str(tmp_path / "rows.jsonl"), **(source or {})}},
                    "checks": checks or {},
                },
                "tasks": {
                    "mood": {"data": {"source": "reviews", "label": label, "where": where or {}, "labels": labels}}
                },
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
    # The folder has another name once the step is done.
    assert not any(str(tmp_path) in said for said in listener.said)


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
    with pytest.raises(ValidationFailed, match="enough rows: observed 0") as failure:
        run([("", "a"), ("", "b")])
    # Of labels there is nothing to say: no row is left to have one.
    assert "task mood" not in str(failure.value)


def test_rows_in_another_encoding_are_told_how_to_convert(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"text,label\n" + "caf\u00e9 au lait,a\n".encode("latin-1") * 30)
    recipe = Recipe.model_validate(
        {
            "name": "test",
            "data": {"sources": {"drinks": {"kind": "files", "path": str(tmp_path / "rows.csv")}}},
            "tasks": {"kind": {"data": {"source": "drinks"}}},
        }
    )
    with pytest.raises(
        ValidationFailed, match=r"repair drinks's rows \(if the file is Latin-1: data\.sources\.drinks\.encoding"
    ):
        validate(recipe, tmp_path, SilentProgress())


def test_rare_labels_are_named_with_their_rows(run):
    rare = [(f"rare {label} {number}", label) for label in "zyxwvu" for number in range(1 + (label == "z"))]
    (warning,) = run([*SOUND, *rare], {"min_rows_per_label": 3}).warnings
    told = "6 of 8 labels (75.00%) have fewer: 'u' 1, 'v' 1, 'w' 1, 'x' 1, 'y' 1 and others"
    assert f"enough rows per label: observed {told}, expected at least 3 rows of every label" in warning


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


def column(name, **asked):
    return {"columns": {"reviews": {name: asked}}, "max_quarantined": 1.0}


@pytest.mark.parametrize(
    ("asked", "sound", "unsound", "reason"),
    [
        ({"required": True}, "x", ["", "  ", None], "no kind: the column is empty"),
        ({"type": "number"}, "-1.5e3", ["a", "1,5", "1 2"], "kind not of type number: expected a number"),
        ({"type": "integer"}, " 12 ", ["1.0", "x1"], "kind not of type integer"),
        ({"type": "date"}, "2024-02-29T10:00:00Z", ["2023-02-29", "2023-04-31", "1.2.2023"], "kind not of type date"),
        ({"type": "boolean"}, "True", ["2", "maybe"], "kind not of type boolean"),
        ({"type": "number", "min": 1, "max": 5}, "5", ["0.99", "5.1"], "kind out of range: expected at least 1 and"),
        ({"values": ["a", "b"]}, "a", ["A", "c"], "kind not allowed: expected one of a, b"),
        (
            {"pattern": "([A-Z])[0-9]+"},
            "E11",
            ["E11x", "xE11", "e1"],
            "kind not matching: expected a value that matches",
        ),
    ],
)
def test_a_column_that_breaks_its_check_is_quarantined(run, tmp_path, asked, sound, unsound, reason):
    rows = [(text, label, sound) for text, label in SOUND] + [("one more", "good", value) for value in unsound]
    result = run(rows, column("kind", **asked))
    assert result.quarantined == len(unsound)
    assert {entry["reason"].startswith(reason) for entry in quarantine(tmp_path / "out")} == {True}


def test_a_column_may_be_blank_unless_it_is_required(run):
    rows = [(text, label, None if number % 2 else " ") for number, (text, label) in enumerate(SOUND)]
    assert run(rows, column("kind", type="number", min=3, values=["4"])).quarantined == 0


def test_a_column_that_must_be_unique_stops_the_run(run, tmp_path):
    rows = [(text, label, str(number)) for number, (text, label) in enumerate(SOUND)]
    assert run(rows, column("kind", unique=True)).quarantined == 0
    with pytest.raises(ValidationFailed, match=r"kind unique: observed 2 of 42 values \(4.76%\) repeat another"):
        run([*rows, ("more", "bad", "7"), ("most", "bad", "7")], column("kind", unique=True))


def test_checks_of_a_column_that_is_absent(run):
    with pytest.raises(SourceError, match=r"data\.checks\.columns\.reviews is 'knd'.*mean 'kind'"):
        run([(text, label, "x") for text, label in SOUND], column("knd", required=True))


def test_a_label_that_is_not_allowed_is_quarantined(run, tmp_path):
    result = run([*SOUND, ("more", "Good"), ("most", None)], {"max_quarantined": 1.0}, labels=["good", "bad"])
    assert result.quarantined == 2
    first, second = (entry["reason"] for entry in quarantine(tmp_path / "out"))
    assert first == "label not allowed: expected one of tasks.mood.data.labels: good, bad"
    assert second.startswith("no label")


def test_rows_with_an_id_that_another_had_are_quarantined_with_the_row(run, tmp_path):
    rows = [(text, label, f"id{number}") for number, (text, label) in enumerate(SOUND)]
    rows += [("a repeated id", "good", "id4"), ("again", "bad", "id4"), ("no id", "bad", None)]
    assert run(rows, {"max_quarantined": 1.0}, source={"id": "kind"}).quarantined == 3
    assert [(entry["row_id"], entry["reason"]) for entry in quarantine(tmp_path / "out")] == [
        ("reviews:id4", "duplicate row id: row 5 of the source has it already"),
        ("reviews:id4", "duplicate row id: row 5 of the source has it already"),
        ("reviews:43", "no id in column kind"),
    ]


def test_severity_is_the_recipes_to_set(run, tmp_path):
    conflicting = [*SOUND, (SOUND[0][0], "good")]
    with pytest.raises(ValidationFailed, match="one label per text"):
        run(conflicting, {"severity": {"one_label_per_text": "critical"}})
    assert run(conflicting, {"severity": {"one_label_per_text": "off"}}).warnings == []
    assert "one label per text" not in [entry["name"] for entry in load(tmp_path / "out" / "checks.json")]


def test_no_severity_lets_a_source_without_a_sound_row_pass(run):
    allowed = {"severity": dict.fromkeys(("few_rows_quarantined", "enough_rows", "at_least_two_labels"), "off")}
    with pytest.raises(
        ValidationFailed, match=r"enough rows: observed 0, as every one of the 2 rows is quarantined \("
    ):
        run([("", "a"), ("", "b")], allowed | {"max_quarantined": 1.0})


def test_encoding_damage_is_warned_of_with_an_example(run, tmp_path):
    result = run([*SOUND, ("a cosy caf\u00c3\u00a9 by the river", "good")])
    assert len(result.warnings) == 1
    assert "little encoding damage: observed 1 of 41 texts looked at (2.44%), such as " in result.warnings[0]
    assert "caf\u00e9" in result.warnings[0]
    assert run([*SOUND, ("a cosy caf\u00e9 by the river", "good")]).warnings == []


def test_texts_in_another_language_are_warned_of(run):
    german = [(f"Der Hund l\u00e4uft jeden Morgen um {number} Uhr durch den Wald", "bad") for number in range(20)]
    english = [(f"The dog runs through the forest every morning at {number}", "good") for number in range(20)]
    (warning,) = run([*german, *english], {"languages": ["en"]}).warnings
    assert "languages: observed 20 of 40 texts looked at in en (50.00%); others: de 20" in warning
    assert run([*german, *english], {"languages": ["en", "de"]}).warnings == []


def test_labels_written_in_several_ways_are_warned_of(run):
    (warning,) = run([*SOUND, *[(f"text {number}", "Good ") for number in range(5)]]).warnings
    assert "labels of one kind: observed 'Good ' and 'good'" in warning


@pytest.mark.parametrize("written", ["B-PER I-PER O", "['B-PER', 'I-PER', 'O']"])
def test_tags_of_words_are_not_taken_for_labels_of_texts(run, written):
    rows = [(f"Ada Byron number {number}", written) for number in range(9)] + [("all plain", "O O")] * 9
    with pytest.raises(ValidationFailed, match=r"labels of texts, not of words.*set tasks.mood.data.kind: tagging"):
        run(rows)


def test_a_label_may_look_like_a_tag(run):
    assert run([(f"text {number}", ("O", "B-1", "B-2 and O")[number % 3]) for number in range(30)]).warnings == []


def test_given_test_texts_that_are_in_train_too_are_warned_of(tmp_path):
    for split, numbers in (("train", range(30)), ("test", range(28, 38))):
        lines = [json.dumps({"text": f"text number {number}", "label": "ab"[number % 2]}) for number in numbers]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    splits = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "test")}
    recipe = {"sources": {"reviews": {"kind": "files", "splits": splits}}}
    tasks = {"mood": {"data": {"source": "reviews"}}}
    result = validate(Recipe.model_validate({"name": "t", "data": recipe, "tasks": tasks}), tmp_path, SilentProgress())
    assert (
        "no split overlap: observed 2 of 10 validation and test texts (20.00%) are in train too" in result.warnings[0]
    )
    figures = load(tmp_path / "statistics.json")["sources"]["reviews"]
    assert figures["splits"] == {"test": 10, "train": 30}
    assert figures["vocabulary"]["held_out"] == "the given validation and test rows"
    assert figures["vocabulary"]["out_of_vocabulary"] == pytest.approx(8 / 30, abs=1e-6)


def test_own_expectation_on_all_rows_together(run, tmp_path):
    rows = [(text, label, str(number)) for number, (text, label) in enumerate(SOUND)]
    numbers = column("kind", type="integer")
    mean = {
        "type": "expect_column_mean_to_be_between",
        "arguments": {"column": "kind", "min_value": 19, "max_value": 20},
    }
    rising = {"type": "expect_column_values_to_be_unique", "arguments": {"column": "kind"}}
    exists = {"type": "expect_column_to_exist", "arguments": {"column": "kind"}}
    run(rows, {**numbers, **expecting(mean, rising, exists)})
    assert check(tmp_path / "out", "expect_column_mean_to_be_between[0]")["observed"] == 19.5
    with pytest.raises(ValidationFailed, match=r"expect_column_values_to_be_unique\[1\]: observed 2 of 41"):
        run([*rows, ("more", "bad", "7")], {**numbers, **expecting({**mean, "severity": "warning"}, rising)})
    with pytest.raises(RecipeError, match=r"reviews\[0\].*counts as text.*columns\.reviews\.kind: \{type: number\}"):
        run(rows, expecting(mean))


def test_the_outcome_is_the_same_in_one_chunk_and_in_several(run, tmp_path, monkeypatch):
    rows = [(f"text {number % 60_000} of many", ("bad", "good")[number % 2], str(number)) for number in range(70_000)]
    rows[10:30_000:3_000] = [("", "good", "x")] * 10
    rows[69_000] = ("text 5 of many", "good", "70001")
    checks = {
        "columns": {"reviews": {"kind": {"type": "integer", "max": 69_998, "unique": True}}},
        **expecting(
            {
                "type": "expect_column_values_to_match_regex",
                "severity": "warning",
                "arguments": {"column": "text", "regex": "[02468] of", "mostly": 0.4},
            },
            {"type": "expect_column_max_to_be_between", "arguments": {"column": "kind", "max_value": 69_998}},
        ),
    }
    result = run(rows, checks, out="several")
    monkeypatch.setattr(survey, "ROWS", 10**9)
    monkeypatch.setattr(survey, "BYTES", 10**9)
    assert run(rows, checks, out="one") == result
    assert (result.rows, result.quarantined) == (70_000, 12)
    regex = check(tmp_path / "several", "expect_column_values_to_match_regex[0]")
    assert (regex["success"], regex["observed"]) == (True, "34,999 of 69,988 (50.01%) break it")
    names = ["rows/reviews/00000.parquet", "rows/reviews/00001.parquet", "quarantine.jsonl", "statistics.json"]
    names += ["checks.json", "data_docs/index.html", "data_docs/statistics.html", "reference/mood.json"]
    names += ["reference/mood.npz"]
    match, differ, errors = filecmp.cmpfiles(tmp_path / "several", tmp_path / "one", names, shallow=False)
    assert (match, differ, errors) == (names, [], [])


def test_small_tables_are_checked_together():
    tables = [pa.table({"text": ["a"] * 3, **({"other": ["b"] * 3} if number % 2 else {})}) for number in range(5)]
    (table,) = survey.coalesced(iter(tables))
    assert (len(table), table.column_names) == (15, ["text", "other"])


def test_a_long_text_is_cut_in_the_quarantine(run, tmp_path):
    run([*SOUND, ("x" * 5_000, "good")], {"max_characters": 4_000})
    assert quarantine(tmp_path / "out")[0]["text"] == "x" * 2_000 + "\u2026"


def test_labels_given_as_numbers_texts_and_truth_values(run, tmp_path):
    labels = [1, 1.0, "1", "1.0", True, "TRUE"]
    rows = [(f"text number {number}", labels[number % 6]) for number in range(60)]
    (warning,) = run(rows).warnings
    assert "observed '1' and '1.0'; 'TRUE' and 'true'" in warning
    found = load(tmp_path / "out" / "statistics.json")["sources"]["reviews"]["tasks"]["mood"]["labels"]
    assert found == {"1": 30, "1.0": 10, "TRUE": 10, "true": 10}


def test_files_with_differing_columns_are_one_source(tmp_path):
    first = {"text": [f"text {number}" for number in range(30)], "label": ["a", "b"] * 15, "size": ["1"] * 30}
    pq.write_table(pa.table(first), tmp_path / "1.parquet")
    pq.write_table(
        pa.table({"text": ["without a label", "and another"], "colour": ["red", "blue"]}), tmp_path / "2.parquet"
    )
    recipe = Recipe.model_validate(
        {
            "name": "t",
            "data": {
                "sources": {"reviews": {"kind": "files", "path": str(tmp_path / "*.parquet")}},
                "checks": {
                    "max_quarantined": 0.1,
                    "columns": {"reviews": {"size": {"type": "integer"}, "colour": {"values": ["red", "blue"]}}},
                },
            },
            "tasks": {"mood": {"data": {"source": "reviews"}}},
        }
    )
    (tmp_path / "out").mkdir()
    assert validate(recipe, tmp_path / "out", SilentProgress()).quarantined == 2
    assert {entry["reason"] for entry in quarantine(tmp_path / "out")} == {
        "no label: column label is empty, and task mood needs it"
    }

"""Questions about texts, from a column of answers to a bundle that finds them, and to its verdict."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asked_notes import asked_notes
from tiny_steps import make_backbone, make_recipe, view

from pipeline.answer import answers_of
from pipeline.baseline import baseline
from pipeline.bundle import Bundle
from pipeline.config import Recipe
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.errors import SourceError, ValidationFailed
from pipeline.evaluate import evaluate
from pipeline.finetune import finetune
from pipeline.gate import gate
from pipeline.peek import peek_task
from pipeline.preprocess import preprocess
from pipeline.progress import SilentProgress
from pipeline.tasks import KINDS
from pipeline.training.batches import BatchShape

LENGTH = 64


class Told(SilentProgress):
    """Keeps what is said."""

    def __init__(self):
        super().__init__()
        self.said = []

    def say(self, message):
        self.said.append(message)


def recipe(length=LENGTH):
    learn = {"epochs": 60, "global_batch_size": 8, "learning_rate": 0.01, "dropout": 0.0}
    data = {"source": "notes", "kind": "question_answering", "label": "answers"}
    source = {"kind": "files", "path": "notes.jsonl", "text": "context", "text_pair": "question"}
    made = make_recipe().model_dump() | {"tasks": {"find": {"data": data, "finetune": learn}}}
    made["data"]["sources"] = {"notes": source}
    made["preprocess"]["sequence_length"] = length
    made["model"] |= {"hidden_dim": 32}
    return Recipe.model_validate(made)


def write_rows(folder, rows):
    """Write the rows as `validate` keeps them."""
    renamed = [
        {"row_id": f"notes:{number}", "text": row["context"], "text_pair": row["question"], "group": str(number)}
        | {"answers": row["answers"]}
        for number, row in enumerate(rows)
    ]
    (folder / "rows" / "notes").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(renamed), folder / "rows" / "notes" / "00000.parquet")
    (folder / "tokens").mkdir()
    return folder / "tokens"


def prepared(folder, rows, length=LENGTH, progress=None):
    tokens = write_rows(folder, rows)
    preprocess(view(recipe(length), "preprocess"), folder, tokens, progress or SilentProgress())
    return tokens


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("asked"), asked_notes(240))


@pytest.fixture(scope="module")
def trained(tokens, tmp_path_factory):
    backbone = make_backbone(tmp_path_factory.mktemp("backbone"), tokens, recipe())
    out = tmp_path_factory.mktemp("find")
    result = finetune(view(recipe(), "finetune", "find"), "find", tokens, backbone, out, SilentProgress())
    return out / "bundle", result


def split(tokens, name="test"):
    return pq.read_table(tokens / "tasks" / "find" / f"{name}.parquet").to_pylist()


def test_rows_carry_their_answers_and_where_they_are(tokens):
    assert json.loads((tokens / "tasks/find/labels.json").read_text()) == []
    rows = split(tokens, "train")
    assert 0 < sum(not row["label"] for row in rows) < len(rows) / 3
    for row in rows:
        for span in row["label"]:
            assert row["text"][span["start"] :].startswith(span["text"])


def test_batches_ask_for_the_pieces_of_the_answers(tokens):
    learned = KINDS["question_answering"](tokens, "find")
    shape = BatchShape.of(len(learned.splits["train"]), None)
    (batch,) = list(learned.batches("train", shape, seed=0).in_order())
    tokenizer = load_tokenizer(tokens / "tokenizer.json")
    ids, segments, candidates = (batch[name][0] for name in ("token_ids", "segment_ids", "candidates"))
    found = []
    for row, segment in zip(*np.nonzero(batch["weights"][0]), strict=True):
        first, last = batch["targets"][0][row, segment]
        assert (segments[row, first : last + 1] == segment + 1).all()
        assert candidates[row, [first, last]].all()
        begins = np.flatnonzero(segments[row] == segment + 1)[0]
        text = tokenizer.decode(ids[row, first : last + 1].tolist()).strip() if first > begins else ""
        found.append(text)
    assert sorted(found) == sorted("".join(span["text"] for span in row["label"]) for row in split(tokens, "train"))


def test_answers_are_found_and_missing_ones_are_left_out(tokens, trained):
    bundle, rows = Bundle.load(trained[0]), split(tokens)
    said = answers_of(bundle, [row["text"] for row in rows], [row["text_pair"] for row in rows], top=3)
    truth = [row["label"][0]["text"] if row["label"] else None for row in rows]
    assert np.mean([answer["answer"] == true for answer, true in zip(said, truth, strict=True)]) > 0.85
    assert any(true is None and answer["answer"] is None for answer, true in zip(said, truth, strict=True))
    for row, answer in zip(rows, said, strict=True):
        assert answer["answer"] is None or row["text"][answer["start"] : answer["end"]] == answer["answer"]
        assert len(answer["top"]) == 3
        assert answer["top"][0]["confidence"] == answer["confidence"] >= answer["top"][1]["confidence"]
    assert trained[1].metric == "span_f1"
    assert trained[1].validation_metric > 0.85


def test_a_long_text_is_read_to_its_end_and_neighbours_change_nothing(trained):
    bundle, told = Bundle.load(trained[0]), Told()
    long = "Thing 7. Its shape is round. " + "Thing 8. " * 30 + "Its colour is green."
    texts, questions = [long, "Thing 9. Its colour is green."], ["what colour has it", "what colour has it"]
    bundle.answer(texts, questions, told)
    assert re.search(r"2 texts are read in \d+ windows; the best answer counts", " ".join(told.said))
    together = answers_of(bundle, texts, questions, top=1)
    assert [answer["answer"] for answer in together] == ["green", "green"]
    assert (together[0]["start"], together[0]["end"]) == (long.index("green"), len(long) - 1)
    (alone,) = answers_of(bundle, texts[:1], questions[:1], top=1)
    assert alone["confidence"] == pytest.approx(together[0]["confidence"], abs=1e-5)


def test_places_are_those_of_the_cleaned_text_which_is_told(trained):
    bundle = Bundle.load(trained[0])
    (said,) = answers_of(bundle, ["Thing&nbsp;9. Its\u00ad colour is green."], ["what colour has it"], top=1)
    assert said["cleaned"][said["start"] : said["end"]] == said["answer"] == "green"


def test_a_text_without_a_question_is_refused(trained):
    bundle = Bundle.load(trained[0])
    for questions in (None, ["what", " "]):
        with pytest.raises(SourceError, match=r"without a question.*--pair of tradewind predict, pairs over HTTP"):
            bundle.answer(["a text", "a text"], questions)


def test_an_answer_that_cleaning_took_away_is_set_aside_and_counted(tmp_path):
    rows = [*asked_notes(60)]
    rows[7] |= {"context": "It is&nbsp;so.", "answers": "is&nbsp;so"}
    rows[8] |= {"context": "Its &quot;colour&quot; is red.", "answers": '{"text": ["red"], "answer_start": [26]}'}
    told = Told()
    tokens = prepared(tmp_path, rows, progress=told)
    (aside,) = [json.loads(line) for line in (tokens / "quarantine.jsonl").read_text().splitlines()]
    assert (aside["row_id"], aside["task"]) == ("notes:7", "find")
    assert "answer not in the text: 'is&nbsp;so'" in aside["reason"]
    assert any("1 rows set aside" in said for said in told.said)
    every = {row["row_id"]: row for name in ("train", "validation", "test") for row in split(tokens, name)}
    assert every["notes:8"]["label"] == [{"text": "red", "start": 16}]
    assert len(every) == 59


def test_long_texts_become_windows_which_are_counted(tmp_path):
    told = Told()
    tokens = prepared(tmp_path, asked_notes(60, more=40), progress=told)
    learned = KINDS["question_answering"](tokens, "find")
    rows = split(tokens, "train")
    windows = learned.windows["train"]
    assert [row["windows"] for row in rows] == np.bincount(windows.owners).tolist()
    assert any(re.search(r"find: 60 rows in \d+ windows, since not every text fits", said) for said in told.said)
    held = sum(int((learned.splits[name].take(np.arange(len(learned.splits[name]))).documents >= 0).sum())
               for name in learned.splits)  # fmt: skip
    assert held == sum(len(learned.windows[name].documents) for name in learned.splits)
    targets = learned.answers("train")
    answered = {int(owner) for owner, target in zip(windows.owners, targets, strict=True) if target[0] > 0}
    assert answered == {number for number, row in enumerate(rows) if row["label"]}
    assert (targets[:, 0] == 0).sum() > len(rows)
    shown = [document for row in peek_task(tokens, "find", seed=0, rows=2) for document in row.documents]
    assert all("text" in document.label or document.label == "[]" for document in shown)


def test_training_rows_without_any_answer_are_refused(tmp_path):
    tokens = write_rows(tmp_path, [row | {"answers": ""} for row in asked_notes(40)])
    with pytest.raises(ValidationFailed, match="task 'find' has no answer in its training rows"):
        preprocess(view(recipe(), "preprocess"), tmp_path, tokens, SilentProgress())


def test_it_is_judged_beside_its_baselines(tokens, trained, tmp_path):
    folders = {name: tmp_path / name for name in ("evaluate", "baseline", "gate")}
    for folder in folders.values():
        folder.mkdir()
    rows = tokens.parent
    evaluate(
        view(recipe(), "evaluate", "find"), "find", tokens, trained[0], rows, folders["evaluate"], SilentProgress()
    )
    baseline(view(recipe(), "baseline", "find"), "find", tokens, folders["baseline"], SilentProgress())
    verdict = gate(
        view(recipe(), "gate", "find"),
        "find",
        folders["evaluate"],
        folders["baseline"],
        None,
        folders["gate"],
        SilentProgress(),
    )
    record = json.loads((folders["gate"] / "gate.json").read_text())
    assert record["metric"] == "token_f1"
    assert [rule["name"] for rule in record["rules"]] == [
        "exact_match > majority answer",
        "token_f1 > linear baseline",
        "token_f1 >= champion",
    ]
    scores = {model: values["token_f1"]["value"] for model, values in record["scores"].items()}
    assert scores["candidate"] > 0.85 > scores["majority"]
    assert scores["baseline"] > scores["majority"]
    assert verdict.verdict in ("pass", "fail")
    assert {entry["slice"] for entry in record["slices"] if entry["by"] == "question"} == {"answerable", "unanswerable"}
    kept = pq.read_table(folders["evaluate"] / "predictions.parquet").to_pylist()
    assert all(row["text"][row["start"] : row["end"]] == row["predicted"] for row in kept if row["predicted"])

"""What the validation rows give a trained model: a temperature that lowers the log loss, thresholds of each label."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_bundle import LABELS, TEXTS, make_bundle

from pipeline.answer import answers_of
from pipeline.bundle import Bundle
from pipeline.calibrate import calibrated
from pipeline.measures.thresholds import LEAST_ROWS
from pipeline.progress import SilentProgress


class Said(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    make_bundle(folder)
    pq.write_table(
        pa.table({"text": TEXTS, "text_pair": pa.nulls(len(TEXTS), pa.string())}), folder / "validation.parquet"
    )
    return folder


def task(folder, answers):
    return SimpleNamespace(folder=folder, answers=lambda split: {"validation": answers}[split])


def test_a_classifier_that_is_too_sure_becomes_less_so_and_answers_the_same(folder, tmp_path) -> None:
    bundle = Bundle.load(folder)
    before = bundle.answer(TEXTS)
    wrong = np.array(
        [(row.argmax() + place % 3) % 3 for place, row in enumerate(before)]
    )  # right as often as by chance
    said = Said()
    better = calibrated(bundle, task(folder, wrong), said)
    assert better.temperature > 1.5
    better.save(tmp_path / "kept")
    after = Bundle.load(tmp_path / "kept").answer(TEXTS)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))
    assert after.max() < before.max()
    rows = np.arange(len(TEXTS))
    assert np.log(after[rows, wrong]).mean() > np.log(before[rows, wrong]).mean()
    assert "log loss of the validation rows" in said.lines[0]


def test_a_label_is_given_above_the_threshold_that_the_validation_rows_ask_for(folder, tmp_path) -> None:
    plain = Bundle.load(folder)
    bundle = Bundle(plain.task, "multi_label", LABELS, 32, plain.tokenizer, plain.clean, plain.model, (0.5,) * 3)
    said = bundle.answer(TEXTS)
    least = np.sort(said, axis=0)[-LEAST_ROWS]  # the surest rows carry the label, however sure that is
    better = calibrated(bundle, task(folder, (said >= least).astype(np.uint8)), SilentProgress())
    better.save(tmp_path / "kept")
    kept = Bundle.load(tmp_path / "kept")
    assert kept.thresholds == better.thresholds
    found = [set(answer["labels"]) for answer in answers_of(kept, TEXTS, None, top=1)]
    assert found == [{label for label, yes in zip(LABELS, row, strict=True) if yes} for row in said >= least]

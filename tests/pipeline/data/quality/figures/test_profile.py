from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from pipeline.data.quality.figures import profile
from pipeline.data.quality.figures.lengths import length_ranges, quantiles
from pipeline.data.quality.figures.profile import Chunk, Labels, Profile, Sample, kinds


def chunk(texts, **columns):
    return Chunk(pa.table({"text": pa.array(texts, pa.string()), **columns}))


def everything(texts):
    return np.ones(len(texts), bool)


def test_quantiles_are_numpys():
    lengths = [3, 3, 3, 8, 10, 41, 41, 90]
    found = quantiles({3: 3, 8: 1, 10: 1, 41: 2, 90: 1})
    expected = {"min": 0, "p05": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95, "p99": 99, "max": 100}
    assert {key: found[key] for key in expected} == {
        key: round(float(np.percentile(lengths, share)), 2) for key, share in expected.items()
    }
    assert (found["total"], found["mean"]) == (sum(lengths), round(sum(lengths) / 8, 2))
    assert quantiles({}) == {}


@pytest.mark.parametrize(
    "lengths", [{5: 3}, {1: 1, 2: 1}, {2: 5, 40: 7, 41: 1, 9000: 2}, dict.fromkeys(range(1, 500), 2)]
)
def test_length_ranges_hold_every_text_once(lengths):
    ranges = length_ranges(lengths)
    assert len(ranges) <= 20
    assert sum(rows for *_, rows in ranges) == sum(lengths.values())
    assert all(after[0] == before[1] + 1 for before, after in pairwise(ranges))
    for first, last, rows in ranges:
        assert rows == sum(count for length, count in lengths.items() if first <= length <= last)


def test_sample_does_not_depend_on_the_order_of_rows(monkeypatch):
    monkeypatch.setattr(profile, "SAMPLE", 10)
    texts = [f"text {number % 40}" for number in range(80)]
    samples = []
    for order in (texts, texts[::-1]):
        sample = Sample()
        for start in range(0, 80, 9):
            piece = order[start : start + 9]
            sample.add(chunk(piece), everything(piece))
        samples.append(sample.texts)
    assert samples[0] == samples[1]
    assert len(set(samples[0])) == 10


def test_overlap_of_given_splits_is_counted_by_text(tmp_path):
    found = Profile(tmp_path)
    for texts, splits in ((["a", "b", "b"], ["train", "test", "validation"]), (["a", "c"], ["test", "train"])):
        piece = chunk(texts, split=pa.array(splits))
        found.add(piece, everything(texts))
    assert found.distinct == (3, 2, 1)
    assert found.statistics()["repeated_texts"] == 2


def test_texts_that_differ_in_the_second_text_are_two(tmp_path):
    found = Profile(tmp_path)
    found.add(chunk(["q", "q", "q"], text_pair=pa.array(["a", "b", "a"])), everything("qqq"))
    assert found.distinct[0] == 2


def test_too_many_labels_are_not_all_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(profile, "MOST_LABELS", 3)
    labels = Labels(tmp_path)
    for names in (["a", "b", "a"], ["c", "d", "a"]):
        labels.add(chunk(["t", "t", "u"]).hashes, pa.array(names), pa.array(names))
    assert labels.counts == {"a": 3, "b": 1, "c": 1}
    assert labels.too_many
    assert labels.conflicts() == (2, 1)


def test_labels_that_are_one_written_in_several_ways():
    assert kinds(["1", "1.0", "2", "true", "True", "a b", "a  B ", "01", "1_0", "10", "x"]) == [
        ["1", "1.0"],
        ["a  B ", "a b"],
        ["True", "true"],
    ]

"""BLEU, chrF and exact match from sums: those of sacreBLEU on the same rows."""

import numpy as np
import pandas as pd
import pytest
import sacrebleu
from kind_cases import random_case, rows_of, written

from pipeline.judge.baselines.nearest import nearest, plain
from pipeline.judge.bootstrap import resample
from pipeline.judge.kinds import KINDS
from pipeline.judge.worst import write_errors
from pipeline.progress import SilentProgress

GENERATION = KINDS["generation"]


def scores_of(predictions, places=None):
    table = GENERATION.statistics(predictions, ()).toarray()
    sums = (table if places is None else table[places]).sum(axis=0, keepdims=True)
    return {name: value[0] for name, value in GENERATION.scores(sums, ()).items()}


@pytest.mark.parametrize("seed", range(3))
def test_sums_of_any_rows_score_as_sacrebleu_scores_these_rows(seed) -> None:
    predictions = random_case("generation", 60, seed)
    drawn = np.random.default_rng(seed).integers(0, 60, 60)
    for places in (None, drawn, np.array([3])):
        rows = predictions.rows if places is None else predictions.rows.iloc[places]
        answers, references = rows["predicted"].tolist(), [rows["label"].tolist()]
        found = scores_of(predictions, places)
        assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(answers, references).score)
        assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(answers, references).score)
        assert found["exact_match"] == np.mean(rows["predicted"] == rows["label"])


@pytest.mark.parametrize(
    ("true", "answers"),
    [(["Guten Tag."], [""]), (["a"], ["b"]), (["Sonne und Mond"], ["Sonne und Mond"]), (["ä ö ü"] * 2, ["ä ü", "¿?"])],
)
def test_odd_rows_score_as_sacrebleu_scores_them(true, answers) -> None:
    found = scores_of(written(true, answers))
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(answers, [true]).score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(answers, [true]).score)


def test_intervals_are_those_of_resampled_corpora() -> None:
    predictions = random_case("generation", 40, seed=1)
    scores = resample(
        {"candidate": predictions, "champion": random_case("generation", 40, seed=2)}, seed=0, resamples=50
    )
    assert set(scores.values["candidate"]) == {"bleu", "chrf", "exact_match"}
    low, high = scores.interval("candidate", "chrf")
    assert low < scores.values["candidate"]["chrf"] < high


def test_perplexity_is_that_of_a_token_and_of_models_only() -> None:
    model = written(["a", "b c"], ["a", "b"], nats=[1.0, 5.0], tokens=[2.0, 4.0], finished=[True, False])
    measured = GENERATION.measure(model)
    assert measured["perplexity"] == pytest.approx(np.exp(6 / 6))
    assert measured["unfinished"] == 1
    assert measured["words"] == {"answers": 1.0, "references": 1.5}
    assert measured["signatures"]["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0")
    assert "perplexity" not in GENERATION.measure(written(["a"], ["a"]))


def test_the_worst_answers_come_first_with_their_reference(tmp_path) -> None:
    true = ["Ein Mann schläft.", "Eine Frau geht.", "Ein Hund rennt."]
    errors = write_errors(tmp_path, written(true, ["Ein Mann schläft.", "Eine Frau sitzt.", "xyz"]))
    assert [row["label"] for row in errors["mistakes"]] == [true[2], true[1]]
    worst = sacrebleu.sentence_chrf("Eine Frau sitzt.", [true[1]]).score
    assert errors["mistakes"][1]["badness"] == pytest.approx(100 - worst)
    assert errors["mistakes"][0]["badness"] == 100
    assert (errors["suspects"], errors["suspects_error"]) == ([], None)


def texts(*pairs):
    return rows_of([target for _, target in pairs]).assign(text=[text for text, _ in pairs])


def test_the_nearest_training_text_lends_its_target() -> None:
    train = texts(("a man sleeps", "ein Mann schläft"), ("a dog runs", "ein Hund rennt"), ("the sun sets", "die Sonne"))
    test = texts(("the man sleeps", "?"), ("two dogs run", "?"))
    fitted = nearest(train, test, SilentProgress())
    assert fitted.predictions.rows["predicted"].tolist() == ["ein Mann schläft", "ein Hund rennt"]
    assert fitted.regularisation is None


@pytest.mark.parametrize(
    ("targets", "said", "answer"),
    [
        (["yes", "yes", "no"], 'always answering "yes"', "yes"),
        (["copy this 1", "copy this 2.", "copied this"], "copying the text", "copy that"),
    ],
)
def test_the_plain_answer_is_the_better_of_two(targets, said, answer) -> None:
    train = texts(*zip(["copy this 1", "copy this 2", "copy this 3"], targets, strict=True))
    predictions, told = plain(train, texts(("copy that", "?")))
    assert (told, predictions.rows["predicted"].tolist()) == (said, [answer])
    assert isinstance(predictions.rows, pd.DataFrame)

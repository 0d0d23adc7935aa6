"""The cheap opponents of a reader: the usual place, and candidates ranked by what their words and neighbours are."""

import random

import numpy as np
import pandas as pd
import pytest
from kind_cases import rows_of

from pipeline.judge.baselines.ranked_spans import ranked_spans
from pipeline.judge.baselines.span_features import SpanFeatures
from pipeline.judge.baselines.usual_place import usual_place
from pipeline.judge.kinds.question_answering import measure
from pipeline.progress import SilentProgress

NAMES = ("Ada Byron", "Alan", "Grace Hopper", "Kurt", "Emmy Noether")
CITIES = ("Oslo", "New Delhi", "Quito", "Porto Alegre")


def articles(rows: int, seed: int, answerable: float = 1.0) -> pd.DataFrame:
    """Rows whose answer is what stands behind `by` or `in` in the sentence of the question's thing."""
    chance = random.Random(seed)
    texts, questions, labels = [], [], []
    for _ in range(rows):
        things = chance.sample(["engine", "bridge", "sonnet", "clock"], 3)
        facts = {thing: (chance.choice(NAMES), chance.choice(CITIES)) for thing in things}
        text = " ".join(f"The {thing} was made by {name} in {city}." for thing, (name, city) in facts.items())
        thing, which = chance.choice(things), chance.randrange(2)
        known = chance.random() < answerable
        asked = f"{('who made', 'where was')[which]} the {thing if known else 'violin'}{('', ' made')[which]}?"
        answer = facts[thing][which]
        start = text.index(answer, text.index(thing))
        texts.append(text)
        questions.append(asked)
        labels.append([{"text": answer, "start": start}] if known else [])
    return rows_of(labels).assign(text=texts, text_pair=questions)


@pytest.mark.parametrize("answerable", [1.0, 0.6])
def test_it_finds_what_features_tell_and_leaves_out_what_is_not_there(answerable) -> None:
    train, validation, test = (articles(rows, seed, answerable) for seed, rows in enumerate((160, 60, 60)))
    fitted = ranked_spans(train, validation, test, 17, SilentProgress())
    measured = measure(fitted.predictions)
    assert measured["answerable_token_f1"] > 0.9
    assert measured["unanswerable_accuracy"] is None or measured["unanswerable_accuracy"] > 0.9


def test_equal_seeds_give_equal_answers() -> None:
    rows = articles(40, 0)
    one, two = (ranked_spans(rows, rows, rows, 17, SilentProgress()) for _ in range(2))
    np.testing.assert_array_equal(one.predictions.answers, two.predictions.answers)
    assert one.regularisation == two.regularisation


def test_the_plain_answer_is_the_usual_place_or_none() -> None:
    train, test = articles(100, 0), articles(40, 1)
    predictions, said = usual_place(train, test)
    assert said.startswith("always answering the ")
    assert all(
        answer and answer in text
        for answer, text in zip(predictions.rows["predicted"], predictions.rows["text"], strict=True)
    )
    predictions, said = usual_place(articles(100, 0, 0.3), test)
    assert said == "always answering that the text does not say"
    assert set(predictions.rows["predicted"]) == {""}


def test_candidates_begin_and_end_with_words_and_are_no_longer_than_usual() -> None:
    features = SpanFeatures.of(articles(60, 0))
    (found,) = features.candidates(["Made by Ada-Byron, in 1843. (So?)"], ["who made it"])
    spans = {"Made by Ada-Byron, in 1843. (So?)"[begin:end] for begin, end in found.spans}
    assert {"Ada-Byron", "1843", "by Ada-Byron", "So"} <= spans
    assert not any(span[0] in ",.(?" or span[-1] in ",.(?" for span in spans)
    assert found.table.shape == (len(found.spans), features.width)
    assert max(len(span.split()) for span in spans) <= features.longest == 2


@pytest.mark.parametrize("text", ["!!", "a", "。"])
def test_texts_without_words_are_fine(text) -> None:
    rows = rows_of([[], [{"text": text, "start": 0}]]).assign(text=text, text_pair="!")
    fitted = ranked_spans(rows, rows, rows, 1, SilentProgress())
    assert len(fitted.predictions.rows) == 2
    assert len(usual_place(rows, rows)[0].rows) == 2

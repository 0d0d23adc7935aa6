"""What a model says of a text, as plain values: the same for the command line, MLflow and any other door.

classification   {"label", "confidence", "top": [{"label", "confidence"}, ...]}
multi_label      {"labels": [...], "top": [{"label", "confidence"}, ...]}
regression       {"value"}
tagging          {"words": [{"word", "tag", "confidence"}, ...], "spans": [{"type", "text", "first", "last"}, ...]},
                 spans where the tags mark some (BIO, BIOES, BILOU)
question_answering   {"answer", "start", "end", "confidence", "top": [{the same}, ...]}, answer null where the text has
                     none; start and end are characters of the text, or of "cleaned" where cleaning changed it
generation       {"text", "score", "finished"}: score is the mean log-probability of a token
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pipeline.bundle import Bundle

Said = dict[str, Any]


def answers_of(bundle: Bundle, texts: Sequence[str], pairs: Sequence[str | None] | None, top: int) -> list[Said]:
    """Return what the model says of each text, with the `top` most likely labels."""
    said: Any = bundle.answer(texts, pairs)
    match bundle.kind:
        case "classification":
            return [_best(bundle.labels, row, top) for row in said]
        case "multi_label":
            return [_set(bundle, row, top) for row in said]
        case "regression":
            return [{"value": float(value)} for value in said]
        case "question_answering":
            cleaned = zip(texts, bundle.cleaned(texts).to_pylist(), said, strict=True)
            return [_spans(text, read, answers, top) for text, read, answers in cleaned]
        case "generation":
            answers = zip(said.texts, said.scores, said.finished, strict=True)
            return [{"text": text, "score": float(score), "finished": bool(end)} for text, score, end in answers]
    return [_tags(bundle.labels, words, rows) for words, rows in zip(bundle.words(texts), said, strict=True)]


def _ranked(labels: Sequence[str], row: np.ndarray, top: int) -> list[Said]:
    best: Iterable[int] = (-row).argsort(kind="stable")[:top]
    return [{"label": labels[index], "confidence": float(row[index])} for index in best]


def _best(labels: Sequence[str], row: np.ndarray, top: int) -> Said:
    ranked = _ranked(labels, row, top)
    return {**ranked[0], "top": ranked}


def _set(bundle: Bundle, row: np.ndarray, top: int) -> Said:
    given = zip(bundle.labels, row, bundle.thresholds, strict=True)
    chosen = [label for label, value, least in given if value >= least]
    return {"labels": chosen, "top": _ranked(bundle.labels, row, top)}


def _spans(text: str, read: str, answers: np.ndarray, top: int) -> Said:
    from pipeline.extract import best_answer

    ranked: list[Said] = []
    for place in (-answers[:, 2]).argsort(kind="stable")[:top]:
        answer, start, end, confidence = best_answer(read, answers[place : place + 1])
        if confidence > 0 or not ranked:
            where = {"start": start, "end": end} if answer else {"start": None, "end": None}
            ranked.append({"answer": answer or None, **where, "confidence": confidence})
    return {**ranked[0], "top": ranked, **({"cleaned": read} if read != text else {})}


def _tags(labels: Sequence[str], words: Sequence[str], rows: np.ndarray) -> Said:
    from pipeline.measures.tag_spans import are_spans, spans_of

    best = rows.argmax(axis=1) if len(words) else np.empty(0, np.int64)  # (words,)
    tags = [labels[index] for index in best]
    confidences = [float(row[index]) for row, index in zip(rows, best, strict=True)]
    named = [
        {"word": word, "tag": tag, "confidence": confidence}
        for word, tag, confidence in zip(words, tags, confidences, strict=True)
    ]
    found = sorted(*spans_of([tags], spans=True), key=itemgetter(1)) if are_spans(labels) else []
    spans = [
        {"type": kind, "text": " ".join(words[first : last + 1]), "first": first, "last": last}
        for kind, first, last in found
    ]
    return {"words": named, "spans": spans}

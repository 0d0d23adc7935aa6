"""Errors worth reading: the mistakes a model was surest of, and labels that are likely wrong themselves."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from pipeline.judge.kinds import KINDS, Predictions

ERRORS = "errors.json"
SHOWN = 12
TEXT = 280


def write_errors(out: Path, predictions: Predictions) -> dict[str, Any]:
    """Write errors.json into `out` and return it.

    `mistakes` are the wrong answers that the model was surest of (of regression, the farthest off) with `badness`, the
    confidence or distance; `suspects` the likeliest label errors with `rather`, what the label may rather be, and
    `fit`, the probability of the label as it is; `suspects_found` counts all of them. Where confident learning cannot
    work on the rows, `suspects_error` says why.
    """
    kind = KINDS[predictions.kind]
    wrong = kind.mistakes(predictions)
    order = sorted(wrong.index, key=lambda place: (-wrong[place], str(predictions.rows["row_id"].iloc[place])))
    errors: dict[str, Any] = {
        "mistakes": [_row(predictions, place) | {"badness": float(wrong[place])} for place in order[:SHOWN]],
        "suspects": [],
        "suspects_found": 0,
        "suspects_error": None,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # cleanlab: a class of few rows may hide some of its errors
            found = kind.suspects(predictions)
    except (ValueError, IndexError) as error:  # they are for reading; the verdict does not depend on them
        errors["suspects_error"] = f"{type(error).__name__}: {error}"
    else:
        errors["suspects_found"] = len(found)
        errors["suspects"] = [
            _row(predictions, place) | {"rather": rather, "fit": fit} for place, rather, fit in found[:SHOWN]
        ]
    text = json.dumps(errors, indent=2, ensure_ascii=False, allow_nan=False)
    (out / ERRORS).write_text(text + "\n", encoding="utf-8")
    return errors


def _row(predictions: Predictions, place: int) -> dict[str, Any]:
    row = predictions.rows.iloc[place]
    text, pair = str(row["text"]), row["text_pair"]
    if predictions.kind == "question_answering":
        truth = next((span["start"] for span in row["label"]), 0)
        text, pair = str(pair), around(text, row["start"] if row["predicted"] else truth)
    whole = f"{text} | {pair}" if isinstance(pair, str) and pair.strip() else text
    return {
        "row_id": str(row["row_id"]),
        "text": whole if len(whole) <= TEXT else whole[:TEXT] + " …",
        "label": spell(predictions.kind, row["label"], row.get("words")),
        "predicted": spell(predictions.kind, row["predicted"], row.get("words")),
    }


def around(text: str, place: int) -> str:
    """Return the part of a text that a place of interest is in."""
    start = max(0, place - TEXT // 3)
    end = start + TEXT * 2 // 3
    return f"{'… ' if start else ''}{text[start:end].strip()}{' …' if end < len(text) else ''}"


def spell(kind: str, answer: Any, words: Any = None) -> str:
    """Return an answer as a person reads it."""
    if kind == "regression":
        return f"{answer:.4g}"
    if kind == "question_answering":
        acceptable = [answer] if isinstance(answer, str) else [span["text"] for span in answer]
        return " / ".join(filter(None, dict.fromkeys(acceptable))) or "no answer"
    if kind == "multi_label":
        return ", ".join(answer) or "no label"
    if kind == "tagging":
        shown = [
            f"{word}/{tag}" for word, tag in zip(words or range(1, len(answer) + 1), answer, strict=True) if tag != "O"
        ]
        text = " ".join(shown) or "nothing tagged"
        return text if len(text) <= TEXT else text[:TEXT] + " …"
    return str(answer)

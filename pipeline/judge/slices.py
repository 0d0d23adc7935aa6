"""Parts of the test rows that are looked at by themselves: values of a column, lengths of text, rare labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config import Evaluate
from pipeline.data.rows import read_rows, row_columns, row_files
from pipeline.errors import SourceError
from pipeline.judge.bootstrap import resample
from pipeline.judge.kinds import Predictions
from pipeline.judge.predictions import CONTRACT, SLICE, whole_texts

RESAMPLES = 500
VALUES = 20
OTHER = "(other values)"


def with_columns(rows: pd.DataFrame, validated: Path, source: str, columns: list[str]) -> pd.DataFrame:
    """Return the rows with columns of their source beside the contract's.

    Args:
        rows: as `read_split` gives them.
        validated: artifact folder of `validate`, which has every column of every row.
        source: name of the rows' source.
        columns: which of them.

    Raises:
        SourceError: the source has no such column.

    """
    if not columns:
        return rows
    files = require_columns(validated, source, columns)
    wanted = set(rows["row_id"])
    parts = []
    for file in files:
        table = read_rows(file, tuple(dict.fromkeys(["row_id", *columns]))).to_pandas()
        parts.append(table[table["row_id"].isin(wanted)])
    found = pd.concat(parts).set_index("row_id").reindex(rows["row_id"])
    return rows.assign(**{column: found[column].to_numpy() for column in columns if column not in rows})


def require_columns(validated: Path, source: str, columns: list[str]) -> list[Path]:
    """Return the files of a source's rows. Raises SourceError: they lack one of the columns."""
    files = row_files(validated / "rows", source)
    known = row_columns(files)
    if missing := [column for column in columns if column not in known]:
        raise SourceError(
            f"evaluate.slices names the column {missing[0]!r}, which source {source!r} does not have; it has "
            f"{', '.join(map(repr, known))}: correct the name"
        )
    return files


def with_slices(kind: str, rows: pd.DataFrame, train: pd.DataFrame, config: Evaluate) -> pd.DataFrame:
    """Return the contract's columns of the test rows, and for each dimension `slice.<dimension>` with each row's slice.

    Args:
        kind: name of the kind of task.
        rows: the test rows, as `with_columns` gives them.
        train: the training rows, which say what labels are rare.
        config: the task's `evaluate`.

    Raises:
        SourceError: the rows lack a column that `slices` names.

    """
    kept = list(map(str, rows))
    if missing := [column for column in config.slices if column not in kept]:
        raise SourceError(
            f"evaluate.slices names the column {missing[0]!r}, which the rows do not have; they have "
            f"{', '.join(map(repr, kept)) or 'none to slice by'}: correct the name"
        )
    sliced = rows[[column for column in rows if column in CONTRACT]].copy()
    for column in config.slices:
        sliced[f"{SLICE}{column}"] = _values(rows[column])
    sliced[f"{SLICE}length"] = _lengths(rows, config.lengths)
    if kind == "question_answering":
        sliced[f"{SLICE}question"] = ["answerable" if label else "unanswerable" for label in rows["label"]]
    if kind in ("classification", "multi_label"):
        sliced[f"{SLICE}labels"] = _rarity(rows["label"], train["label"], config.rare_rows)
    return sliced


def _values(column: pd.Series[Any]) -> list[str]:
    """Return each row's value as text; values beyond the most frequent ones are one slice."""
    texts = [str(value) if isinstance(value, list) or not pd.isna(value) else "" for value in column]
    texts = [text if text.strip() else "(none)" for text in texts]
    frequent = {value for value, _ in Counter(texts).most_common(VALUES)}
    return [value if value in frequent else OTHER for value in texts]


def _lengths(rows: pd.DataFrame, ends: list[int]) -> list[str]:
    words = [len(text.split()) for text in whole_texts(rows)]
    names = [f"{low + 1} to {high} words" for low, high in zip([0, *ends], ends, strict=False)]
    names.append(f"over {ends[-1]} words" if ends else "any length")
    return [names[place] for place in np.searchsorted(ends, words)]


def _rarity(labels: pd.Series[Any], train: pd.Series[Any], rare_rows: int) -> list[str]:
    support = Counter(label for row in train for label in ([row] if isinstance(row, str) else row))
    rare, common = f"rare (under {rare_rows} training rows)", f"common ({rare_rows} training rows or more)"
    lists = [[row] if isinstance(row, str) else list(row) for row in labels]
    return [rare if any(support[label] < rare_rows for label in row) else common for row in lists]


def judge_slices(answers: Mapping[str, Predictions], metric: str, least: int, seed: int) -> list[dict[str, Any]]:
    """Return each slice of the candidate's rows with every model's metrics on it.

    Args:
        answers: model -> its predictions, all in one row order; slices are those of "candidate".
        metric: the gate's; the candidate's difference in it to the champion is taken too.
        least: a slice with fewer rows is told, not judged.
        seed: of the resampling.

    Returns:
        Per slice `by`, `slice`, `rows`, `scores` (model -> metric -> {value, interval}; none when it is too small), and
        `difference` to the champion ({value, interval}; null without one).

    """
    rows = answers["candidate"].rows
    found = []
    for column in (str(name) for name in rows if str(name).startswith(SLICE)):
        members = {value: np.flatnonzero(rows[column] == value) for value in sorted(rows[column].unique())}
        for value, places in sorted(members.items(), key=lambda item: -len(item[1])):
            entry: dict[str, Any] = {"by": column.removeprefix(SLICE), "slice": value, "rows": len(places)}
            entry |= {"scores": {}, "difference": None}
            if least <= len(places) < len(rows):
                entry |= _judge({model: one.take(places) for model, one in answers.items()}, metric, seed)
            if len(places) < len(rows):
                found.append(entry)
    return found


def _judge(answers: Mapping[str, Predictions], metric: str, seed: int) -> dict[str, Any]:
    scores = resample(answers, seed, RESAMPLES)
    entry: dict[str, Any] = {"scores": scores.table()}
    if "champion" in answers:
        value, interval = scores.difference("candidate", "champion", metric)
        entry["difference"] = {"value": value if np.isfinite(value) else None, "interval": interval}
    return entry

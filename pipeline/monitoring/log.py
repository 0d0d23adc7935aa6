"""The log of a served model: Parquet files of rows, each written whole, or not at all.

    time, model, version, text, text_pair, answer (JSON), confidence

Rows are drawn by chance when not all are wanted, and personal data can be replaced before anything is written.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Clean

SCHEMA = pa.schema(
    [
        ("time", pa.timestamp("us", tz="UTC")),
        ("model", pa.string()),
        ("version", pa.string()),
        ("text", pa.string()),
        ("text_pair", pa.string()),
        ("answer", pa.string()),
        ("confidence", pa.float32()),
    ]
)
ROWS = 5_000
SECONDS = 60.0
logger = logging.getLogger("tradewind")


class AnswerLog:
    """Keeps what a model was asked and what it answered; may be used by several threads.

    Args:
        folder: Path. Receives answers-*.parquet.
        model: str. Name in the registry.
        share: float. Of the rows that are kept, by chance.
        redact: Sequence of str. Kinds of personal data to replace, as in `preprocess.clean.redact`.
        rows: int. A file is written when so many rows wait,
        seconds: float. or when the oldest has waited for so long: looked at by `add` and `write_due`; and by `flush`.

    Attributes:
        lost: int. Rows that could not be written: answering goes on when a disk is full.
    """

    def __init__(
        self,
        folder: Path,
        model: str,
        share: float = 1.0,
        redact: Sequence[str] = (),
        rows: int = ROWS,
        seconds: float = SECONDS,
    ) -> None:
        self.folder = folder
        self.model = model
        self.share = share
        self.clean = Clean.model_validate({"repair": False, "redact": list(redact)})
        self.rows = rows
        self.seconds = seconds
        self.lost = 0
        self._waiting: list[dict[str, Any]] = []
        self._since = 0.0
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def add(
        self, version: str, texts: Sequence[str], pairs: Sequence[str | None] | None, answers: Sequence[dict[str, Any]]
    ) -> None:
        """Keep some requests and their answers, as `pipeline.answer` gives them."""
        now = datetime.now(UTC)
        kept = [
            {
                "time": now,
                "model": self.model,
                "version": version,
                "text": text,
                "text_pair": pair,
                "answer": json.dumps(answer, ensure_ascii=False),
                "confidence": confidence_of(answer),
            }
            for text, pair, answer in zip(texts, pairs or [None] * len(texts), answers, strict=True)
            if self.share >= 1 or random.random() < self.share  # noqa: S311  a draw, not a secret
        ]
        with self._lock:
            if kept and not self._waiting:
                self._since = time.monotonic()
            self._waiting += kept
            due = len(self._waiting) >= self.rows or time.monotonic() - self._since >= self.seconds
            if self._waiting and due:
                self._empty()

    def write_due(self) -> None:
        """Write what waits, if the oldest has waited long enough."""
        with self._lock:
            if self._waiting and time.monotonic() - self._since >= self.seconds:
                self._empty()

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            if self._waiting:
                self._empty()

    def _empty(self) -> None:
        try:
            self._write()
        except OSError as error:
            self.lost += len(self._waiting)
            logger.warning("%d answers could not be logged in %s: %s", len(self._waiting), self.folder, error)
        self._waiting = []

    def _write(self) -> None:
        from pipeline.data.text.repair import clean

        table = pa.Table.from_pylist(self._waiting, SCHEMA)
        for column in ("text", "text_pair", "answer") if self.clean.redact else ():
            place = table.schema.get_field_index(column)
            table = table.set_column(place, SCHEMA.field(column), clean(table[column].combine_chunks(), self.clean)[0])
        name = f"answers-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{uuid4().hex[:8]}.parquet"
        partial = self.folder / f".{name}.partial"
        pq.write_table(table, partial, compression="zstd")
        partial.rename(self.folder / name)


def confidence_of(answer: dict[str, Any]) -> float | None:
    """Return how sure the model is of an answer: of words, of the least sure one; None where it does not say."""
    if "words" in answer:
        return min((word["confidence"] for word in answer["words"]), default=None)
    found: float | None = answer.get("confidence")
    return found

"""A version of a model, loaded and warm."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.answer import answers_of
from pipeline.bundle import ROWS_PER_BATCH, Bundle
from pipeline.formats.formats import KERAS, find_format
from pipeline.registry import Version
from pipeline.serving.limits import Limits
from pipeline.serving.schema import ModelDescription

logger = logging.getLogger("tradewind")


@dataclass(frozen=True)
class Hosted:
    """A version that is ready to answer.

    Attributes:
        version: Version. As registered.
        alias: str. Under which it was found.
        bundle: Bundle. Its model and tokenizer.
    """

    version: Version
    alias: str
    bundle: Bundle

    @classmethod
    def load(cls, version: Version, alias: str, limits: Limits, format: str = KERAS) -> Hosted:  # noqa: A002
        """Read the version's files in a format and compile every shape that requests within the limits can have.

        Raises IntegrityError: the files are not those that were registered, or not signed; BundleError: no bundle, or
        the version does not have the format.
        """
        start = time.monotonic()
        hosted = cls(version, alias, Bundle.load(find_format(version.checked_bundle(), format)))
        hosted._warm(limits)
        logger.info("%s version %s is loaded (%.1f s)", version.name, version.version, time.monotonic() - start)
        return hosted

    def answer(self, texts: Sequence[str], pairs: Sequence[str | None] | None, top: int) -> list[dict[str, Any]]:
        """Return what the model says of each text; see `pipeline.answer`."""
        return answers_of(self.bundle, texts, pairs, top)

    def describe(self) -> ModelDescription:
        """Return what a client may know of it."""
        file = self.version.bundle / "metrics.json"
        metrics = json.loads(file.read_text("utf-8")) if file.is_file() else {"headlines": []}
        return ModelDescription(
            name=self.version.name,
            version=self.version.version,
            alias=self.alias,
            kind=self.bundle.kind,
            task=self.bundle.task,
            labels=list(self.bundle.labels),
            metrics={name: metrics[name] for name in metrics["headlines"] if metrics.get(name) is not None},
        )

    def _warm(self, limits: Limits) -> None:
        """Answer made-up texts: one of each length, then as many long ones as make each number of rows."""
        longest = self.bundle.sequence_length
        length, lengths = 12, []
        while length < longest:
            lengths.append(length)
            length *= 2
        numbers = [2**power for power in range(1, ROWS_PER_BATCH.bit_length()) if 2**power <= limits.max_batch]
        for words, number in [*((each, 1) for each in lengths), (longest, 1), *((longest, each) for each in numbers)]:
            texts = [" ".join(["a"] * words)] * number
            self.answer(texts, texts if self.bundle.kind == "question_answering" else None, 1)

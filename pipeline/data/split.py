"""Deterministic splits: a row's place depends on its group and the salt only, so new rows move no old ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pipeline.config import Split

SPLITS = ("train", "validation", "test")


def assign_splits(groups: Iterable[str], split: Split) -> list[str]:
    """Return `train`, `validation` or `test` for each group; rows of one group always share a split."""
    return [_assign(group, split) for group in groups]


def _assign(group: str, split: Split) -> str:
    digest = hashlib.blake2b(f"{split.salt}\0{group}".encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "big") / 2**64  # uniform in [0, 1)
    if position < split.test:
        return "test"
    return "validation" if position < split.test + split.validation else "train"

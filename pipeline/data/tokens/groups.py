"""Which group each document of the pretraining corpus is of, as `pretrain.group_weight` wants to know it.

groups.npy    (documents,) int32, beside the shards; -1 where a document has no group
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.data.tokens.shards import save_array

GROUPS = "groups.npy"
ALONE = -1


def write_groups(folder: Path, places: Sequence[np.ndarray]) -> None:
    """Number the groups and write them; nothing where no document has one.

    Args:
        folder: Path. Of the shards.
        places: sequence of (documents,) uint64. Of each block, equal for equal groups; 0 where there is none.
    """
    found = np.concatenate([np.empty(0, np.uint64), *places])
    if not found.any():
        return
    known, numbers = np.unique(found, return_inverse=True)
    save_array(folder / GROUPS, np.where(found == 0, ALONE, numbers - (known[0] == 0)).astype(np.int32))


def read_groups(folder: Path) -> np.ndarray | None:
    """Return the group of each document, (documents,) int32; None where no document has one."""
    file = folder / GROUPS
    return np.load(file) if file.exists() else None

"""Which group each document of the pretraining corpus is of, as `pretrain.group_weight` wants to know it.

groups.npy    (documents,) int32, beside the shards; -1 where a document has no group
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.data.tokens.shards import save_array
from pipeline.errors import RecipeError

GROUPS = "groups.npy"
ALONE = -1
LEAST_SHARED = 0.1  # of the rows in groups: one of a single row teaches nothing, and has its place in the model


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


def read_groups(folder: Path) -> np.ndarray:
    """Return the group of each document, (documents,) int32, -1 where it has none.

    Raises:
        RecipeError: there are none to tell apart, or hardly any document shares one with another.
    """
    file = folder / GROUPS
    groups = np.load(file) if file.exists() else np.empty(0, np.int32)
    sizes = np.bincount(groups[groups >= 0])
    if len(sizes) < 2:
        found = "a single group" if len(sizes) else "no group"
    elif (shared := sizes[sizes > 1].sum()) < LEAST_SHARED * sizes.sum():
        found = f"{len(sizes):,} groups, which only {shared:,} of {sizes.sum():,} rows share with another row"
    else:
        return groups
    raise RecipeError(
        f"pretrain.group_weight is set, and the training rows of the corpus have {found}; name a column that several "
        "rows have in common with data.sources.<source>.group, or remove group_weight"
    )

"""The split of groups by name, as a test tells it."""

from collections.abc import Iterable

import pyarrow as pa

from pipeline.config import Split
from pipeline.data.text.splits import SPLITS, assign_at, place_groups


def assign_splits(groups: Iterable[str], split: Split) -> list[str]:
    """Return the name of the split of each group, by its hash."""
    by_hash = Split(validation=split.validation, test=split.test, salt=split.salt)
    return [SPLITS[place] for place in assign_at(by_hash, place_groups(pa.array(groups, pa.string()), split.salt))]

"""Whether the cells of a column hold sets of labels, such as `billing; delivery`, rather than one label each."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import TaskData
from pipeline.data.answers import classes_of, parse

SEPARATORS = (";", "|", ",")
LEAST_SEVERAL = 0.02  # share of cells that hold several labels
LONGEST_LABEL = 40  # in characters: longer ones are sentences
ROWS_PER_LABEL = 5


def label_set(name: str, values: Counter[str], most: int) -> tuple[str, list[str]] | None:
    """Return what stands between the labels of a column, and the labels, sorted; None where cells hold one each.

    Args:
        name: of the column.
        values: its different cells, and how often each is there.
        most: labels at most.
    """
    cells = pa.array(list(values), pa.string())
    for separator in SEPARATORS:
        sets = parse(TaskData(source="drafted", kind="multi_label", label=name, separator=separator), cells)
        several = pc.greater(pc.list_value_length(sets), 1).to_pylist()
        share = sum(count for count, held in zip(values.values(), several, strict=True) if held) / values.total()
        labels = sorted(set(classes_of(sets).to_pylist()))
        # Labels come back in other sets; the parts of `Main Street, Springfield` are more than there are cells.
        few = 1 < len(labels) <= min(most, values.total() / ROWS_PER_LABEL, len(values))
        if share >= LEAST_SEVERAL and few and max(map(len, labels)) <= LONGEST_LABEL:
            return separator, labels
    return None

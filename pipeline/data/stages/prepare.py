"""Stage 1: repair the texts of a block, name what the filters drop, and give every row its keys.

prepared/NNNNN.parquet   row_id, text, text_pair, group, rule (that drops the row), and the columns of the tasks, of
                         which those that hold texts to be written are repaired too
keys/NNNNN.npy           (rows, 2) uint64. Equal for equal texts
places/NNNNN.npy         (rows,) uint64. Equal for rows that must share a split
cleaned/NNNNN.json       how many texts each repair changed
"""

from __future__ import annotations

import json
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import Preprocess
from pipeline.data.rows import read_rows
from pipeline.data.stages.blocks import Block, Plan
from pipeline.data.text.duplicates import keys
from pipeline.data.text.filters import dropped_by
from pipeline.data.text.repair import clean
from pipeline.data.text.splits import place_groups
from pipeline.data.text.words import normalise

EMPTY = "empty"


def prepare(config: Preprocess, plan: Plan, block: Block) -> None:
    """Write the prepared rows of a block.

    Args:
        config: Preprocess. Its `clean` and `filters`.
        plan: Plan. The folders.
        block: Block. What to work on.
    """
    names = ("row_id", "text", "text_pair", "group", "split", *block.columns)
    table = read_rows(block.path, tuple(dict.fromkeys(names)))
    texts, cleaned = clean(_whole(table["text"]), config.clean)
    pairs = _whole(table["text_pair"])
    if pairs.null_count < len(pairs):
        pairs, more = clean(pairs, config.clean)
        cleaned = {rule: cleaned.get(rule, 0) + more.get(rule, 0) for rule in cleaned | more}
    table = table.set_column(1, "text", texts).set_column(2, "text_pair", pairs)
    for column in plan.targets(block):
        targets, more = clean(_whole(table[column]), config.clean)
        cleaned = {rule: cleaned.get(rule, 0) + more.get(rule, 0) for rule in cleaned | more}
        table = table.set_column(table.column_names.index(column), column, targets)
    empty = pc.equal(pc.utf8_trim_whitespace(texts), "")
    rule = dropped_by(texts, config.filters) if block.in_corpus else pa.nulls(len(texts), pa.string())
    table = table.append_column("rule", pc.if_else(empty, EMPTY, rule))
    plan.write_whole(plan.file("prepared", block, ".parquet"), partial(pq.write_table, table, compression="lz4"))
    normal = normal_texts(texts, pairs, config)
    plan.save("keys", block, keys(normal))
    plan.save("places", block, place_groups(pc.coalesce(_whole(table["group"]), normal), config.split.salt))
    cleaning = json.dumps(cleaned, sort_keys=True)
    plan.write_whole(plan.file("cleaned", block, ".json"), lambda path: path.write_text(cleaning))


def normal_texts(texts: pa.Array, pairs: pa.Array, config: Preprocess) -> pa.Array:
    """Return what makes two rows equal: the normalised text and, on a second line, the second text."""
    normal = normalise(texts, config.tokenizer.lowercase)
    if pairs.null_count == len(pairs):
        return normal
    # No normalised text holds a line feed, so no other two texts read the same.
    both = pc.binary_join_element_wise(normal, normalise(pairs, config.tokenizer.lowercase), "\n")
    return pc.if_else(pc.is_valid(pairs), both, normal)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()

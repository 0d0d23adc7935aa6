"""The blocks that preprocessing works on, and how a stage goes through them: side by side, and resumed where it was.

A block is one file of sound rows. What a stage makes of it lies in the work folder under the block's number; the files
that are there already, whole, are not made again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.config import Recipe, TaskData
from pipeline.data.engine import Engine
from pipeline.data.rows import row_columns, row_files
from pipeline.data.tokens.shards import save_array
from pipeline.errors import SourceError
from pipeline.progress import Progress


@dataclass(frozen=True)
class Block:
    """One file of sound rows.

    Attributes:
        number: int. Its place in the order of all blocks, which names its files.
        source: str. Name of the source.
        path: Path. The file.
        columns: tuple of str. What of it the tasks and the split need, besides the text and its identity.
        in_corpus: bool. Is it part of the pretraining corpus?
    """

    number: int
    source: str
    path: Path
    columns: tuple[str, ...]
    in_corpus: bool

    @property
    def name(self) -> str:
        """What its files' names begin with."""
        return f"{self.number:05d}"


@dataclass(frozen=True)
class Plan:
    """What there is to do: all blocks, in order, and the folders.

    Attributes:
        blocks: tuple of Block.
        tasks: dict of str to TaskData. By name.
        out: Path. The artifact.
        work: Path. What is needed on the way only.
        bytes: int. Size of the blocks' files.
    """

    blocks: tuple[Block, ...]
    tasks: dict[str, TaskData]
    out: Path
    work: Path
    bytes: int

    @classmethod
    def of(cls, recipe: Recipe, rows: Path, out: Path) -> Plan:
        """Return the plan for the `rows` folder of a `validate` artifact.

        Raises:
            SourceError: a column that a task or the split names does not exist.
        """
        tasks = {name: task.data for name, task in recipe.tasks.items()}
        found = sorted(folder.name for folder in rows.iterdir() if folder.is_dir())
        corpus = recipe.data.corpus or found
        blocks: list[Block] = []
        for source in found:
            its_tasks = {name: data for name, data in tasks.items() if data.source == source}
            if source not in corpus and not its_tasks:
                continue
            files = row_files(rows, source)
            wanted = _columns(source, its_tasks, recipe.preprocess.split.column, row_columns(files))
            blocks += [
                Block(len(blocks) + place, source, path, wanted, source in corpus) for place, path in enumerate(files)
            ]
        size = sum(pq.read_metadata(block.path).serialized_size + block.path.stat().st_size for block in blocks)
        (out / "work").mkdir(parents=True, exist_ok=True)
        return cls(tuple(blocks), tasks, out, out / "work", size)

    def targets(self, block: Block) -> tuple[str, ...]:
        """Return the columns of a block that hold texts to be written, each once."""
        tasks = (data for data in self.tasks.values() if data.source == block.source and data.kind == "generation")
        return tuple(dict.fromkeys(data.label for data in tasks))

    def file(self, stage: str, block: Block, suffix: str = "") -> Path:
        """Return the path of a stage's file for a block."""
        return self.work / stage / f"{block.name}{suffix}"

    def load(self, stage: str, block: Block) -> np.ndarray:
        """Return the array that a stage has saved for a block, memory-mapped."""
        found: np.ndarray = np.load(self.file(stage, block, ".npy"), mmap_mode="r")
        return found

    def save(self, stage: str, block: Block, array: np.ndarray) -> None:
        """Save an array for a block, whole or not at all."""
        path = self.file(stage, block, ".npy")
        self.write_whole(path, lambda temporary: save_array(temporary, array))

    def write_whole(self, path: Path, write: Callable[[Path], Any]) -> None:
        """Let `write` fill a file in the work folder, and put it in its place in one go."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.work / f"{path.name}.{os.getpid()}"
        write(temporary)
        temporary.replace(path)

    def run(
        self,
        engine: Engine,
        stage: str,
        function: Callable[[Plan, Block], Any],
        blocks: Sequence[Block],
        progress: Progress,
    ) -> None:
        """Apply a stage to the blocks that it has not finished; `function` writes its files itself.

        Args:
            engine: Engine. Where the work is done.
            stage: str. Name of the stage, told in the progress.
            function: callable. Module-level function, or a partial of one, that works on one block.
            blocks: sequence of Block.
            progress: Progress. Counts blocks.
        """
        waiting = [block for block in blocks if not self.file(stage, block, ".done").exists()]
        done = len(blocks) - len(waiting)
        progress.update(done, max(1, len(blocks)), stage=stage)
        alone = replace(self, blocks=())  # what is sent with every block
        for _ in engine.map(partial(_finish, alone, stage, function), waiting):
            done += 1
            progress.update(done, len(blocks), stage=stage)


def _finish(plan: Plan, stage: str, function: Callable[[Plan, Block], Any], block: Block) -> None:
    function(plan, block)
    plan.write_whole(plan.file(stage, block, ".done"), Path.touch)


def _columns(source: str, tasks: dict[str, TaskData], split: str | None, present: list[str]) -> tuple[str, ...]:
    needed: dict[str, str] = {}
    for name, data in tasks.items():
        for column in (data.label, *data.where):
            needed.setdefault(column, f"tasks.{name}.data")
    if split and (tasks or split in present):  # text that no task uses is dealt by hash where it has no such column
        needed.setdefault(split, "preprocess.split.column")
    for column, key in needed.items():
        if column not in present:
            raise SourceError(
                f"{key} names column {column!r}, which source {source!r} lacks; it has: {', '.join(present)}"
            )
    return tuple(column for column in needed if column not in ("row_id", "text", "text_pair", "group"))

"""One source on its way through the checks: its rows stream by once, in chunks of bounded size.

Of each chunk: rows that cannot be read, ids, row-level checks, then the sound rows are written and counted and the
others go to the quarantine. At the end the figures of all rows together are judged.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Checks, FilesSource, Source, TaskData
from pipeline.data.answers import counted, faults
from pipeline.data.quality import checks as builtin
from pipeline.data.quality import verdicts
from pipeline.data.quality.checks import REPEATS, Check
from pipeline.data.quality.drift.reference import make_reference, save
from pipeline.data.quality.expectations import Inspector
from pipeline.data.quality.figures.profile import Chunk, Labels, Profile, count_reasons
from pipeline.data.quality.figures.spool import FirstRows, Spool, hash_strings
from pipeline.data.quality.own import OwnChecks, column_of, require_known_columns
from pipeline.data.rows import RowsWriter
from pipeline.data.sources import require_columns
from pipeline.errors import SourceError

ROWS = 65_536
BYTES = 32 * 2**20
SHOWN_CHARACTERS = 2_000
VALUES = 1_000  # of a `where` column, to show when no row matches
EXAMPLES = 3

Reasons = dict[int, list[str]]
Subset = tuple[tuple[str, str], ...]


class TaskRows:
    """What is gathered of the rows that one task uses."""

    def __init__(self, name: str, data: TaskData, profile: Profile, inspector: Inspector, folder: Path) -> None:
        self.name, self.data, self.profile = name, data, profile
        self.labels = Labels(folder)
        self.suite = inspector.suite(f"task {name}", "its rows", builtin.task_checks(name, data))
        self.matches = 0

    def uses(self, table: pa.Table) -> np.ndarray:
        """Return which rows the task uses, (rows,) bool."""
        chosen = np.ones(len(table), bool)
        for column, value in self.data.where.items():
            equal = pc.equal(column_of(table, column, numeric=False), value)
            chosen &= pc.fill_null(equal, False).to_numpy(zero_copy_only=False)
        return chosen

    def labels_of(self, table: pa.Table) -> pa.Array:
        """Return the task's labels, null where they are blank, (rows,) string."""
        return _blank_to_null(column_of(table, self.data.label, numeric=False)).combine_chunks()

    def frame(self, table: pa.Table) -> Any:
        """Return what the checks of the task's own rows look at."""
        labels = self.labels_of(table)
        if self.data.kind == "classification":
            return pa.table({"label": labels}).to_pandas()
        return pa.table({builtin.ANSWER_FAULT: faults(self.data, labels, table["text"].combine_chunks())}).to_pandas()

    def keep(self, chunk: Chunk, table: pa.Table) -> None:
        """Count the answers of the rows that the task uses, all of which are sound."""
        used = self.uses(table)
        labels = self.labels_of(table.filter(pa.array(used)))
        self.labels.add(chunk.hashes[used], labels, counted(self.data, labels))


class Survey:
    """A source while its rows stream by, and afterwards the figures."""

    def __init__(
        self,
        name: str,
        source: Source,
        tasks: Mapping[str, TaskData],
        own: list[Check],
        checks: Checks,
        inspector: Inspector,
        out: Path,
    ) -> None:
        folder = out / "scratch" / name
        folder.mkdir(parents=True)
        self.name, self.source, self.checks, self.inspector, self.out = name, source, checks, inspector, out
        self.columns: dict[str, None] = {}
        self.asked = checks.columns.get(name, {})
        self.id_column: str | None = getattr(source, "id", None)
        self.ids = FirstRows(folder / "ids") if self.id_column else None
        self.suite = inspector.suite(name, "every row", self._row_checks())
        self.unique = {
            column: Spool(folder / f"unique{position}", [])
            for position, column in enumerate(column for column, asked in self.asked.items() if asked.unique)
        }
        self.profiles: dict[Subset, Profile] = {(): Profile(folder / "all")}
        for position, data in enumerate(tasks.values()):
            self.profiles.setdefault(_subset(data), Profile(folder / f"rows{position}"))
        self.tasks = [
            TaskRows(task, data, self.profiles[_subset(data)], inspector, folder / f"task{position}")
            for position, (task, data) in enumerate(tasks.items())
        ]
        self.own_checks = own
        self.own = OwnChecks(name, own, self.asked, inspector, folder)
        self.writer = RowsWriter(out / "rows" / name)
        self.values: dict[str, set[str]] = {column: set() for task in self.tasks for column in task.data.where}
        self.rows = self.kept = 0
        self.splits: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.examples: list[str] = []

    def add(self, table: pa.Table, quarantine: TextIO) -> None:
        """Check a chunk of rows; write the sound ones, and the others with their reasons to `quarantine`."""
        self.columns |= dict.fromkeys(column for column in table.column_names if column not in ("row_id", "fault"))
        if self.rows == 0 and _same_columns_throughout(self.source):
            self._require_columns()
        for column, found in self.values.items():
            if len(found) < VALUES:
                found |= set(pc.drop_null(pc.unique(column_of(table, column, numeric=False))).to_pylist())
        reasons = self._reasons(table)
        sound = np.ones(len(table), bool)
        sound[list(reasons)] = False
        self.rows += len(table)
        self._write_quarantine(table, reasons, quarantine)
        self._keep(table.filter(pa.array(sound)).drop_columns("fault"))

    def close(self) -> dict[str, Any]:
        """Judge what is known of all rows together, and return the statistics.

        Raises:
            SourceError: the source has not the columns, or not the rows, that a task needs.
            RecipeError: an expectation of the recipe names a column that the source has not.
        """
        self._require_columns()
        for task in self.tasks:
            if not task.matches:
                found = {column: sorted(self.values[column])[:10] for column in task.data.where}
                raise SourceError(
                    f"tasks.{task.name}.data.where is {task.data.where}, and no row of source {self.name} matches; "
                    f"those columns hold: {found}"
                )
        self.writer.close()
        self.suite.close()
        for task in self.tasks:
            task.suite.close()
        self.own.close(list(self.columns))
        for task in self.tasks:
            save(make_reference(task.profile, task.labels), self.out / "reference", task.name)
        return verdicts.conclude(self)

    def _row_checks(self) -> list[Check]:
        ids = builtin.id_checks(self.id_column) if self.id_column else []
        return [*builtin.row_checks(self.checks), *ids, *builtin.column_checks(self.asked)]

    def _require_columns(self) -> None:
        columns = list(self.columns)
        for column in self.asked:
            require_columns(self.name, f"data.checks.columns.{self.name}", column, columns)
        require_known_columns(self.name, self.own_checks, columns)
        for task in self.tasks:
            require_columns(self.name, f"tasks.{task.name}.data.label", task.data.label, columns)
            for column in task.data.where:
                require_columns(self.name, f"tasks.{task.name}.data.where", column, columns)

    def _reasons(self, table: pa.Table) -> Reasons:
        """Return the reasons against every unsound row of the chunk, by its place, in the order of the rows."""
        faulty = table["fault"].is_valid().to_numpy()
        places = np.flatnonzero(faulty).tolist()
        faults = table["fault"].drop_null().to_pylist()
        reasons: Reasons = {place: [fault] for place, fault in zip(places, faults, strict=True)}
        readable = np.flatnonzero(~faulty)  # (readable rows,): their places in the chunk
        rows = table.filter(pa.array(~faulty))
        frame = self._frame(rows, readable + self.rows + 1)
        _collect(reasons, self.suite.add(frame), readable, frame)
        for task in self.tasks:
            task.matches += int(task.uses(table).sum())
            used = task.uses(rows)
            answers = task.frame(rows.filter(pa.array(used)))
            _collect(reasons, task.suite.add(answers), readable[used], answers)
        return {place: _tidy(reasons[place]) for place in sorted(reasons)}

    def _frame(self, rows: pa.Table, numbers: np.ndarray) -> Any:
        """Return what the row-level checks look at; `numbers` (rows,) counts them from 1 in the source."""
        columns: dict[str, Any] = {"text": rows["text"]}
        for column, asked in self.asked.items():
            if column != "text":
                columns[column] = _blank_to_null(column_of(rows, column, numeric=False))
            if asked.type in builtin.NUMBERS:
                columns[builtin.number_name(column)] = column_of(rows, column, numeric=True)
        if self.ids is not None:
            first = self.ids.add(hash_strings(rows["row_id"]), numbers)
            told = [None if row < 0 else f"duplicate row id: row {row} of the source has it already" for row in first]
            columns[REPEATS] = pa.array(told, pa.string())
        return pa.table(columns).to_pandas()

    def _keep(self, table: pa.Table) -> None:
        self.kept += len(table)
        self.writer.write(table)
        self.own.add(table)
        for column, spool in self.unique.items():
            spool.add(hash_strings(pc.drop_null(_blank_to_null(column_of(table, column, numeric=False)))))
        chunk = Chunk(table)
        if chunk.given_splits:
            self.splits.update(table["split"].to_pylist())
        for subset, profile in self.profiles.items():
            user = next((task for task in self.tasks if _subset(task.data) == subset), None)
            profile.add(chunk, user.uses(table) if user else np.ones(len(table), bool))
        for task in self.tasks:
            task.keep(chunk, table)

    def _write_quarantine(self, table: pa.Table, reasons: Reasons, quarantine: TextIO) -> None:
        self.reasons += count_reasons(reason for why in reasons.values() for reason in why)
        rows = table.take(pa.array(list(reasons), pa.int64())).to_pylist()
        for row, why in zip(rows, reasons.values(), strict=True):
            others = {key: _cut(value) for key, value in row.items() if key not in _PIPELINES and value is not None}
            entry = {
                "row_id": row["row_id"],
                "source": self.name,
                "reason": "; ".join(why),
                "text": _cut(row["text"]),
                "columns": others,
            }
            quarantine.write(json.dumps(entry, ensure_ascii=False) + "\n")
            if len(self.examples) < EXAMPLES:
                self.examples.append(f"{row['row_id']} ({'; '.join(why)})")


_PIPELINES = ("row_id", "text", "group", "fault")


def coalesced(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows in tables of about ROWS rows or BYTES bytes: many small files would cost many small checks."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        if waiting and (rows + len(table) > ROWS or size + table.nbytes > BYTES):
            yield pa.concat_tables(waiting, promote_options="default").combine_chunks()
            waiting, rows, size = [], 0, 0
        waiting.append(table)
        rows, size = rows + len(table), size + table.nbytes
    if waiting:
        yield pa.concat_tables(waiting, promote_options="default").combine_chunks()


def _collect(reasons: Reasons, found: list[tuple[Check, list[int]]], places: np.ndarray, frame: Any) -> None:
    """Add the reasons that checks on a frame gave; `places` (frame rows,) are its rows' places in the chunk."""
    for check, offenders in found:
        for offender in offenders:
            reason = check.reason or frame[check.arguments["column"]].iloc[offender]
            reasons.setdefault(int(places[offender]), []).append(reason)


def _tidy(why: list[str]) -> list[str]:
    """Return the reasons without `too short` for an empty text, which says nothing more, and without repetitions."""
    kept = [reason for reason in why if not (reason.startswith("too short") and "empty text" in why)]
    return list(dict.fromkeys(kept))


def _subset(data: TaskData) -> Subset:
    return tuple(sorted(data.where.items()))


def _same_columns_throughout(source: Source) -> bool:
    """Return whether the first rows show all columns that there will be."""
    if not isinstance(source, FilesSource):
        return True
    path = source.path
    return isinstance(path, str) and path.endswith((".csv", ".tsv", ".parquet")) and "*" not in path


def _blank_to_null(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(values), ""), None, values)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}\u2026"

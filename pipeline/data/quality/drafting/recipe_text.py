"""A draft in words, and as the YAML of a recipe with comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.data.quality.drafting.draft import Draft

SHOWN_LABELS = 40
LONG_NAME = 60
NUMBER = re.compile(r"[-+]?[0-9.]+")
PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/*.-]*")
WORDS = re.compile(r"(?i)true|false|yes|no|on|off|null|y|n")  # what some readers of YAML take for a value


def describe(draft: Draft) -> str:
    """Return a short summary of the data."""
    figures = draft.statistics
    characters, words = figures["characters"], figures["vocabulary"]
    lines = [
        f"{draft.rows:,} rows, {figures['distinct_texts']:,} distinct texts in column {draft.text!r}"
        + (", which has the longest values; another: --text COLUMN" if draft.guessed else ""),
        f"length in characters: median {characters['median']:,.0f}, 95 % up to {characters['p95']:,.0f}, longest "
        f"{characters['max']:,.0f}; {words['distinct_words']:,} distinct words",
    ]
    if draft.unreadable:
        lines.append(f"{draft.unreadable:,} of the rows cannot be read, such as: {'; '.join(draft.faults)}")
    if strange := [name for name in (draft.text, *draft.columns) if len(name) > LONG_NAME or NUMBER.fullmatch(name)]:
        lines.append(f"a column is called {strange[0][:LONG_NAME]!r}: is that its name, or a file without a header?")
    for name, (kind, distinct, blank) in draft.columns.items():
        blanks = f", {blank:,} blank" if blank else ""
        lines.append(f"column {name}: {kind}, {distinct:,} distinct values{blanks}")
    if draft.tags:
        lines.append(f"columns that tag each word: {', '.join(draft.tags)}")
    if draft.sets:
        named = (f"{name} (with {separator!r} between them)" for name, (separator, _) in draft.sets.items())
        lines.append(f"columns that could be sets of labels: {', '.join(named)}")
    found = ", ".join(draft.labels) or "none (few values, each in several rows, would make one)"
    return "\n".join([*lines, f"columns that could be labels: {found}"])


def to_yaml(name: str, draft: Draft) -> str:
    """Return a recipe with the source `name`: whole when a column could be a label, else without tasks."""
    lines = [
        f"# Drafted from {draft.rows:,} rows. The checks hold for these: widen them for what may come, narrow them for",
        "# what must not. Every key: docs/recipes.md",
        f"name: {name}",
        "data:",
        "  sources:",
        f"    {name}: {_flow(draft.source)}"
        + ("  # text: the column with the longest values" if draft.guessed else ""),
        "  checks:",
        *_block(draft.checks, 4),
    ]
    if not draft.labels and not draft.sets and not draft.tags:
        lines += [
            "# No column could be a label (few values, each in several rows). Add one, and a task on it:",
            "# tasks:",
        ]
        lines += [f"#   my-task: {{data: {{source: {name}, label: COLUMN}}}}"]
        return "\n".join(lines) + "\n"
    lines.append("tasks:  # each column that could be a label, the likeliest first: keep what a model should answer")
    taken: set[str] = set()
    sets = {column: labels for column, (_, labels) in draft.sets.items()}
    for column, values in (sets | draft.labels | draft.tags).items():
        lines += _task(name, draft, column, values, slug(column, taken))
    return "\n".join(lines) + "\n"


def _task(name: str, draft: Draft, column: str, values: list[str], task: str) -> Iterator[str]:
    """Yield the lines of a task that learns a column."""
    kind, _, blank = draft.columns[column]
    fate = "answered with no label at all" if column in draft.sets else "which would be quarantined"
    yield f"  {task}:" + (f"  # rows without a value, {fate}: {blank:,}" if blank else "")
    yield "    data:"
    yield f"      source: {name}"
    yield f"      label: {_scalar(column)}"
    if column in draft.sets:
        yield "      kind: multi_label"
        yield f"      separator: {_scalar(draft.sets[column][0])}"
    if column in draft.tags:
        yield "      kind: tagging"
    if column in draft.labels and kind == "integer":
        yield "      # numbers, taken as classes; to learn how much, remove labels and set kind: regression"
    yield f"      labels: {_flow(values)}" if len(values) <= SHOWN_LABELS else f"      # {len(values)} labels"


def slug(name: str, taken: set[str]) -> str:
    """Return a name that a recipe may use, not in `taken`, and add it there."""
    base = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")
    base = base if re.match(r"[a-z]", base) else f"data-{base}".strip("-")
    found, number = base, 2
    while found in taken:
        found, number = f"{base}-{number}", number + 1
    taken.add(found)
    return found


def _block(values: Mapping[str, Any], indent: int) -> Iterator[str]:
    """Yield the lines of a mapping; what lies two levels down stands in one line."""
    for key, value in values.items():
        if isinstance(value, dict) and any(isinstance(entry, dict) for entry in value.values()):
            yield f"{' ' * indent}{_scalar(key)}:"
            yield from _block(value, indent + 2)
        else:
            yield f"{' ' * indent}{_scalar(key)}: {_flow(value)}"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(entry) for entry in value) + "]"
    return _scalar(value) if isinstance(value, str) else json.dumps(value)


def _scalar(text: str) -> str:
    """Return the text as YAML reads it back as text."""
    plain = PLAIN.fullmatch(text) and not WORDS.fullmatch(text)
    return text if plain else json.dumps(text, ensure_ascii=False)

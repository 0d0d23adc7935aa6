"""Drawing data for the pages on the data: numbers in, places on an SVG out; the templates draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.quality.drift.shift import cumulative
from pipeline.judge.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Curve, Tick, curve, marks, short

ROW = 22  # height of a horizontal bar with its gap
NAME = 150  # width of the names beside horizontal bars
TRACK = 190
MOST = 0.99  # of the texts are shown in a curve of lengths


@dataclass(frozen=True)
class Bar:
    """A horizontal bar: its name, where it is, the widths of its values, and its text."""

    name: str
    at: int
    widths: list[float]
    text: str


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, largest first, and how many more there are."""

    bars: list[Bar]
    height: int
    left_out: int


@dataclass(frozen=True)
class Column:
    """A vertical bar of a histogram, and what it counts."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Histogram:
    """Vertical bars over ranges that grow by a factor, with both axes."""

    columns: list[Column]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def histogram(ranges: Sequence[Sequence[int]]) -> Histogram | None:
    """Return the picture of [first, last, rows], None without any."""
    if not ranges:
        return None
    most = marks(0, max(rows for *_, rows in ranges), 4)
    height, width = HEIGHT - TOP - BOTTOM, (WIDTH - LEFT - RIGHT) / len(ranges)
    columns = []
    for place, (first, last, rows) in enumerate(ranges):
        tall = round(height * rows / most[-1], 1)
        title = f"{first:,} to {last:,} characters: {rows:,} texts"
        columns.append(
            Column(round(LEFT + place * width, 1), round(HEIGHT - BOTTOM - tall, 1), round(width - 2, 1), tall, title)
        )
    step = max(1, len(ranges) // 5)
    return Histogram(
        columns,
        [Tick(round(LEFT + place * width, 1), short(ranges[place][0])) for place in range(0, len(ranges), step)],
        [Tick(round(HEIGHT - BOTTOM - height * mark / most[-1], 1), short(mark)) for mark in most],
    )


def bars(series: Sequence[Mapping[str, float]], limit: int, *, share: bool = False) -> Bars:
    """Return bars of names that several series give values to, by the largest value; `share`: values as percentages."""
    names = {name: max(values.get(name, 0) for values in series) for values in series for name in values}
    ranked = sorted(names, key=lambda name: (-names[name], name))
    top = max(names.values(), default=0) or 1
    drawn = []
    for place, name in enumerate(ranked[:limit]):
        values = [entries.get(name, 0) for entries in series]
        texts = [f"{value:.1%}" if share else f"{value:,.0f}" for value in values]
        widths = [round(TRACK * value / top, 1) for value in values]
        drawn.append(Bar(name if len(name) <= 24 else f"{name[:23]}\u2026", place * ROW, widths, " / ".join(texts)))
    return Bars(drawn, max(len(drawn), 1) * ROW, len(ranked) - len(drawn))


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Return each count as its share of all."""
    total = sum(counts.values()) or 1
    return {name: count / total for name, count in counts.items()}


def length_curves(series: Mapping[str, Sequence[Sequence[int]]]) -> Curve | None:
    """Return the share of texts up to each length, for histograms of [characters, rows] by name."""
    places = np.unique(np.concatenate([[value for value, _ in entries] for entries in series.values()]))
    # The longest texts are few and would take up most of the picture.
    places = places[np.min([cumulative(entries, places) for entries in series.values()], axis=0) < MOST]
    lines = {
        name: list(zip(places.tolist(), cumulative(entries, places).tolist(), strict=True))
        for name, entries in series.items()
    }
    return curve(lines, from_zero=True)

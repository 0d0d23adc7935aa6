"""Geometry of the report's charts: numbers in, plain drawing data out; the templates draw it as SVG and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 460, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 10, 26
POINTS = 240
SIDE, SIDE_LEFT = 300, 54


@dataclass(frozen=True)
class Line:
    """One series: an SVG `points` string, its name and its last value."""

    name: str
    points: str
    last: float


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where it is drawn, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """A line chart of WIDTH x HEIGHT units."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


def curve(series: dict[str, list[tuple[float, float]]], *, from_zero: bool = False) -> Curve | None:
    """Return the chart of name -> [(x, y)], None without a finite point; long series are averaged to POINTS points."""
    finite = {name: [point for point in points if all(map(math.isfinite, point))] for name, points in series.items()}
    kept = {name: thin(points) for name, points in finite.items() if points}
    if not kept:
        return None
    xs, ys = zip(*(point for points in kept.values() for point in points), strict=True)
    x_marks, y_marks = marks(min(xs), max(xs), 6), marks(0.0 if from_zero else min(ys), max(ys), 4)
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9)
    y_low, y_high = y_marks[0], y_marks[-1]

    def place_x(x: float) -> float:
        return round(float(LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)), 1)

    def place_y(y: float) -> float:
        return round(float(HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)), 1)

    return Curve(
        lines=[
            Line(name, " ".join(f"{place_x(x)},{place_y(y)}" for x, y in points), points[-1][1])
            for name, points in kept.items()
        ],
        x_ticks=[Tick(place_x(x), short(x)) for x in x_marks if x_low <= x <= x_high],
        y_ticks=[Tick(place_y(y), short(y)) for y in y_marks],
    )


@dataclass(frozen=True)
class Dot:
    """One point of a cloud: where it is drawn, its radius, and what it says when pointed at."""

    x: float
    y: float
    radius: float
    text: str


@dataclass(frozen=True)
class Cloud:
    """Points of two measures on one and the same scale, with the diagonal where both are equal."""

    dots: list[Dot]
    ticks: list[tuple[Tick, Tick]]
    size: int = SIDE
    left: int = SIDE_LEFT
    bottom: int = SIDE - BOTTOM
    right: int = SIDE - RIGHT
    top: int = TOP


def cloud(points: Sequence[tuple[float, float, float, str]], *, low: float, high: float) -> Cloud:
    """Return the chart of (x, y, radius, text); both axes run from `low` to `high`."""
    found = marks(low, high, 5)
    low, high = min(low, found[0]), max(high, found[-1])

    def place(value: float, start: float, end: float) -> float:
        return round(start + (value - low) / (high - low) * (end - start), 1)

    def x_of(value: float) -> float:
        return place(value, SIDE_LEFT, SIDE - RIGHT)

    def y_of(value: float) -> float:
        return place(value, SIDE - BOTTOM, TOP)

    dots = [Dot(x_of(x), y_of(y), radius, text) for x, y, radius, text in points]
    texts = [f"{mark:g}" if abs(mark) < 10_000 else short(mark) for mark in found]
    pairs = zip(found, texts, strict=True)
    return Cloud(dots, [(Tick(x_of(mark), text), Tick(y_of(mark), text)) for mark, text in pairs])


def thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most POINTS points, each the mean of neighbours; the last point is kept as it is."""
    if len(points) <= POINTS:
        return points
    chunks = np.array_split(np.array(points[:-1]), POINTS - 1)
    return [(float(x), float(y)) for x, y in (chunk.mean(axis=0) for chunk in chunks)] + [points[-1]]


def marks(low: float, high: float, count: int) -> list[float]:
    """Return about `count` round numbers that cover low..high, at least two."""
    span = max(high - low, abs(high) * 1e-3, 1e-9)
    rough = span / (count - 1)
    power = math.pow(10, math.floor(math.log10(rough)))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(index * step, 12) for index in range(first, last + 1)]


def short(value: float) -> str:
    """Return an axis label: 12500 as 12.5k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


@dataclass(frozen=True)
class Whisker:
    """A value and its interval as percentages of the track, and as text."""

    value: float
    interval: list[float] | None
    at: float
    low: float
    high: float
    best: bool


def whiskers(
    values: Sequence[float], intervals: Sequence[list[float] | None], *, smaller_is_better: bool = False
) -> list[Whisker]:
    """Return one whisker per model, all on the one scale that holds every interval."""
    ends = [end for value, interval in zip(values, intervals, strict=True) for end in (interval or [value, value])]
    bottom, top = min([*ends, *values]), max([*ends, *values])
    span = max(top - bottom, 0.02)
    best = min(values) if smaller_is_better else max(values)

    def place(value: float) -> float:
        return round(4 + 92 * (value - bottom) / span, 1)

    drawn = []
    for value, interval in zip(values, intervals, strict=True):
        low, high = interval or (value, value)
        drawn.append(Whisker(value, interval, place(value), place(low), place(high), best=value == best))
    return drawn


@dataclass(frozen=True)
class Heat:
    """A confusion matrix to look at: labels of rows and columns, and per cell the count and the share of its row."""

    labels: list[str]
    cells: list[list[tuple[int, float]]]
    left_out: int


def heat(labels: Sequence[str], matrix: Sequence[Sequence[int]], limit: int) -> Heat:
    """Return the matrix of the classes that occur; of more than `limit`, those with the most wrong answers."""
    counts = np.array(matrix)  # (true, predicted)
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()  # (labels,)
    occurs = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    chosen = np.sort(occurs[np.argsort(-wrong[occurs], kind="stable")[:limit]])
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = counts / totals
    return Heat(
        labels=[labels[index] for index in chosen],
        cells=[[(int(counts[row, column]), float(shares[row, column])) for column in chosen] for row in chosen],
        left_out=len(occurs) - len(chosen),
    )

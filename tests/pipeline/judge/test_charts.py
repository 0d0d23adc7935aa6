import math

import pytest

from pipeline.judge.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    POINTS,
    RIGHT,
    TOP,
    WIDTH,
    cloud,
    curve,
    heat,
    marks,
    short,
    thin,
    whiskers,
)


def test_a_curve_spans_the_drawing_area() -> None:
    drawn = curve({"loss": [(0, 6.0), (50, 3.0), (100, 0.0)]})
    assert drawn is not None
    points = [tuple(map(float, point.split(","))) for point in drawn.lines[0].points.split()]
    assert points[0] == (LEFT, TOP)
    assert points[-1] == (WIDTH - RIGHT, HEIGHT - BOTTOM)
    assert drawn.lines[0].last == 0.0


def test_a_curve_leaves_out_what_is_not_a_number() -> None:
    drawn = curve({"loss": [(1, 2.0), (2, math.nan), (3, math.inf), (4, 1.0)], "broken": [(1, math.nan)]})
    assert drawn is not None
    assert [line.name for line in drawn.lines] == ["loss"]
    assert len(drawn.lines[0].points.split()) == 2
    assert curve({"loss": []}) is None


def test_a_single_point_and_a_flat_line_can_be_drawn() -> None:
    for points in ([(5.0, 2.0)], [(1.0, 2.0), (2.0, 2.0)], [(1.0, 0.0), (2.0, 0.0)]):
        drawn = curve({"loss": points})
        assert drawn is not None
        assert "nan" not in drawn.lines[0].points
        assert len(drawn.y_ticks) >= 2


def test_a_long_curve_is_averaged_and_keeps_its_end() -> None:
    kept = thin([(float(step), float(step % 2)) for step in range(10_000)] + [(10_000.0, 7.0)])
    assert len(kept) == POINTS
    assert kept[-1] == (10_000.0, 7.0)
    assert kept[10][1] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.1, 7.9), (-3.0, 0.2), (1e-7, 2e-7), (0.0, 54_000.0)])
def test_marks_are_round_and_cover_the_range(low: float, high: float) -> None:
    found = marks(low, high, 5)
    assert found[0] <= low + 1e-12
    assert found[-1] >= high - 1e-12
    assert 2 <= len(found) <= 9
    assert found == sorted(found)


def test_short_numbers() -> None:
    assert [short(value) for value in (0, 0.25, 950, 12_500, 2e6)] == ["0", "0.25", "950", "12.5k", "2M"]


def test_whiskers_share_one_scale() -> None:
    low, high = whiskers([0.5, 0.7], [[0.4, 0.6], [0.6, 0.8]])
    assert (low.low, high.high) == (4, 96)
    assert low.high == high.low == pytest.approx(50)
    assert (low.best, high.best) == (False, True)


def test_the_best_whisker_of_an_error_is_the_smallest() -> None:
    low, high = whiskers([0.5, 0.7], [None, None], smaller_is_better=True)
    assert (low.best, high.best) == (True, False)


def test_both_axes_of_a_cloud_have_one_scale_and_hold_every_point() -> None:
    drawn = cloud([(998.2, 1003.1, 2.0, "a row"), (1000.0, 1000.0, 2.0, "right")], low=998.2, high=1003.1)
    assert drawn.dots[1].x - drawn.left == pytest.approx(
        (drawn.bottom - drawn.dots[1].y) * (drawn.right - drawn.left) / (drawn.bottom - drawn.top), abs=0.2
    ), "equal values lie on the diagonal"
    for dot in drawn.dots:
        assert drawn.left <= dot.x <= drawn.right
        assert drawn.top <= dot.y <= drawn.bottom
    assert [across.text for across, _ in drawn.ticks] == [up.text for _, up in drawn.ticks]


def test_heat_keeps_the_classes_with_the_most_errors() -> None:
    matrix = [[9, 0, 0, 0], [0, 5, 4, 0], [0, 1, 5, 0], [0, 0, 0, 0]]
    every = heat(["a", "b", "c", "never"], matrix, limit=30)
    assert every.labels == ["a", "b", "c"]
    assert every.cells[1] == [(0, 0.0), (5, pytest.approx(5 / 9)), (4, pytest.approx(4 / 9))]
    some = heat(["a", "b", "c", "never"], matrix, limit=2)
    assert (some.labels, some.left_out) == (["b", "c"], 1)

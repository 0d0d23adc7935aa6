import numpy as np

from pipeline.training.position import Position
from pipeline.training.prefetch import Unskipped, prefetched


def data_steps(position: Position, count: int) -> list[int]:
    return [position.data_step(step) for step in range(count)]


def test_without_spikes_an_update_takes_the_data_of_its_number() -> None:
    assert data_steps(Position(), 5) == [0, 1, 2, 3, 4]


def test_skipped_data_are_left_out_and_all_others_keep_their_order() -> None:
    position = Position(skipped=((2, 4), (5, 8)))
    assert data_steps(position, 6) == [0, 1, 4, 8, 9, 10]
    random = np.random.default_rng(0)
    for _ in range(50):
        edges = np.unique(random.integers(0, 60, 8))
        ranges = [(int(a), int(b)) for a, b in edges[: len(edges) // 2 * 2].reshape(-1, 2)]
        left = [step for step in range(200) if not any(first <= step < end for first, end in ranges)]
        assert data_steps(Position(skipped=tuple(ranges)), 100) == left[:100]


def test_a_second_spike_in_the_same_place_skips_the_data_after_the_first() -> None:
    start = Position(40)
    once = Position(50).rolled_back_to(start)
    assert (once.step, once.skipped, once.rollbacks, once.trouble) == (40, ((40, 50),), 1, 50)
    again = Position(50, skipped=once.skipped, rollbacks=1, trouble=50).rolled_back_to(start)
    assert (again.skipped, again.rollbacks) == (((40, 60),), 2)


def test_a_spike_that_goes_back_beyond_an_earlier_one_takes_it_in() -> None:
    position = Position(70, skipped=((10, 20), (50, 60)))
    assert position.rolled_back_to(Position(30)).skipped == ((10, 20), (40, 90))


def test_a_late_step_is_reached_without_the_steps_before_it() -> None:
    asked = []

    class Recorded:
        def batch(self, step: int) -> int:
            asked.append(step)
            return step

    position = Position(step=10_000_000, skipped=((5, 8), (9_000_000, 9_000_010)))
    with prefetched(Unskipped(Recorded(), position), position.step, position.step + 3) as stream:
        assert [batch for _, batch in stream] == [10_000_013, 10_000_014, 10_000_015]
    assert asked == [10_000_013, 10_000_014, 10_000_015]

from pipeline.training.watch.slowness import SlowUpdates


def judge(paces: list[float]) -> list[str | None]:
    slow = SlowUpdates()
    return [slow.judge(10 * number, 10, pace) for number, pace in enumerate(paces, 1)]


def test_a_slow_window_is_said_once_with_its_figures() -> None:
    said = judge([0.2] * 8 + [0.7, 0.8, 0.2])
    assert said[8] == (
        "updates 81 to 90 took 0.7 s each, 3.5 times the usual 0.2 s; look for what else runs on this machine"
    )
    assert [sentence for sentence in said if sentence] == [said[8]]


def test_what_becomes_slow_again_soon_is_not_said_again_and_later_it_is() -> None:
    said = judge([0.2] * 8 + [0.7, 0.2, 0.7] + [0.2] * 20 + [0.7])
    assert [index for index, sentence in enumerate(said) if sentence] == [8, 31]


def test_nothing_is_slow_before_the_usual_is_known_or_when_it_is_not_three_times_as_slow() -> None:
    assert judge([0.1, 0.1, 5.0, 0.1, 0.1]) == [None] * 5
    assert judge([0.2] * 8 + [0.59]) == [None] * 9

import os
import signal
import threading

from pipeline.training.watch.interruption import stop_on_sigterm


def test_sigterm_is_heard_inside_and_given_back_outside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    rescued = threading.Event()
    with stop_on_sigterm(rescued.set) as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
        assert rescued.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    assert fd == -1


def test_without_a_signal_nothing_is_rescued_and_no_thread_stays() -> None:
    threads = threading.active_count()
    rescued = threading.Event()
    with stop_on_sigterm(rescued.set) as stop:
        assert threading.active_count() == threads + 1
    assert not stop.is_set()
    assert not rescued.is_set()
    assert threading.active_count() == threads


def test_training_outside_the_main_thread_does_without_the_signal() -> None:
    seen = []

    def work() -> None:
        with stop_on_sigterm() as stop:
            seen.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]

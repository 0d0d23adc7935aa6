import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pipeline.cluster.channel import Chief, Follower, free_port
from pipeline.cluster.place import Place
from pipeline.errors import BackendError, Interrupted

FACTS = {"recipe": "one", "code": "two"}


@pytest.fixture
def places():
    coordinator = f"127.0.0.1:{free_port()}"
    return [Place(index, 3, coordinator) for index in range(3)]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def listening(place: Place, patience: float = 20.0) -> tuple[Chief, list[str]]:
    said: list[str] = []
    return Chief(place, patience, said.append), said


def test_all_meet_and_hear_the_same(places, pool) -> None:
    chief, _ = listening(places[0])
    followers = [pool.submit(Follower, place, 20.0, FACTS) for place in places[1:]]
    chief.assemble(FACTS)
    chief.send({"step": "pretrain"})
    assert [follower.result().receive() for follower in followers] == [{"step": "pretrain"}] * 2
    assert chief.lost() == []
    chief.close()
    assert [follower.result().receive() for follower in followers] == [None] * 2


def test_followers_may_come_first(places, pool) -> None:
    follower: Future[Follower] = pool.submit(Follower, places[1], 20.0, FACTS)
    with pytest.raises(TimeoutError):
        follower.result(timeout=0.5)
    chief, _ = listening(places[0])
    pool.submit(Follower, places[2], 20.0, FACTS)
    chief.assemble(FACTS)
    assert follower.result()
    chief.close()


def test_one_that_does_not_come_is_named(places, pool) -> None:
    chief, _ = listening(places[0], patience=1.0)
    came = pool.submit(Follower, places[1], 20.0, FACTS)
    with pytest.raises(BackendError, match=r"process 2 of 3 did not come to 127\.0\.0\.1:\d+ within 1 s"):
        chief.assemble(FACTS)
    with pytest.raises(BackendError, match="another process did not come"):
        came.result().receive()
    chief.close()


def test_one_with_another_recipe_is_named_on_both_sides(places, pool) -> None:
    chief, _ = listening(places[0])
    other = pool.submit(Follower, places[2], 20.0, FACTS | {"recipe": "another"})
    with pytest.raises(BackendError, match=r"process 2 on .* has another recipe than process 0; start all"):
        chief.assemble(FACTS)
    with pytest.raises(BackendError, match=r"process 2 on .* has another recipe"):
        other.result().receive()
    chief.close()


def test_a_number_that_comes_twice_is_refused(places, pool) -> None:
    chief, _ = listening(places[0])
    for _ in range(2):
        pool.submit(Follower, places[1], 20.0, FACTS)
    with pytest.raises(BackendError, match="process 1 has come twice"):
        chief.assemble(FACTS)
    chief.close()


def test_strangers_at_the_port_are_left_alone(places, pool) -> None:
    import socket

    chief, _ = listening(places[0])
    with socket.create_connection(places[0].address) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    followers = [pool.submit(Follower, place, 20.0, FACTS) for place in places[1:]]
    chief.assemble(FACTS)
    assert all(follower.result() for follower in followers)
    chief.close()


def test_a_port_in_use_is_told(places) -> None:
    chief, _ = listening(places[0])
    with pytest.raises(BackendError, match=r"process 0 cannot listen on port \d+ .*another job has it"):
        listening(places[0])
    chief.close()


def test_a_process_0_that_does_not_answer_is_told(places) -> None:
    with pytest.raises(BackendError, match=r"process 0 did not answer at 127\.0\.0\.1:\d+ within 1 s"):
        Follower(places[1], 1.0, FACTS)


def test_who_is_gone_is_known_on_both_sides(places, pool) -> None:
    chief, _ = listening(places[0])
    followers = [pool.submit(Follower, place, 20.0, FACTS) for place in places[1:]]
    chief.assemble(FACTS)
    one, two = (follower.result() for follower in followers)
    one._chief.close()
    gone = threading.Event()
    while not chief.lost():
        gone.wait(0.01)
    assert [text.split(" on ")[0] for text in chief.lost()] == ["process 1"]
    assert two.lost() == []
    for peer in chief._peers.values():
        peer.close()
    chief._listener.close()
    with pytest.raises(Interrupted, match="process 0 was lost"):
        two.receive()
    assert two.lost() == ["process 0"]

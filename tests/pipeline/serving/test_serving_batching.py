"""Batches form while the model is busy, answers find their requests, clients take turns, and nobody waits for ever."""

import asyncio
import threading
from dataclasses import replace

import pytest
from serving_parts import SMALL, host

from pipeline.serving import batching
from pipeline.serving.batching import Batcher, Busy
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics
from pipeline.serving.schema import Question


class Model:
    """Answers each text with itself, in upper case; waits for `go` first, and notes what it was asked at once."""

    def __init__(self, hurry: bool = False) -> None:
        self.go = threading.Event()
        self.asked: list[list[str]] = []
        if hurry:
            self.go.set()

    def __call__(self, _bundle, texts, pairs, top):
        self.asked.append(list(texts))
        assert self.go.wait(10)
        if "poison" in texts:
            raise ValueError("poison")
        return [
            {"label": text.upper(), "pair": pair, "top": list(range(top))}
            for text, pair in zip(texts, pairs or [None] * len(texts), strict=True)
        ]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    model = Model()
    monkeypatch.setattr("pipeline.serving.hosted.answers_of", model)
    return model


def question(*texts: str, top: int = 1, pairs: list[str | None] | None = None) -> Question:
    return Question(texts=list(texts), top=top, pairs=pairs)


def run(scenario, limits: Limits = SMALL):
    """Run `scenario(batcher)` beside a batcher."""

    async def both():
        batcher = Batcher(host(None), limits, Metrics())
        task = asyncio.create_task(batcher.run())
        try:
            return await scenario(batcher)
        finally:
            task.cancel()

    return asyncio.run(both())


async def ask_all(batcher: Batcher, *asked: tuple[str, Question]) -> list[asyncio.Task]:
    """Let clients ask, one after the other; the first batch is on its way when this returns."""
    tasks = []
    for client, each in asked:
        tasks.append(asyncio.create_task(batcher.ask(client, each)))
        await asyncio.sleep(0.02)
    return tasks


def test_what_came_in_while_the_model_was_busy_is_one_batch_and_every_answer_finds_its_request(model: Model) -> None:
    async def scenario(batcher: Batcher):
        tasks = await ask_all(
            batcher,
            ("a", question("first")),
            ("b", question("x", "y", top=3)),
            ("c", question("z", pairs=["beside"])),
            ("d", question("w")),
        )
        assert batcher.waiting == 4
        model.go.set()
        return await asyncio.gather(*tasks)

    said = [answers for _, answers in run(scenario)]
    assert model.asked == [["first"], ["x", "y", "z", "w"]]
    assert [[each["label"] for each in answers] for answers in said] == [["FIRST"], ["X", "Y"], ["Z"], ["W"]]
    assert [each["pair"] for answers in said for each in answers] == [None, None, None, "beside", None]
    assert [len(answers[0]["top"]) for answers in said] == [1, 3, 1, 1]


def test_clients_take_turns_and_a_batch_has_no_more_texts_than_allowed(model: Model) -> None:
    async def scenario(batcher: Batcher):
        greedy = [("greedy", question(f"g{number}", f"h{number}", f"i{number}")) for number in range(4)]
        tasks = await ask_all(batcher, ("a", question("first")), *greedy, ("modest", question("m")))
        model.go.set()
        await asyncio.gather(*tasks)

    run(scenario)
    assert model.asked[1] == ["g0", "h0", "i0", "m", "g1", "h1", "i1"]
    assert all(len(batch) <= SMALL.max_batch for batch in model.asked)


def test_a_full_queue_refuses_and_takes_in_again_once_it_is_empty(model: Model) -> None:
    async def scenario(batcher: Batcher):
        tasks = await ask_all(batcher, *[("a", question(*"abcd")) for _ in range(5)])
        with pytest.raises(Busy, match="16 texts wait already, and at most 16 may"):
            await batcher.ask("b", question("one more"))
        model.go.set()
        await asyncio.gather(*tasks)
        assert batcher.waiting == 0
        return await batcher.ask("b", question("now"))

    assert run(scenario)[1][0]["label"] == "NOW"


def test_who_leaves_is_not_asked_for_and_makes_room(model: Model) -> None:
    async def scenario(batcher: Batcher):
        tasks = await ask_all(
            batcher, ("a", question("first")), ("b", question("gone", "too")), ("b", question("here"))
        )
        tasks[1].cancel()
        await asyncio.sleep(0.02)
        assert batcher.waiting == 1
        model.go.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(scenario)
    assert model.asked == [["first"], ["here"]]


def test_a_model_that_hangs_is_not_waited_for(model: Model) -> None:
    async def scenario(batcher: Batcher):
        results = await asyncio.gather(
            *[batcher.ask("a", question(text)) for text in ("at work", "waiting")], return_exceptions=True
        )
        assert batcher.waiting == 0
        model.go.set()
        return results

    results = run(scenario, replace(SMALL, max_wait=0.1))
    assert [str(each) for each in results] == ["the model has not answered within 0.1 s"] * 2


def test_one_bad_request_fails_alone(model: Model) -> None:
    async def scenario(batcher: Batcher):
        asked = [("a", question("first")), ("b", question("good")), ("c", question("poison")), ("d", question("fine"))]
        tasks = await ask_all(batcher, *asked)
        model.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, good, poison, fine = run(scenario)
    assert [said[1][0]["label"] for said in (first, good, fine)] == ["FIRST", "GOOD", "FINE"]
    assert isinstance(poison, ValueError)


def test_a_swap_counts_from_the_next_batch_on(model: Model) -> None:
    async def scenario(batcher: Batcher):
        tasks = await ask_all(batcher, ("a", question("first")), ("a", question("second")))
        batcher.hosted = host(None, "2")
        model.go.set()
        return [hosted.version.version for hosted, _ in await asyncio.gather(*tasks)]

    assert run(scenario) == ["1", "2"]


def test_an_idle_model_is_asked_at_once(model: Model) -> None:
    model.go.set()
    for number in range(3):
        run(lambda batcher, text=f"text {number}": batcher.ask("a", question(text)))
    assert model.asked == [["text 0"], ["text 1"], ["text 2"]]
    assert batching.answer_together(host(None), [question("one"), question("two")])[1][0]["label"] == "TWO"

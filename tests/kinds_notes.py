"""Notes whose topics, amount and tags all follow from their words, for tasks of every kind."""

import random
from collections.abc import Iterator
from typing import Any

WEATHER, TRADE, OTHER = ("rain", "wind", "snow"), ("silk", "salt", "copper"), ("today", "again", "here")


def kinds_notes(rows: int) -> Iterator[dict[str, Any]]:
    """Yield `words`; `topics`, those of the words; `amount`, which counts the goods; `tags`, one for each word."""
    chance = random.Random(3)
    for number in range(rows):
        words = [chance.choice(chance.choice((WEATHER, TRADE, OTHER))) for _ in range(chance.randint(2, 6))]
        tags = ["B-weather" if word in WEATHER else "B-goods" if word in TRADE else "O" for word in words]
        yield {
            "words": [*words, f"number{number}"],
            "topics": sorted({tag[2:] for tag in tags} - {""}),
            "amount": 100 + 10 * tags.count("B-goods"),
            "tags": [*tags, "O"],
        }

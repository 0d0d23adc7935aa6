"""Notes about things, and questions that their words answer or do not."""

import json
import random
from collections.abc import Iterator

TRAITS = {
    "colour": ("dark red", "pale blue", "green"),
    "size": ("very big", "small", "tiny"),
    "shape": ("round", "flat and square", "long"),
}
IDLE = ("here", "there", "old", "trees", "near", "walls", "lost", "somebody", "once", "walked", "by", "slowly")


def asked_notes(rows: int, more: int = 0) -> Iterator[dict[str, str]]:
    """Yield `context`, `question` and `answers`, as a row of SQuAD 2 from Hugging Face in JSON; a sixth has none.

    So many `more` words, which tell nothing, follow.
    """
    chance = random.Random(4)
    for number in range(rows):
        traits = chance.sample(sorted(TRAITS), 2 + number % 2)
        said = {trait: chance.choice(TRAITS[trait]) for trait in traits}
        context = f"Thing {number}. " + " ".join(f"Its {trait} is {value}." for trait, value in said.items())
        context += "".join(f" {chance.choice(IDLE)}" for _ in range(more))
        asked = chance.choice(sorted(TRAITS))
        found = [said[asked]] if asked in said else []
        answers = {"text": found, "answer_start": [context.index(value) for value in found]}
        yield {"context": context, "question": f"what {asked} has it", "answers": json.dumps(answers)}

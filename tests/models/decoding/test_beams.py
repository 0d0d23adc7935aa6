from itertools import product

import numpy as np
import pytest
from token_by_token import ENDS, MAKERS, PAD, START, beam_search, check, make_decided, make_prompts, next_log_p

from models.decoding import Decoding, generate

LIMIT = 12


@pytest.mark.parametrize("kind", MAKERS)
def test_texts_are_those_of_a_search_that_keeps_everything(kind) -> None:
    model, end, prompts = make_decided(kind), ENDS[kind], make_prompts([5, 1, 9, 3])
    decoding = Decoding(6, num_beams=3)
    expected = [beam_search(model, prompt, end, LIMIT, decoding) for prompt in prompts]
    generated = generate(model, prompts, decoding, start=START, end=end, pad=PAD, vocabulary_size=LIMIT)
    check(generated, expected)


@pytest.mark.parametrize("length_penalty", [-1.0, 2.0])
def test_enough_beams_find_the_best_text_of_all(length_penalty) -> None:
    model, end, limit = make_decided("causal"), 5, 6
    prompts = make_prompts([4, 2, 7, 1, 5, 3])

    def best(prompt):
        found = []
        letters = [token for token in range(2, limit) if token != end]
        for length in range(3):
            for text in product(letters, repeat=length):
                written = [*text, end]
                sums = sum(next_log_p(model, prompt, written[:n], limit)[written[n]] for n in range(length + 1))
                found.append((sums / (length + 1) ** length_penalty, sums, list(text)))
        _, sums, text = max(found)
        return text, sums, True

    expected = [best(prompt) for prompt in prompts]
    decoding = Decoding(3, num_beams=9, length_penalty=length_penalty)
    check(generate(model, prompts, decoding, start=START, end=end, pad=PAD, vocabulary_size=limit), expected)
    assert len({len(text) for text, _, _ in expected}) > 1


def test_the_likeliest_text_is_cut_off_where_none_ends() -> None:
    model, prompts = make_decided("causal"), make_prompts([4, 2])
    # An end of probability 0: so far behind the others that no beam takes it.
    table = model.backbone.embedding.embeddings
    values = np.array(table.value)
    values[2] = -40 * values[3:].sum(axis=0)
    table.assign(values)
    decoding = Decoding(4, num_beams=2)
    expected = [beam_search(model, prompt, 2, LIMIT, decoding) for prompt in prompts]
    generated = generate(model, prompts, decoding, start=START, end=2, pad=PAD, vocabulary_size=LIMIT)
    check(generated, expected)

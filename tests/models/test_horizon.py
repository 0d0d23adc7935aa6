import pytest

from models.horizon import derive_horizon


def test_a_large_corpus_is_read_for_twenty_tokens_a_parameter() -> None:
    horizon = derive_horizon("encoder", 1_000_000, rows=10**6, sequence_length=128)
    assert 20_000_000 <= horizon.tokens < 20_000_000 + 128 * horizon.global_batch_size
    assert horizon.global_batch_size * 128 == 8192  # 0.58 x 20 million^0.571 = 8,556 tokens, to a power of two
    assert horizon.reasons == (
        "horizon 20,000,000 tokens = the smaller of 20 x 1,000,000 parameters and 10 passes over 128,000,000 of the "
        "corpus",
        "global_batch_size 64 rows = 8,192 tokens, near 0.58 x 20,000,000^0.571",
    )


@pytest.mark.parametrize(("architecture", "passes"), [("encoder", 10), ("encoder_decoder", 10), ("decoder", 4)])
def test_a_small_corpus_is_read_only_so_often(architecture, passes) -> None:
    horizon = derive_horizon(architecture, 10**9, rows=1000, sequence_length=64)
    wanted = passes * 1000 * 64
    assert wanted <= horizon.tokens < wanted + horizon.global_batch_size * 64


def test_batches_grow_with_the_horizon_and_never_vanish() -> None:
    batches = [derive_horizon("decoder", 10**12, 10**power, 256).global_batch_size for power in range(1, 9)]
    assert batches == sorted(batches)
    assert batches[0] == 1
    assert len(set(batches)) > 4


def test_what_is_given_stays_and_the_rest_follows_from_it() -> None:
    corpus = {"architecture": "encoder", "parameters": 10**9, "rows": 1000, "sequence_length": 64}
    given = derive_horizon(**corpus, steps=7, global_batch_size=5)
    assert (given.steps, given.global_batch_size, given.reasons) == (7, 5, ())
    epochs = derive_horizon(**corpus, epochs=3, global_batch_size=8)
    assert (epochs.steps, epochs.reasons) == (375, ())
    assert derive_horizon(**corpus, epochs=3).global_batch_size < derive_horizon(**corpus).global_batch_size
    assert derive_horizon(**corpus, steps=7).global_batch_size == derive_horizon(**corpus).global_batch_size


@pytest.mark.parametrize(("micro_batch_size", "rows"), [(None, 64), (24, 72), (64, 64), (100, 64)])
def test_a_batch_of_several_micro_batches_is_made_of_whole_ones(micro_batch_size, rows) -> None:
    horizon = derive_horizon("encoder", 10**6, 10**6, 128, micro_batch_size=micro_batch_size)
    assert horizon.global_batch_size == rows

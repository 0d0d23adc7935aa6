"""What is shown is what the model gets: every token, every mask, every label."""

import numpy as np
import pytest
from tiny_steps import KINDS, make_tokens

from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.peek import peek_corpus, peek_rows, peek_task
from pipeline.training.batches import BatchShape, MaskedBatches, shuffled_rows


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return make_tokens(tmp_path_factory.mktemp("notes"))


def test_pretraining_rows_show_the_first_batch(tokens) -> None:
    tokenizer, sharded = load_tokenizer(tokens / "tokenizer.json"), ShardedRows(tokens / "corpus" / "train")
    batch = MaskedBatches(sharded, BatchShape(3, 3), Vocabulary.of(tokenizer), seed=5, mask_fraction=0.2).batch(0)
    rows = peek_corpus(tokens, 0.2, seed=5, rows=3)
    shown = [token for row in rows for document in row.documents for token in document.tokens]
    assert len(shown) == np.count_nonzero(batch["segment_ids"])
    assert sum(token.target is not None for token in shown) == batch["weights"].sum() > 0
    assert sum(row.padding for row in rows) == np.count_nonzero(batch["segment_ids"] == 0)
    hidden = [token for token in shown if token.piece == "[MASK]"]
    assert len(hidden) == np.count_nonzero(batch["token_ids"] == Vocabulary.of(tokenizer).mask)
    assert all(token.target not in (None, "[MASK]") for token in hidden)
    goods = {word for words in KINDS.values() for word in words}
    for row in rows:
        for document in row.documents:
            assert set(document.text.split()) & goods
            assert "[" not in document.text
            pieces = [token.target or token.piece for token in document.tokens]
            assert pieces[0] == "[CLS]"
            assert "".join(pieces[1:]).replace("▁", " ").strip() == document.text


def test_rows_of_other_architectures_are_shown_whole(tokens) -> None:
    masked, whole = peek_corpus(tokens, 0.2, seed=5, rows=3), peek_rows(tokens, seed=5, rows=3)
    assert [row.padding for row in whole] == [row.padding for row in masked]
    for ours, theirs in zip(whole, masked, strict=True):
        assert [document.text for document in ours.documents] == [document.text for document in theirs.documents]
        pieces = [token.target or token.piece for document in theirs.documents for token in document.tokens]
        assert [token.piece for document in ours.documents for token in document.tokens] == pieces
        assert all(token.target is None for document in ours.documents for token in document.tokens)


def test_the_rows_of_a_task_show_its_labels(tokens) -> None:
    rows = peek_task(tokens, "kind", seed=5, rows=4)
    sharded = ShardedRows(tokens / "tasks" / "kind" / "train")
    packed = sharded.take(shuffled_rows(0, 4, len(sharded), 5))
    assert [len(row.documents) for row in rows] == (packed.documents >= 0).sum(axis=1).tolist()
    for row in rows:
        for document in row.documents:
            assert document.label is not None
            assert set(document.text.split()) & set(KINDS[document.label])

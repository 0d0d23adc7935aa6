"""Character n-grams of a text, read from its tokens: what a linear model knows of a word that it has never seen.

A tokenizer gives a frequent word a piece of its own, so the Transformer learns nothing from its letters, and an unseen
word falls into pieces that rarely stood together. Here every token is spelt again, and the hashed n-grams of each
word's letters are embedded and summed (Bojanowski 2017, arXiv 1607.04606), beside tokens and pairs of tokens. All of it
happens inside the model, from `token_ids` and a table of spellings that is one of its weights: whoever feeds it need
not know.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from models.packed import Tensor

SPACE = 1  # the code of white space in a spelling; 0 stands behind its end
CODES = 2048  # every code is below
ORDERS = (2, 3, 4, 5)
# Adam moves every weight alike; what is scaled up learns so much faster than the Transformer, as a shallow model may.
SCALE = 6.0
MOST_BUCKETS = 2**18  # hashes stay within int32

Found = list[tuple[Tensor, Tensor]]  # hashes and the segment each belongs to, 0 for none: (batch, places) int32 each


@keras.saving.register_keras_serializable(package="tradewind")
class NgramBag(keras.layers.Layer):
    """The embedded n-grams of every segment, summed as tf-idf sums them: weighted by rarity, scaled to length one.

    Letters and tokens are scaled apart, so that the many n-grams of a word do not drown the word.

    Args:
        vocabulary_size: int. Rows of the table of spellings.
        longest: int. Columns of it: characters of a token that are read.
        dim: int. Width of the embeddings.
        buckets: int. What n-grams are hashed to; a prime, at most 2^18.
        characters_per_token: int. A row is spelt up to so many characters for each of its tokens.
    """

    def __init__(
        self,
        vocabulary_size: int,
        longest: int,
        dim: int,
        buckets: int = 65_521,
        characters_per_token: int = 12,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32"} | kwargs)
        if buckets > MOST_BUCKETS:
            raise ValueError(f"buckets is {buckets}; it must be at most {MOST_BUCKETS}")
        self.vocabulary_size = vocabulary_size
        self.longest = longest
        self.dim = dim
        self.buckets = buckets
        self.characters_per_token = characters_per_token

    def build(self, *_: Any) -> None:
        """Create the embeddings, and what is told and not trained: `spellings` and `rarity`."""
        # From zero, so that an n-gram that was never trained adds nothing.
        self.embedding = self.add_weight(shape=(self.buckets, self.dim), initializer="zeros", name="ngram_embedding")
        shape = (self.vocabulary_size, self.longest)
        self.spellings = self.add_weight(
            shape=shape, dtype="int32", initializer="zeros", trainable=False, name="spellings"
        )
        self.rarity = self.add_weight(shape=(self.buckets,), initializer="ones", trainable=False, name="rarity")
        self.built = True

    def call(self, token_ids: Tensor, segment_ids: Tensor, numbers: Tensor) -> Tensor:
        """Return (batch, segments, dim) from packed rows, (batch, seq) int32 each, for the segments of `numbers`."""
        total = 0.0
        for group in self.find(token_ids, segment_ids):
            hashed = ops.concatenate([hashes for hashes, _ in group], axis=1)  # (batch, places)
            owners = ops.concatenate([segments for _, segments in group], axis=1)
            own = ops.cast(ops.equal(owners[:, None, :], numbers[None, :, None]), self.compute_dtype)
            own = own * ops.take(self.rarity, hashed, axis=0)[:, None, :]  # (batch, segments, places)
            length = ops.sqrt(ops.maximum(ops.sum(ops.square(own), axis=-1, keepdims=True), 1e-6))
            total = total + ops.matmul(own, ops.take(self.embedding, hashed, axis=0)) / length
        return SCALE * total

    def find(self, token_ids: Tensor, segment_ids: Tensor) -> tuple[Found, Found]:
        """Return the hashed n-grams of letters, and the hashed tokens and pairs of tokens."""
        return self._letters(*self._spell(token_ids, segment_ids)), self._tokens(token_ids, segment_ids)

    def _spell(self, token_ids: Tensor, segment_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the characters of each row without gaps, and the segment of each: (batch, characters) int32."""
        seq = ops.shape(token_ids)[1]
        spelt = ops.take(self.spellings, token_ids, axis=0)  # (batch, seq, longest)
        lengths = ops.sum(ops.cast(spelt > 0, "int32"), axis=-1) * ops.cast(segment_ids > 0, "int32")
        ends = ops.cumsum(lengths, axis=1)  # (batch, seq)
        places = ops.arange(seq * self.characters_per_token, dtype="int32")[None, :]  # (1, characters)
        token = ops.sum(ops.cast(ends[:, None, :] <= places[:, :, None], "int32"), axis=-1)  # (batch, characters)
        inside = token < seq
        token = ops.minimum(token, seq - 1)
        offset = ops.clip(places - ops.take_along_axis(ends - lengths, token, axis=1), 0, self.longest - 1)
        flat = ops.reshape(spelt, (-1, seq * self.longest))
        codes = ops.take_along_axis(flat, token * self.longest + offset, axis=1)
        owners = ops.take_along_axis(segment_ids, token, axis=1)
        return ops.where(inside, codes, 0), ops.where(inside, owners, 0)

    def _letters(self, codes: Tensor, owners: Tensor) -> Found:
        """Return the n-grams that start at each character; of white space they hold none but the word's two ends."""
        found = []
        hashed = following = codes
        valid = owners > 0
        for order in range(2, ORDERS[-1] + 1):
            if order > 2:  # what was last is inside now
                valid = ops.logical_and(valid, following != SPACE)
            same = ops.equal(_later(owners, order - 1), owners)
            following = ops.where(same, _later(codes, order - 1), SPACE)  # a text's end is a word's end
            hashed = (hashed * 8191 + following * 131 + order) % self.buckets
            if order in ORDERS:
                found.append((hashed, ops.where(valid, owners, 0)))
        return found

    def _tokens(self, token_ids: Tensor, segment_ids: Tensor) -> Found:
        single = (token_ids % 32_749 * 31 + token_ids // 32_749 * 17 + 13) % self.buckets
        pair = (single * 8179 + _later(single, 1) * 127 + 7) % self.buckets
        together = ops.equal(_later(segment_ids, 1), segment_ids)
        return [(single, segment_ids), (pair, ops.where(together, segment_ids, 0))]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "longest": self.longest,
            "dim": self.dim,
            "buckets": self.buckets,
            "characters_per_token": self.characters_per_token,
        }


def _later(values: Tensor, places: int) -> Tensor:
    """Return what stands `places` further on in each row; 0 behind its end."""
    return ops.pad(values[:, places:], [[0, 0], [0, places]])

"""Texts that the tests of this folder draw."""

import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st

quick = settings(max_examples=50, deadline=None)

# Assigned characters only: Arrow and Python know different versions of Unicode. Final sigma depends on its neighbours.
characters = st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="Σ")
telling = st.sampled_from(" \t\n\u00a0\u3000\u0085éÀ\uff21漢ガไทย")
any_texts = st.lists(st.none() | st.text(characters | telling, max_size=12))

# Few words, so that n-grams meet again.
sentences = st.lists(st.sampled_from(["a", "b", "cc", "Dd", "é", "漢字"]), max_size=14).map(" ".join)


def strings(values: list[str | None] | list[str]) -> pa.Array:
    """Return the values as an Arrow array."""
    return pa.array(values, pa.string())

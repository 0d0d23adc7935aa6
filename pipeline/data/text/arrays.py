"""Small operations on Arrow arrays of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PIECE = 4 * 2**20
# What Python's str.split splits at; `\s` of Arrow's regular expressions knows the ASCII ones only.
BLANK = r"[\t-\r\x1c-\x1f\x85\p{Z}]"


def pieces(texts: pa.Array, size: int = PIECE) -> Iterator[pa.Array]:
    """Yield the texts in slices of about `size` bytes, so that what is computed on the way stays small.

    Args:
        texts: pa.Array of string, (texts,).
        size: int. Bytes after which a slice ends; a longer text is a slice of its own.
    """
    ends = np.cumsum(pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False), dtype=np.int64)
    start = 0
    while start < len(texts):
        taken = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, taken + size, side="right")))
        yield texts.slice(start, stop - start)
        start = stop


def change(texts: pa.Array, mask: pa.Array, function: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Return the texts with `function` applied to those that the mask selects.

    Args:
        texts: pa.Array of string, (texts,).
        mask: pa.Array of bool, (texts,). Null selects nothing.
        function: callable. From the selected texts to as many others.
    """
    mask = pc.fill_null(mask, fill_value=False)
    selected = texts.filter(mask)
    return pc.replace_with_mask(texts, mask, function(selected)) if len(selected) else texts


def to_bool(mask: pa.Array) -> np.ndarray:
    """Return an Arrow array of booleans as NumPy's, null as false."""
    found: np.ndarray = pc.fill_null(mask, fill_value=False).to_numpy(zero_copy_only=False)
    return found


def begins(values: np.ndarray) -> np.ndarray:
    """Return where a value differs from the one before, (n,) bool; the first always does."""
    found = np.ones(len(values), bool)
    found[1:] = values[1:] != values[:-1]
    return found

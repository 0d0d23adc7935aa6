"""Variables in pieces: what lies on this process's devices, written under names that say which part it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

# The number of the variable, then the first and last place, excluded, along each dimension: 00012.0-64.32-64
NAME = re.compile(r"(\d+)((?:\.\d+-\d+)*)")
Bounds = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Stored:
    """A variable in files.

    Attributes:
        shape: tuple of int. Of the whole.
        pieces: dict. Which part of it -> file and name.
    """

    shape: tuple[int, ...]
    pieces: dict[Bounds, tuple[Path, str]]


def pieces_of(number: int, value: Any) -> dict[str, np.ndarray]:
    """Return copies of the pieces of a variable that this process writes, by name.

    A piece that lies on several devices is written by one process. Process 0 writes what is not sharded.
    """
    if keras.backend.backend() != "jax":
        return {_name(number, (), ()): np.array(keras.ops.convert_to_numpy(value))} if _writes_whole() else {}
    shards = [shard for shard in value.addressable_shards if shard.replica_id == 0]
    return {_name(number, shard.index, value.shape): np.array(shard.data) for shard in shards}


def read_index(files: Sequence[Path]) -> dict[int, Stored]:
    """Return which variables, by number, and which pieces of them are in the files."""
    found: dict[int, dict[Bounds, tuple[Path, str]]] = {}
    shapes: dict[int, tuple[int, ...]] = {}
    for file in files:
        with np.load(file, allow_pickle=False) as stored:
            for name in stored.files:
                if match := NAME.fullmatch(name):
                    number = int(match[1])
                    bounds = _bounds(match[2]) or tuple((0, length) for length in _shape(stored, name))
                    found.setdefault(number, {})[bounds] = (file, name)
                    ends = tuple(end for _, end in bounds)
                    shapes[number] = tuple(map(max, ends, shapes.get(number, ends)))
    return {number: Stored(shapes[number], pieces) for number, pieces in found.items()}


def assemble(stored: Stored, like: Any) -> Any:
    """Return a variable from its pieces; on JAX laid out like `like`, and no process reads what others hold."""
    if keras.backend.backend() != "jax":
        return _part(stored, tuple((0, length) for length in stored.shape))
    import jax

    def part(index: Any) -> Any:
        return _part(stored, _resolved(index, stored.shape)).astype(like.dtype)

    return jax.make_array_from_callback(stored.shape, like.sharding, part)


def _part(stored: Stored, wanted: Bounds) -> np.ndarray:
    """Return a part of a variable, put together from the pieces that overlap it."""
    whole: np.ndarray | None = None
    for bounds, (file, name) in stored.pieces.items():
        common = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(bounds, wanted, strict=True)]
        if any(start >= end for start, end in common):
            continue
        with np.load(file, allow_pickle=False) as arrays:
            piece = arrays[name]
        if bounds == wanted:
            return np.asarray(piece)
        if whole is None:
            whole = np.empty([end - start for start, end in wanted], piece.dtype)
        target = tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(common, wanted, strict=True))
        source = tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(common, bounds, strict=True))
        whole[target] = piece[source]
    assert whole is not None
    return whole


def _shape(stored: Any, name: str) -> tuple[int, ...]:
    """Return the shape of an array in an open file, without reading the array."""
    with stored.zip.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape: tuple[int, ...] = read(member)[0]
    return shape


def _writes_whole() -> bool:
    from pipeline.training.processes import process_id

    return process_id() == 0


def _name(number: int, index: tuple[slice, ...], shape: tuple[int, ...]) -> str:
    bounds = _resolved(index, shape)
    if all(bound == (0, length) for bound, length in zip(bounds, shape, strict=True)):
        return f"{number:05d}"
    return f"{number:05d}" + "".join(f".{start}-{end}" for start, end in bounds)


def _resolved(index: tuple[slice, ...], shape: tuple[int, ...]) -> Bounds:
    return tuple(part.indices(length)[:2] for part, length in zip(index, shape, strict=True))


def _bounds(text: str) -> Bounds:
    pairs = (part.split("-") for part in text.split(".")[1:])
    return tuple((int(start), int(end)) for start, end in pairs)

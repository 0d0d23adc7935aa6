"""Compiled programs kept between runs: the second start of a training takes seconds instead of a minute.

JAX and TensorFlow each have a cache of their own on disk, and neither is safe as it is. Both give a processor programs
that were compiled for another one; TensorFlow stops at a damaged entry, and JAX warns of it again at every start. So a
cache here belongs to one kind of machine and one set of versions, and an entry counts only when it still has the
checksum that the process which made it gave it at its end. torch runs without compiling here.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from functools import cache
from pathlib import Path

from pipeline.store.files import Hasher, write_whole
from pipeline.training.hardware import accelerators, processor_features

MOST_BYTES = 2_000_000_000
SEALS = "seals"
JAX_FOLDER = "JAX_COMPILATION_CACHE_DIR"


def keep_compiled(backend: str, folder: Path) -> Path | None:
    """Make the backend keep its compiled programs; call it before the backend is imported.

    Args:
        backend: str. jax, tensorflow or torch.
        folder: Path. Holds the caches of all backends and machines.

    Returns:
        The folder of this backend's cache here, or None where it has none. On JAX a folder that the user has named
        (JAX_COMPILATION_CACHE_DIR) stays as it is.
    """
    if backend == "torch":
        return None
    if backend == "jax" and (named := _named_by_user()):
        return named
    home = folder / f"{backend}-{kind_of_machine(backend)}"
    _open(home)
    if backend == "jax":
        _keep_on_jax(home)
    else:
        _keep_on_tensorflow(home)
    return home


@cache  # what this process compiles is sealed at its end: a second look would drop it
def _open(home: Path) -> None:
    (home / SEALS).mkdir(parents=True, exist_ok=True)
    drop_damaged(home)
    atexit.register(seal, home)


def drop_damaged(home: Path) -> None:
    """Remove every entry that has no seal or is not as it was sealed, and the oldest beyond `MOST_BYTES`."""
    hasher, total = Hasher(), 0
    for path in sorted(_entries(home), key=lambda path: path.stat().st_mtime, reverse=True):
        mark = home / SEALS / path.name
        total += path.stat().st_size
        if total > MOST_BYTES or not mark.exists() or mark.read_text() != hasher.sha256(path):
            path.unlink(missing_ok=True)
            mark.unlink(missing_ok=True)


def seal(home: Path) -> None:
    """Write the checksum of every entry that has none."""
    hasher = Hasher()
    for path in _entries(home):
        mark = home / SEALS / path.name
        if not mark.exists():
            write_whole(mark, hasher.sha256(path))


def _entries(home: Path) -> list[Path]:
    return [path for path in home.iterdir() if path.is_file()] if home.is_dir() else []


def _named_by_user() -> Path | None:
    named = os.environ.get(JAX_FOLDER)
    return Path(named) if named and not (Path(named) / SEALS).is_dir() else None  # with seals, it is one of ours


def kind_of_machine(backend: str) -> str:
    """Return a short name of all that a compiled program depends on: versions, processor and accelerators."""
    versions = {"jax": ("jax", "jaxlib"), "tensorflow": ("tensorflow",)}[backend]
    facts = {
        "versions": [importlib.metadata.version(name) for name in ("keras", *versions)],
        "system": platform.system(),
        "processor": processor_features(),
        "accelerators": accelerators(),
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _keep_on_jax(home: Path) -> None:
    options = {
        "jax_compilation_cache_dir": str(home),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    if "jax" in sys.modules:
        for name, value in options.items():
            sys.modules["jax"].config.update(name, value)
    else:
        os.environ |= {name.upper(): str(value) for name, value in options.items()}


def _keep_on_tensorflow(home: Path) -> None:
    flag = f"--tf_xla_persistent_cache_directory='{home}'"
    present = os.environ.get("TF_XLA_FLAGS", "")
    if "tf_xla_persistent_cache_directory" not in present:
        os.environ["TF_XLA_FLAGS"] = f"{present} {flag}".strip()

"""Compiles a program under a kept cache in a process of its own; prints its answer and how often the cache helped."""

import sys
from pathlib import Path

from pipeline.training.compile_cache import keep_compiled


def main(backend: str, folder: Path) -> None:
    home = keep_compiled(backend, folder)
    assert home is not None
    answer, hits = {"jax": on_jax, "tensorflow": on_tensorflow}[backend](home)
    sys.stdout.write(f"answer {answer} hits {hits}\n")


def on_jax(_: Path) -> tuple[float, int]:
    import jax

    seen: list[str] = []
    jax.monitoring.register_event_listener(lambda event, **_: seen.append(event))
    product = jax.jit(lambda x: (x @ x.T).sum())
    answer = float(product(jax.numpy.arange(12.0).reshape(3, 4)))
    return answer, sum(event.endswith("/cache_hits") for event in seen)


def on_tensorflow(home: Path) -> tuple[float, int]:
    import tensorflow as tf

    before = {path: path.stat().st_mtime_ns for path in home.iterdir() if path.is_file()}
    product = tf.function(lambda x: tf.reduce_sum(x @ tf.transpose(x)), jit_compile=True)
    answer = float(product(tf.reshape(tf.range(12.0), (3, 4))))
    after = {path: path.stat().st_mtime_ns for path in home.iterdir() if path.is_file()}
    return answer, sum(after[path] == time for path, time in before.items())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

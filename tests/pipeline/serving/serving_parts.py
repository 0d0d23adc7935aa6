"""Servers of tiny real models."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
from tiny_bundle import make_bundle

from pipeline.bundle import Bundle
from pipeline.registry import Registry, Version
from pipeline.serving.app import Service
from pipeline.serving.batching import Batcher
from pipeline.serving.hosted import Hosted
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics
from pipeline.serving.server import Server, bind
from pipeline.serving.watcher import Watcher

NEVER = 1e6
SMALL = Limits(most_bytes=4000, most_texts=4, longest_text=200, max_batch=8, most_waiting=16, max_wait=5)


def publish(registry: Registry, export: Path, expected: str | None, model: str = "clinic-organ") -> Version:
    """Publish a bundle as `tradewind run` does."""
    (export / "requirements.txt").write_text("keras\n")
    (export / "MODEL_CARD.md").write_text("# A model\n")
    (export / "metrics.json").write_text('{"headlines": ["accuracy", "roc_auc"], "accuracy": 0.75, "roc_auc": null}')
    return registry.publish(
        model,
        export,
        fingerprint=export.name,
        publish_reference=f"publish/{export}",
        expected_champion=expected,
        tags={},
        metrics={},
        params={},
        experiment="clinic",
    )


def bundle_of(kind: str, folder: Path) -> Bundle:
    """Return a tiny bundle of a kind."""
    from dataclasses import replace

    import numpy as np

    from models.backbones import Encoder
    from models.classifier import SegmentRegressor, TokenClassifier
    from models.packed import PACKED_INPUT

    bundle = Bundle.load(make_bundle(folder))
    if kind == "multi_label":
        return replace(bundle, kind=kind, thresholds=(0.3, 0.5, 0.7))
    if kind == "classification":
        return bundle
    encoder = Encoder(bundle.tokenizer.get_vocab_size(), 1, 16, 2, 2, 16)
    tags = ("B-PART", "I-PART", "O")
    model = TokenClassifier(encoder, len(tags)) if kind == "tagging" else SegmentRegressor(encoder, segments_per_row=4)
    model.build(PACKED_INPUT)
    random = np.random.default_rng(1)
    model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
    return replace(bundle, kind=kind, labels=tags if kind == "tagging" else (), model=model)


def host(bundle: Any, number: str = "1") -> Hosted:
    """Return a version that no registry knows."""
    return Hosted(Version("clinic-organ", number, "f", None, Path(f"/nowhere/{number}"), {}), "champion", bundle)


def service_of(hosted: Hosted, limits: Limits = SMALL, tokens: tuple[str, ...] = ()) -> Service:
    """Return what answers with a version and follows no alias."""
    metrics = Metrics()
    metrics.serving(hosted.describe())
    batcher = Batcher(hosted, limits, metrics)
    registry = Registry("sqlite:////nowhere/mlflow.db", Path("/nowhere"))
    return Service(batcher, Watcher(registry, batcher, lambda _: hosted, NEVER, metrics), limits, tokens, metrics)


class InThread(Server):
    """Signals go to the main thread alone."""

    def capture_signals(self):
        return nullcontext()


@contextmanager
def serving(service: Service) -> Iterator[httpx.Client]:
    """Run a real server; hand out a client of it."""
    listener = bind("127.0.0.1", 0)
    server = InThread(service, drain=0, grace=5, proxy=None)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
        yield client
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()

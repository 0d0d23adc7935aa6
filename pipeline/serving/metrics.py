"""What Prometheus is told of a server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from pipeline.serving.schema import ModelDescription

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counts of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("tradewind_requests", "Requests answered", ["path", "status"], registry=registry)
        self.latency = Histogram(
            "tradewind_request_seconds", "From the headers to the answer", ["path"], buckets=SECONDS, registry=registry
        )
        self.batch_texts = Histogram(
            "tradewind_batch_texts", "Texts the model was asked at once", buckets=TEXTS, registry=registry
        )
        self.batch_seconds = Histogram(
            "tradewind_batch_seconds", "What the model took for a batch", buckets=SECONDS, registry=registry
        )
        self.queue = Gauge("tradewind_queue_texts", "Texts that wait for the model", registry=registry)
        self.swaps = Counter(
            "tradewind_model_swaps",
            "Versions taken over, or left out",
            ["outcome"],
            registry=registry,
        )
        self.registry_up = Gauge("tradewind_registry_up", "Could the registry be read last time?", registry=registry)
        self.model = Gauge(
            "tradewind_model",
            "1: this version answers",
            ["model", "version", "alias", "kind"],
            registry=registry,
        )
        self.registry_up.set(1)
        for outcome in ("done", "failed"):
            self.swaps.labels(outcome)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.labels(path, str(status)).inc()
        self.latency.labels(path).observe(seconds)

    def batch(self, texts: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_texts.observe(texts)
        self.batch_seconds.observe(seconds)

    def serving(self, model: ModelDescription) -> None:
        """Tell which version answers from now on."""
        self.model.clear()
        self.model.labels(model.name, model.version, model.alias, model.kind).set(1)

    def text(self) -> bytes:
        """Return all of it in Prometheus's text format."""
        return generate_latest(self.registry)

"""What a service counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

from anomem.evaluation.drift import Drift
from anomem.service.served import Judged

__all__ = ["CONTENT_TYPE", "Metrics"]

_SHARES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counts requests, images, verdicts, batches and models that were read anew."""

    def __init__(self) -> None:
        self._registry = of = CollectorRegistry()
        ProcessCollector(registry=of)
        self._answers = Counter(
            "anomem_answers", "Answers by route and status.", ["route", "status"], registry=of
        )
        self._seconds = Histogram(
            "anomem_answer_seconds", "Seconds until an answer began.", ["route"], registry=of
        )
        self._images = Counter(
            "anomem_images", "Images by model and verdict.", ["model", "verdict"], registry=of
        )
        self._p_values = Histogram(
            "anomem_p_value", "P-values; of normals they are uniform.", ["model"],
            buckets=_SHARES, registry=of,
        )  # fmt: skip
        self._batches = Histogram(
            "anomem_batch_images", "Images scored together.", ["model"], buckets=_SIZES, registry=of
        )
        self._computing = Counter(
            "anomem_computing_seconds", "Seconds of scoring.", ["model"], registry=of
        )
        self._reloads = Counter(
            "anomem_reloads", "Replaced model folders.", ["model", "outcome"], registry=of
        )
        self._evidence = Gauge(
            "anomem_drift_evidence", "That images have changed; told at 100.", ["model"],
            registry=of,
        )  # fmt: skip
        self._change = Gauge(
            "anomem_drift", "1 while a change stands as told.", ["model"], registry=of
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._answers.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def judged(self, model: str, image: Judged) -> None:
        """Count an image."""
        self._images.labels(model, image.verdict).inc()
        if image.error is None:
            self._p_values.labels(model).observe(image.p_value)

    def drifted(self, model: str, drift: Drift) -> None:
        """Keep what is known of a change."""
        self._evidence.labels(model).set(drift.evidence)
        self._change.labels(model).set(drift.current is not None)

    def batch(self, model: str, images: int, seconds: float) -> None:
        """Count a batch."""
        self._batches.labels(model).observe(images)
        self._computing.labels(model).inc(seconds)

    def reloaded(self, model: str, done: bool) -> None:
        """Count a model folder that was replaced."""
        self._reloads.labels(model, "loaded" if done else "refused").inc()

    def text(self) -> bytes:
        """Write all of it as Prometheus reads it."""
        return generate_latest(self._registry)

"""The plain routes by which the service tells of itself: models, drift and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from anomem.service.metrics import CONTENT_TYPE
from anomem.service.service import PROBLEMS, Service, by


def routes(service: Service) -> APIRouter:
    """Make the routes."""
    router = APIRouter(responses=PROBLEMS)

    @router.get("/v1/models")
    def models() -> dict[str, Any]:
        """Say which models are served, how they decide, and how many held-out normals back it."""
        told = [
            {
                **by(name, engine.served.now),
                "held_out": len(engine.served.now.calibration),
                "waiting": engine.room.taken,
            }
            for name, engine in service.engines.items()
        ]
        return {"models": told}

    @router.get("/v1/drift")
    def drift() -> dict[str, Any]:
        """Say of each model whether the images are still like its held-out normals.

        The evidence is 1 at first, and reaches 100 with a probability of 1% if nothing ever
        changes; then a change is told, and stands until 1,000 images have shown none.
        """
        told = []
        for name, engine in service.engines.items():
            found = engine.served.now.drift
            changes = {"change": found.current, "latest": found.latest}
            in_words = {what: change and change.as_json() for what, change in changes.items()}
            told.append({"model": name, "seen": found.seen, "evidence": found.evidence, **in_words})
        return {"models": told}

    @router.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Give what is counted, as Prometheus reads it."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return router

from dataclasses import replace

import numpy as np
import pytest

from anomem.config.mapping import changed
from anomem_bench.methods import METHODS
from anomem_bench.results import Run


@pytest.fixture
def three_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method takes three steps of small images, whatever its seconds, and is narrow."""
    steps = {"stage1__min_steps": 3, "stage1__max_steps": 3, "stage1__batch": 16}
    few = {**steps, "images__size": 32, "stage1__epochs": 1, "stage2__steps": 5}
    for name, method in METHODS.items():
        width = {"encoder__width": 8} if method.config.encoder.weights is None else {}
        config = changed(method.config, few | width)
        monkeypatch.setitem(METHODS, name, replace(method, config=config))


@pytest.fixture
def runs(one_run: Run) -> list[Run]:
    """Three methods on three classes in two draws, two gammas; "late" lacks one class."""
    rng = np.random.default_rng(0)
    return [
        replace(
            one_run,
            method=method,
            normal=normal,
            gamma=gamma,
            draw=draw,
            measures={
                "auroc": round(float(rng.uniform(0.6, 0.99)), 2),
                "auroc_half": float(rng.uniform(0.6, 0.9)),
                "auroc_quarter": float(rng.uniform(0.5, 0.8)),
            },
        )
        for gamma in (0.05, 0.0)
        for method in ("scratch", "peer", "late")
        for normal in ("zero", "one", "two")
        for draw in (0, 1)
        if (method, normal) != ("late", "two") and (method, draw, gamma) != ("peer", 1, 0.0)
    ]

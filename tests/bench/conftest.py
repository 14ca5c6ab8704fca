from dataclasses import replace

import numpy as np
import pytest

from anomem_bench.results import Run


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
        for method in ("default", "peer", "late")
        for normal in ("zero", "one", "two")
        for draw in (0, 1)
        if (method, normal) != ("late", "two") and (method, draw, gamma) != ("peer", 1, 0.0)
    ]

"""Figures of the literature in %, as the paper gives them; + marks a pretrained encoder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

PAPER = "AnoMem (paper)"
MEAN = "mean"
"""Column of the figures that are means over all classes."""
_NAMES = {
    "scratch": PAPER,
    "supervised": "Supervised",
    "mhrot": "MHRot",
    "goad": "GOAD",
    "csi": "CSI",
    "deepsad": "DeepSAD",
    "elsa": "Elsa",
    "memae": "MemAE",
    "dp-vae": "DP-VAE",
    "piad": "PIAD",
    "simclr-mahalanobis": "SSD",
    "fs": "FS",
    "msc": "MSC +",
    "reverse-distillation": "Reverse Distillation +",
    "energy-oe": "Energy",
    "balanced-energy": "PEBAL",
}
"""What the tables of the paper call a method; a preset of ours is compared with the paper's own."""


def published(protocol: str, data: str, gamma: float) -> pd.DataFrame:
    """List the figures that stand beside a table.

    Args:
        protocol: Such as "one-vs-all".
        data: Name of the data set, and what was done to it.
        gamma: Share of anomalies in training, in [0, 1).

    Returns:
        AUROC or accuracy in %, by method (rows) and column; the column is a test, or "mean" for a
        mean over all classes. None where unlabelled anomalies are among the normals.
    """
    spoilt = "% of the normals anomalous" in data
    gammas = [] if spoilt else [f"{gamma:g}", *(["above 0"] if gamma > 0 else [])]
    every = _figures()
    rows = every[
        (every["protocol"] == protocol)
        & (every["data"] == data.split(",")[0])
        & every["gamma"].isin(gammas)
    ]
    table = rows.pivot(index="method", columns="column", values="figure")
    return table.reindex(index=rows["method"].unique(), columns=rows["column"].unique())


def counterpart(method: str) -> str:
    """Name the published method that one of ours is compared with, "" for none."""
    return _NAMES.get(method) or method.partition(", ")[2]


def namesake(published_method: str) -> str:
    """Name the score of ours that is compared with a published method, "" for none."""
    return next((ours for ours, theirs in _NAMES.items() if theirs == published_method), "")


@cache
def _figures() -> pd.DataFrame:
    return pd.read_csv(Path(__file__).with_name("published.csv"), dtype={"gamma": str})

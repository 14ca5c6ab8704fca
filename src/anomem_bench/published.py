"""Figures of the literature in %, as the paper gives them; + marks a pretrained encoder."""

from __future__ import annotations

PAPER = "AnoMem (paper)"

_GAMMAS = (0.0, 0.01, 0.05, 0.10)


def _by_gamma(rows: dict[str, tuple[float | None, ...]]) -> dict[float, dict[str, float]]:
    return {
        gamma: {name: v for name, row in rows.items() if (v := row[place]) is not None}
        for place, gamma in enumerate(_GAMMAS)
    }


ONE_VS_ALL = {
    "cub200": _by_gamma(
        {
            "MemAE": (59.6, None, None, None),
            "PIAD": (63.5, None, None, None),
            "GOAD": (66.6, None, None, None),
            "MHRot": (77.6, None, None, None),
            "CSI": (52.4, None, None, None),
            "Supervised": (None, 53.1, 58.6, 62.4),
            "Elsa": (None, 77.8, 81.3, 82.9),
            "DeepSAD": (53.9, 62.7, 63.4, 65.1),
            "DP-VAE": (61.7, 65.4, 67.2, 69.6),
            PAPER: (81.4, 84.1, 85.3, 86.0),
        }
    ),
    "cifar10": _by_gamma(
        {
            "MemAE": (60.9, None, None, None),
            "PIAD": (79.9, None, None, None),
            "GOAD": (88.2, None, None, None),
            "MHRot": (89.5, None, None, None),
            "Reverse Distillation +": (86.5, None, None, None),
            "SSD": (90.0, None, None, None),
            "CSI": (94.3, None, None, None),
            "MSC +": (94.8, None, None, None),
            "Supervised": (None, 55.6, 63.5, 67.7),
            "Elsa": (None, 80.0, 85.7, 87.1),
            "DeepSAD": (60.9, 72.6, 77.9, 79.8),
            "DP-VAE": (52.7, 74.5, 79.1, 81.1),
            PAPER: (91.5, 92.5, 97.1, 97.6),
        }
    ),
    "cifar100": _by_gamma(
        {
            "MemAE": (57.4, None, None, None),
            "PIAD": (78.8, None, None, None),
            "GOAD": (74.5, None, None, None),
            "MHRot": (83.6, None, None, None),
            "SSD": (85.1, None, None, None),
            "CSI": (85.8, None, None, None),
            "MSC +": (94.4, None, None, None),
            "Supervised": (None, 53.8, 58.4, 62.5),
            "Elsa": (None, 81.3, 84.6, 86.0),
            "DeepSAD": (56.3, 67.7, 71.6, 73.2),
            "DP-VAE": (56.7, 68.5, 73.4, 75.8),
            PAPER: (86.1, 90.9, 92.3, 94.7),
        }
    ),
}
"""Mean AUROC over all classes, by data set, gamma and method."""

OOD = {
    "cifar10": {
        "svhn": {"GOAD": 96.3, "MHRot": 97.8, "FS": 95.3, "Energy": 96.6, "PEBAL": 97.7,
                 "CSI": 99.8, PAPER: 99.2},
        "lsun": {"GOAD": 89.3, "MHRot": 92.8, "FS": 96.2, "Energy": 94.0, "PEBAL": 94.5,
                 "CSI": 97.5, PAPER: 97.5},
        "cifar100": {"GOAD": 77.2, "MHRot": 82.3, "FS": 84.8, "Energy": 84.4, "PEBAL": 85.2,
                     "CSI": 89.2, PAPER: 89.2},
    }
}  # fmt: skip
"""AUROC by data set, test and method."""

WMCA_ONE_CLASS = {
    "PIAD": 76.4, "MHRot": 81.3, "CSI": 82.7, "MSC +": 85.3, "GOAD": 86.1, "DP-VAE": 53.9,
    "DeepSAD": 71.2, PAPER: 86.9,
}  # fmt: skip
"""AUROC of bona fide faces against all attacks, none of them trained on."""

_UNSEEN = ("print", "replay", "paper mask", "flexible mask")
WMCA_UNSEEN = {
    "Supervised": (78.3, 77.1, 80.7, 81.9),
    "Elsa": (86.1, 84.3, 89.2, 89.1),
    "DeepSAD": (79.9, 80.3, 81.8, 83.4),
    PAPER: (91.3, 89.8, 93.0, 92.7),
}
"""AUROC against each kind of attack in turn that is not trained on."""

LINEAR = {
    "cifar10": {"no memory": 88.2, "memory": 91.4, "memory and scales": 91.9,
                "lambda_V 0.1": 91.90, "lambda_V 0.05": 91.91, "lambda_V 0.025": 91.87,
                "lambda_V 0.01": 91.86},
    "cifar100": {"no memory": 80.5, "memory": 84.1, "memory and scales": 84.8},
}  # fmt: skip
"""Accuracy of the linear evaluation by data set and variant (Tables 4 and 6)."""

ABLATION = {
    "cifar10": {"neither": 88.1, "scales only": 89.4, "memory only": 90.5,
                "memory and scales": 91.5, "lambda linear": 91.2, "lambda exponential": 91.5},
    "cifar100": {"neither": 82.7, "scales only": 83.8, "memory only": 85.3,
                 "memory and scales": 86.1, "lambda linear": 85.6, "lambda exponential": 86.1},
    "wmca": {"neither": 81.6, "scales only": 84.0, "memory only": 84.8, "memory and scales": 86.9},
}  # fmt: skip
"""Mean AUROC at gamma 0 by data set and variant (Tables 5 and 7)."""


MEAN = "mean"
"""Column of the figures that are means over all classes."""
_NAMES = {
    "default": PAPER,
    "supervised": "Supervised",
    "mhrot": "MHRot",
    "csi": "CSI",
    "deepsad": "DeepSAD",
    "elsa": "Elsa",
    "simclr-mahalanobis": "SSD",
}
"""What the tables of the paper call a method; a preset of ours is compared with the paper's own."""


def error_reduction(before: float, after: float) -> float:
    """Share of the errors before that are gone after, ``(after - before) / (100 - before)``.

    Args:
        before: AUROC or accuracy in %, below 100.
        after: The same of what is compared with it.
    """
    return (after - before) / (100 - before)


def published(protocol: str, data: str, gamma: float) -> dict[str, dict[str, float]]:
    """The figures that stand beside a table.

    Args:
        protocol: Such as "one-vs-all".
        data: Name of the data set, and what was done to it.
        gamma: Share of anomalies in training.

    Returns:
        By method and by column, in %; the column is a test, or "mean" for a mean over all classes.
        None of them where unlabelled anomalies are among the normals.
    """
    if "% of the normals anomalous" in data:
        return {}
    data = data.split(",")[0]
    if protocol == "ood":
        rows: dict[str, dict[str, float]] = {}
        for test, figures in OOD.get(data, {}).items():
            for method, figure in figures.items():
                rows.setdefault(method, {})[test] = figure
        return rows
    if protocol == "cross-type":
        return _wmca(gamma) if data == "wmca" else {}
    if protocol == "one-vs-all":
        figures = ONE_VS_ALL.get(data, {}).get(gamma, {})
    elif protocol in ("ablation memory-linear", "ablation variance-weight"):
        figures = LINEAR.get(data, {})
    elif protocol in ("ablation memory", "ablation scale-weights") and gamma == 0:
        figures = ABLATION.get(data, {})
    else:
        figures = {}
    return {method: {MEAN: figure} for method, figure in figures.items()}


def counterpart(method: str) -> str:
    """The published method that one of ours is compared with."""
    return _NAMES.get(method) or method.partition(", ")[2]


def _wmca(gamma: float) -> dict[str, dict[str, float]]:
    if gamma == 0:
        return {method: {"all kinds": figure} for method, figure in WMCA_ONE_CLASS.items()}
    return {
        method: dict(zip(_UNSEEN, figures, strict=True)) for method, figures in WMCA_UNSEEN.items()
    }

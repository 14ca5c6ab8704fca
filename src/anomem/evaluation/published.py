"""Figures of the literature, as the tables of the paper give them, in %."""

from __future__ import annotations

from collections.abc import Sequence

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
            "SSD": (90.0, None, None, None),
            "CSI": (94.3, None, None, None),
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

_WMCA_TESTS = ("all kinds", "print", "replay", "paper mask", "flexible mask")


def _by_test(rows: dict[str, tuple[float | None, ...]]) -> dict[str, dict[str, float]]:
    return {
        test: {name: v for name, row in rows.items() if (v := row[place]) is not None}
        for place, test in enumerate(_WMCA_TESTS)
    }


CROSS_TYPE = {
    "wmca": _by_test(
        {
            "PIAD": (76.4, None, None, None, None),
            "MHRot": (81.3, None, None, None, None),
            "CSI": (82.7, None, None, None, None),
            "GOAD": (86.1, None, None, None, None),
            "Supervised": (None, 78.3, 77.1, 80.7, 81.9),
            "Elsa": (None, 86.1, 84.3, 89.2, 89.1),
            "DP-VAE": (53.9, None, None, None, None),
            "DeepSAD": (71.2, 79.9, 80.3, 81.8, 83.4),
            PAPER: (86.9, 91.3, 89.8, 93.0, 92.7),
        }
    )
}
"""AUROC by data set, test and method: one-class against all kinds, else the kind is unseen."""

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


def error_reduction(before: float, after: float) -> float:
    """Share of the errors before that are gone after, ``(after - before) / (100 - before)``.

    Args:
        before: AUROC or accuracy in %, below 100.
        after: The same of what is compared with it.
    """
    return (after - before) / (100 - before)


_NAMES = {
    "default": PAPER,
    "paper": PAPER,
    "supervised": "Supervised",
    "mhrot": "MHRot",
    "csi": "CSI",
    "deepsad": "DeepSAD",
    "elsa": "Elsa",
    "simclr-mahalanobis": "SSD",
}
"""What the tables of the paper call a method; a default is compared with the paper's own."""


def published(
    protocol: str, data: str, gamma: float, method: str, columns: Sequence[str]
) -> float | None:
    """The published figure that the mean of a method over columns stands beside.

    Args:
        protocol: Such as "one-vs-all".
        data: Name of the data set, and what was done to it.
        gamma: Share of anomalies in training.
        method: Name of a method, or "default, " and the name of a variant.
        columns: Tests; those of one-vs-all are classes, and the figure is of all of them.

    Returns:
        In %; None where there is none of every column.
    """
    data, name = data.split(",")[0], _NAMES.get(method, "")
    variant = method.partition(", ")[2]
    if protocol == "one-vs-all":
        return ONE_VS_ALL.get(data, {}).get(gamma, {}).get(name)
    if protocol in ("linear", "ablation memory-linear", "ablation variance-weight"):
        return LINEAR.get(data, {}).get(variant)
    if protocol.startswith("ablation"):
        return ABLATION.get(data, {}).get(variant) if gamma == 0 else None
    tests = {"ood": OOD, "cross-type": CROSS_TYPE}.get(protocol, {}).get(data, {})
    asked = dict.fromkeys(column.removesuffix(", re-encoded") for column in columns)
    figures = [tests.get(column, {}).get(name) for column in asked]
    known = [figure for figure in figures if figure is not None]
    return sum(known) / len(known) if known and len(known) == len(asked) else None

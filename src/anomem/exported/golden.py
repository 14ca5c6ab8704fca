"""Golden images: what an exported folder must tell of them, wherever it is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.decision.calibrate import p_values
from anomem.decision.scores import highest_frames
from anomem.exported.detector import ExportedDetector
from anomem.exported.folder import DESCRIPTION, GOLDEN, is_exported
from anomem.images.local import FileSource
from anomem.images.read import read as read_frames, widened
from anomem.runtime.files import write_text
from anomem.runtime.untrusted import ModelError, one_line, read_json

_EXPECTED = "expected.json"
_MOST_JSON = 2**20
_OF_SPREAD = 1e-4
"""Of the standard deviation of the held-out scores: the most that a score may differ,"""
_OF_HEAT = 1e-2
"""and the heat of a place, in standard deviations of normals."""


@dataclass(frozen=True)
class Golden:
    """Holds what a detector tells of N images, each by its frame that scores highest.

    Attributes:
        files: Names of the images in the folder ``golden``.
        score: (N,), higher is more anomalous.
        label: (N,) bool, called anomalous.
        p_value: (N,).
        heat: (N,), the highest of each image.
        spread: Standard deviation of the held-out scores.
    """

    files: tuple[str, ...]
    score: npt.NDArray[np.float64]
    label: npt.NDArray[np.bool_]
    p_value: npt.NDArray[np.float64]
    heat: npt.NDArray[np.float64]
    spread: float


@dataclass(frozen=True)
class Agreement:
    """Tells by how much golden images differ at most.

    Attributes:
        images: How many they are.
        score: Of the standard deviation of the held-out scores.
        heat: In standard deviations of normals.
    """

    images: int
    score: float
    heat: float

    def __str__(self) -> str:
        return (
            f"{self.images} golden images are decided alike; scores differ by {self.score:.1e} of "
            f"the spread of normals at most ({_OF_SPREAD:g} are allowed), heat by {self.heat:.1e}"
        )

    def as_json(self) -> dict[str, Any]:
        """Give it ready for JSON."""
        return asdict(self)


def check(folder: Path) -> Agreement:
    """Score the golden images of an exported folder and compare with what is expected.

    Raises:
        ModelError: One is scored, decided or drawn otherwise, or the folder is damaged or none.
    """
    if not is_exported(folder):
        raise ModelError(f"{folder} is no exported folder (no {DESCRIPTION}); give one.")
    expected = read_golden(folder)
    images = [str(folder / GOLDEN / name) for name in expected.files]
    return agreement(expected, told_by(ExportedDetector(folder), expected), images)


def told_by(detector: ExportedDetector, golden: Golden) -> Golden:
    """Ask an exported detector for the golden images."""
    source = FileSource([detector.folder / GOLDEN / name for name in golden.files])
    read = read_frames(source, range(len(source)), detector.exported.framing)
    if read.errors:
        raise ModelError(str(next(iter(read.errors.values()))))
    frames = widened(read.images) if detector.exported.dtype == "uint16" else read.images
    found = detector.run(frames, ("pred_score", "pred_label", "p_value", "anomaly_map"))
    best = highest_frames(found["pred_score"], read.image)
    hottest = found["anomaly_map"].max(axis=(1, 2))
    score, p_value = found["pred_score"][best].astype(np.float64), found["p_value"][best]
    off = np.abs(p_value - p_values(score, detector.calibration()))
    if not (off < 1e-9).all():
        worst = golden.files[int(np.argmax(off))]
        reason = f"the graph gives {worst} another p-value than its score has"
        raise ModelError(f"{detector.folder}: {reason}; export the model again.")
    return Golden(
        golden.files,
        score,
        found["pred_label"][best],
        p_value,
        highest_of(hottest, read.image),
        golden.spread,
    )


def highest_of(
    values: npt.NDArray[np.floating], image: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Take the highest value of the frames (F,) of each image, in order."""
    starts = np.flatnonzero(np.diff(image, prepend=-1))
    return np.maximum.reduceat(values, starts).astype(np.float64)


def agreement(expected: Golden, told: Golden, images: Sequence[str]) -> Agreement:
    """Compare what is told of golden images with what is expected.

    Args:
        expected: By the model.
        told: By the graph.
        images: What an error calls each.

    Raises:
        ModelError: A score differs by more than 1e-4 of the spread, heat by more than 1e-2, or a
            decision; the one that differs most is named.
    """
    score = np.abs(told.score - expected.score) / expected.spread
    heat = np.abs(told.heat - expected.heat)
    label = told.label != expected.label
    off = np.where(label, np.inf, np.maximum(score / _OF_SPREAD, heat / _OF_HEAT))
    worst = int(np.argmax(off))  # where it is not a number too
    if not off[worst] <= 1:
        raise ModelError(
            f"{images[worst]} is told otherwise by the graph: score "
            f"{told.score[worst]:.6g} in place of {expected.score[worst]:.6g} "
            f"({score[worst]:.1e} of the spread of normals, {_OF_SPREAD:g} are allowed), "
            f"{_verdict(told, worst)} in place of {_verdict(expected, worst)}, highest heat "
            f"{told.heat[worst]:.4g} in place of {expected.heat[worst]:.4g}; use the saved model, "
            "or another version of onnxruntime."
        )
    return Agreement(len(score), float(score.max()), float(heat.max()))


def _verdict(golden: Golden, index: int) -> str:
    return "anomalous" if golden.label[index] else "normal"


def write_golden(golden: Golden, folder: Path) -> None:
    """Write what is expected of golden images that lie in an exported folder."""
    values = {
        name: getattr(golden, name).tolist() for name in ("score", "label", "p_value", "heat")
    }
    found = {"files": list(golden.files), "spread": golden.spread, **values}
    write_text(folder / GOLDEN / _EXPECTED, json.dumps(found, indent=1, allow_nan=False))


def read_golden(folder: Path) -> Golden:
    """Read what is expected of golden images.

    Raises:
        ModelError: It is missing or damaged.
    """
    file = folder / GOLDEN / _EXPECTED
    try:
        found = read_json(file, _MOST_JSON)
        files = tuple(found["files"])
        score, p_value, heat = (
            np.array(found[name], dtype=np.float64) for name in ("score", "p_value", "heat")
        )
        label, spread = np.array(found["label"], dtype=np.bool_), float(found["spread"])
        plain = all(isinstance(name, str) and PurePath(name).name == name for name in files)
        shapes = {each.shape for each in (score, label, p_value, heat)}
        if not plain or shapes != {(len(files),)} or not len(files) or not spread > 0:
            raise ValueError("its lists do not fit")
    except (LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{file} is damaged ({one_line(error)}); export again.") from error
    return Golden(files, score, label, p_value, heat, spread)

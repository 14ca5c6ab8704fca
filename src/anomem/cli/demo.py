"""The demo: the whole life of a detector on real photographs, in minutes and without a download."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.cli.demo_images import DemoImages, demo_images, thumbnail_auroc
from anomem.config import Config
from anomem.config.mapping import changed
from anomem.config.presets import scratch
from anomem.detector.estimator import AnoMem
from anomem.evaluation.evaluate import Evaluation, evaluate
from anomem.evaluation.metrics import auroc
from anomem.images.arrays import ArraySource
from anomem.report.evaluation import write_report
from anomem.report.heat import Row, save_table
from anomem.runtime.progress import StageProgress

LABELS = 10
ALPHA = 0.1
"""Share of normals that may be called anomalous: of 44 held-out normals, four."""


def files_of(out: Path) -> tuple[Path, Path, Path]:
    """Name the model, the picture and the report of a demo."""
    return out / "model", out / "demo.png", out / "report.html"


def run_demo(
    out: Path,
    *,
    config: Config | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: StageProgress | None = None,
) -> dict[str, Any]:
    """Fit on brick, score three kinds of anomaly, adapt with ten labels, score the rest again.

    Args:
        out: Folder for the model, the picture and the report.
        config: Choices; None takes the preset scratch with twice the steps, as images are small and
            few, and a quarter of the normals held out, so that the rate of false alarms is set
            well.
        seed: Of the crops, the training and the choice of labels.
        device: Of the detector.
        progress: Called as ``progress(stage, done, total)``.

    Returns:
        As ``--json`` prints them: AUROC before any label, of all kinds together, of all but the
        images that are labelled, and by kind; the same after labels, on images not labelled; that
        of nearest neighbours on 8 x 8 thumbnails; the share of normal test images called
        anomalous, and the share promised; seconds; the three files.
    """
    begun = time.monotonic()
    model, picture, report = files_of(out)
    images = demo_images(seed)
    twice = changed(scratch(), {"stage1__min_steps": 600, "calibration__share": 0.25})
    detector = AnoMem(config or twice, device=device, seed=seed)
    detector.fit(images.train, progress=progress)
    normal = detector.decision_function(images.normal)
    before = {kind: detector.decision_function(x) for kind, x in images.anomalies.items()}
    left = _not_labelled(images, seed)
    labelled = np.concatenate([x[~left[kind]] for kind, x in images.anomalies.items()])
    detector.adapt(labelled, [1] * len(labelled), progress=progress)
    rest = replace(
        images,
        anomalies={kind: x[left[kind]] for kind, x in images.anomalies.items()},
        masks={kind: x[left[kind]] for kind, x in images.masks.items()},
    )
    evaluation = _evaluated(detector, rest, progress)
    ends = np.cumsum([len(x) for x in rest.anomalies.values()])[:-1]
    after = dict(zip(rest.anomalies, np.split(evaluation.anomalous, ends), strict=True))
    detector.save(model)
    _save_picture(detector, rest, picture)
    write_report(
        detector,
        evaluation,
        report,
        title="Brick, after ten labels",
        rule=str(ALPHA),
        progress=None if progress is None else partial(progress, "report"),
    )
    knn = thumbnail_auroc(images)
    left_before = {kind: scores[left[kind]] for kind, scores in before.items()}
    figures = {
        "auroc_one_class": auroc(normal, _joined(before)),
        "auroc_rest_one_class": auroc(normal, _joined(left_before)),
        "auroc_adapted": auroc(evaluation.normal, evaluation.anomalous),
        "by_kind": {kind: auroc(normal, scores) for kind, scores in before.items()},
        "by_kind_adapted": {kind: auroc(evaluation.normal, x) for kind, x in after.items()},
        "knn_thumbnails": float(np.mean(list(knn.values()))),
        "knn_by_kind": knn,
        "false_alarms": float((evaluation.normal > evaluation.threshold).mean()),
        "false_alarms_promised": ALPHA,
        "seconds": time.monotonic() - begun,
    }
    return {
        **_rounded(figures),
        "model": str(model),
        "picture": str(picture),
        "report": str(report),
    }


def _not_labelled(images: DemoImages, seed: int) -> dict[str, npt.NDArray[np.bool_]]:
    """All anomalies but ten drawn at random from all kinds, as a mask of each kind."""
    sizes = [len(x) for x in images.anomalies.values()]
    left = np.ones(sum(sizes), dtype=bool)
    left[np.random.default_rng(seed).permutation(len(left))[:LABELS]] = False
    return dict(zip(images.anomalies, np.split(left, np.cumsum(sizes)[:-1]), strict=True))


def _evaluated(detector: AnoMem, images: DemoImages, progress: StageProgress | None) -> Evaluation:
    """The normals and the anomalies of each kind, under its name and with its masks."""
    crops = {"normal": images.normal, **images.anomalies}
    normals, masks = len(images.normal), _joined(images.masks)
    evaluation = evaluate(
        detector,
        ArraySource(images.normal),
        ArraySource(_joined(images.anomalies)),
        rule=str(ALPHA),
        progress=progress,
    )
    return replace(
        evaluation,
        names=[f"{kind}/{number}" for kind in crops for number in range(len(crops[kind]))],
        mask_of=lambda index: masks[index - normals] if index >= normals else None,
    )


def _save_picture(detector: AnoMem, images: DemoImages, file: Path) -> None:
    """Two normals, and two images of each kind."""
    nowhere = np.zeros(images.normal.shape[1:], dtype=bool)
    chosen = [("normal", image, nowhere) for image in images.normal[:2]]
    for kind, anomalies in images.anomalies.items():
        pairs = zip(anomalies[:2], images.masks[kind][:2], strict=True)
        chosen += [(kind, image, mask) for image, mask in pairs]
    pixels = np.stack([image for _, image, _ in chosen])
    scores, heats = detector.decision_function(pixels), detector.heat_maps(pixels)
    rows = [
        Row(f"{kind}\n{score:+.1f}", image, heat, mask)
        for (kind, image, mask), score, heat in zip(chosen, scores, heats, strict=True)
    ]
    save_table(rows, file, "Normal: brick. Anomalies: object, style, local.")


def _joined(parts: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(list(parts.values()))


def _rounded(value: Any) -> Any:
    """Figures to four places."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return round(value, 4)

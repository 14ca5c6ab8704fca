"""The demo: the whole life of a detector on real photographs, in minutes and without a download."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.cli.demo_images import DemoImages, demo_images, thumbnail_auroc
from anomem.config import Config
from anomem.config.mapping import changed
from anomem.config.presets import default
from anomem.detector.estimator import AnoMem
from anomem.detector.identity import image_digests
from anomem.evaluation.evaluate import Evaluation, known_among
from anomem.evaluation.metrics import auroc
from anomem.images.arrays import ArraySource
from anomem.images.prepare import prepare_frames
from anomem.report.evaluation import write_report
from anomem.report.heat import Row, save_table
from anomem.runtime.progress import StageProgress

LABELS = 10
ALPHA = 0.1
"""Share of normals that may be called anomalous: of 44 held-out normals, four."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured.

    Attributes:
        auroc_one_class: All kinds together, before any label.
        auroc_rest_one_class: The same without the images labelled later.
        auroc_adapted: On the images not labelled, after adapting.
        by_kind: One-class AUROC of each kind.
        by_kind_adapted: AUROC of each kind on the images not labelled, after adapting.
        knn_thumbnails: AUROC of the nearest neighbour on 8 x 8 thumbnails, all kinds together.
        knn_by_kind: The same of each kind.
        false_alarms: Share of the normal test images called anomalous, after adapting.
        false_alarms_promised: Share that may be, on average.
        seconds: From the first crop to the report.
        model: Folder of the saved model.
        picture: File of the picture.
        report: File of the page on the images not labelled, after adapting.
    """

    auroc_one_class: float
    auroc_rest_one_class: float
    auroc_adapted: float
    by_kind: dict[str, float]
    by_kind_adapted: dict[str, float]
    knn_thumbnails: float
    knn_by_kind: dict[str, float]
    false_alarms: float
    false_alarms_promised: float
    seconds: float
    model: str
    picture: str
    report: str

    def as_json(self) -> dict[str, Any]:
        """The fields, figures to four places."""
        return {key: _rounded(value) for key, value in asdict(self).items()}


def files_of(out: Path) -> tuple[Path, Path, Path]:
    """The model, the picture and the report of a demo."""
    return out / "model", out / "demo.png", out / "report.html"


def run_demo(
    out: Path,
    *,
    config: Config | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: StageProgress | None = None,
) -> DemoResult:
    """Fit on brick, score three kinds of anomaly, adapt with ten labels, score the rest again.

    Args:
        out: Folder for the model, the picture and the report.
        config: Choices; None takes the default with twice the steps, as images are small and few,
            and a quarter of the normals held out, so that the rate of false alarms is set well.
        seed: Of the crops, the training and the choice of labels.
        device: Of the detector.
        progress: Called as ``progress(stage, done, total)``.
    """
    begun = time.monotonic()
    model, picture, report = files_of(out)
    images = demo_images(seed)
    detector = AnoMem(config or _choices(), device=device, seed=seed)
    detector.fit(images.train, progress=progress)
    normal, before = _scores(detector, images)
    labelled = _draw_labels(images, seed)
    shown = {kind: ~labelled[kind] for kind in images.anomalies}
    chosen = np.concatenate([images.anomalies[kind][labelled[kind]] for kind in shown])
    detector.adapt(chosen, np.ones(len(chosen), dtype=np.int64), progress=progress)
    normal_adapted, after = _scores(detector, images)
    detector.save(model)
    _save_picture(detector, images, shown, picture)
    rest = {kind: scores[shown[kind]] for kind, scores in after.items()}
    write_report(
        detector,
        _examined(detector, images, shown, {"normal": normal_adapted, **rest}),
        report,
        title="Brick, after ten labels",
        rule=str(ALPHA),
        progress=None if progress is None else partial(progress, "report"),
    )
    knn = thumbnail_auroc(images)
    return DemoResult(
        auroc_one_class=auroc(normal, _joined(before)),
        auroc_rest_one_class=auroc(normal, _joined({k: before[k][shown[k]] for k in shown})),
        auroc_adapted=auroc(normal_adapted, _joined(rest)),
        by_kind={kind: auroc(normal, scores) for kind, scores in before.items()},
        by_kind_adapted={kind: auroc(normal_adapted, scores) for kind, scores in rest.items()},
        knn_thumbnails=float(np.mean(list(knn.values()))),
        knn_by_kind=knn,
        false_alarms=float((normal_adapted > detector.threshold(ALPHA)).mean()),
        false_alarms_promised=ALPHA,
        seconds=time.monotonic() - begun,
        model=str(model),
        picture=str(picture),
        report=str(report),
    )


def _choices() -> Config:
    return changed(default(), {"stage1__min_steps": 600, "calibration__share": 0.25})


def _scores(
    detector: AnoMem, images: DemoImages
) -> tuple[npt.NDArray[np.float32], dict[str, npt.NDArray[np.float32]]]:
    normal = detector.decision_function(images.normal)
    return normal, {k: detector.decision_function(x) for k, x in images.anomalies.items()}


def _draw_labels(images: DemoImages, seed: int) -> dict[str, npt.NDArray[np.bool_]]:
    """Ten anomalies drawn at random from all kinds, as a mask of each kind."""
    sizes = [len(x) for x in images.anomalies.values()]
    drawn = np.zeros(sum(sizes), dtype=bool)
    drawn[np.random.default_rng(seed).permutation(len(drawn))[:LABELS]] = True
    parts = np.split(drawn, np.cumsum(sizes)[:-1])
    return dict(zip(images.anomalies, parts, strict=True))


def _save_picture(
    detector: AnoMem, images: DemoImages, shown: dict[str, npt.NDArray[np.bool_]], file: Path
) -> None:
    """Two images of each kind and two normals, the first ones that were not labelled."""
    nowhere = np.zeros(images.normal.shape[1:], dtype=bool)
    chosen = [("normal", image, nowhere) for image in images.normal[:2]]
    for kind, kept in shown.items():
        for index in np.flatnonzero(kept)[:2]:
            chosen.append((kind, images.anomalies[kind][index], images.masks[kind][index]))
    pixels = np.stack([image for _, image, _ in chosen])
    scores, heats = detector.decision_function(pixels), detector.heat_maps(pixels)
    rows = [
        Row(f"{kind}\n{score:+.1f}", image, heat, mask)
        for (kind, image, mask), score, heat in zip(chosen, scores, heats, strict=True)
    ]
    save_table(rows, file, "Normal: brick. Anomalies: object, style, local.")


def _examined(
    detector: AnoMem,
    images: DemoImages,
    shown: dict[str, npt.NDArray[np.bool_]],
    scores: dict[str, npt.NDArray[np.float32]],
) -> Evaluation:
    """The normals and the images of each kind that were not labelled."""
    crops = {"normal": images.normal, **{k: images.anomalies[k][shown[k]] for k in shown}}
    names = [f"{kind}/{number}" for kind in crops for number in range(len(crops[kind]))]
    known = [mask for kind in shown for mask in images.masks[kind][shown[kind]]]
    nowhere = [None] * len(images.normal)
    source = ArraySource(np.concatenate(list(crops.values())))
    frames = prepare_frames(source, detector.framing_)
    digest = image_digests(frames.frames, frames.image)
    return Evaluation(
        source,
        names,
        np.repeat([0, 1], [len(nowhere), len(known)]),
        _joined(scores),
        detector.threshold(ALPHA),
        [*nowhere, *known].__getitem__,
        known_among(digest, detector.bank_, detector.summary_["normals"]),
    )


def _joined(scores: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    return np.concatenate(list(scores.values()))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value

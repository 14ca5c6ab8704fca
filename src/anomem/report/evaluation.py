"""An evaluation as one page: self-contained, for any browser, without a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from anomem.config.mapping import flat
from anomem.detector.estimator import AnoMem
from anomem.detector.heat_maps import Heat
from anomem.detector.identity import measured_digests
from anomem.detector.prototypes import gallery, most_used_first
from anomem.detector.threshold import falls_back_to, rule_of
from anomem.evaluation.evaluate import Evaluation, Group, by_folder, groups
from anomem.evaluation.intervals import (
    detection_intervals,
    escape_bound,
    overkill_interval,
    rate_interval,
)
from anomem.evaluation.metrics import detection_metrics, overkill
from anomem.images.combined import choose
from anomem.images.framing import FrameSource
from anomem.images.local import FileSource
from anomem.report.figures import histogram_figure, precision_figure, roc_figure
from anomem.report.heat import coloured, overlaid
from anomem.report.page import template
from anomem.report.pictures import coloured_pixels, data_uri, fitted_into, picture
from anomem.report.prototypes import alternative_text, heading, in_words, strip
from anomem.runtime.files import write_text
from anomem.runtime.versions import library_versions

_SIDE = 320
"""Longest side of a picture on the page, in pixels; a click enlarges it."""
_PROTOTYPES = 12
"""Of each scale on the page."""
_REMEMBERED = 300
"""Normal images among which the places of prototypes are looked for."""

Places = Mapping[str, Mapping[str, float]]


def write_report(
    model: AnoMem,
    evaluation: Evaluation,
    file: Path,
    *,
    title: str,
    rule: str,
    places: Places,
    heats: Sequence[Heat] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the page.

    Args:
        model: The detector.
        evaluation: What it was measured on.
        file: To write, HTML.
        title: Of the page.
        rule: By which the threshold was set.
        places: Metrics of the heat maps, by what they are of; empty without masks.
        heats: Heat map of each image, where they are known, at a size no smaller than a picture.
        progress: Called with the images explained and in all.
    """
    normals, anomalies = len(evaluation.normal), len(evaluation.anomalous)
    page = template("anomem.report", "evaluation.html").render(
        title=title,
        date=date.today().isoformat(),
        rule=rule,
        fallback=falls_back_to(rule_of(rule), model.calibration()),
        known=str(evaluation.known),
        whole=evaluation.known.whole,
        promise=model.promise(rule),
        normals=normals,
        anomalies=anomalies,
        tiles=_tiles(evaluation),
        figures=list(_figures(evaluation)),
        scores=_script_data(evaluation),
        folders=by_folder(evaluation),
        groups=_shown(model, evaluation, groups(evaluation), heats, progress),
        research=list(_research(evaluation, places)),
        resting=_resting(model, rule),
        memory=_memory(model, evaluation),
        made=list(_made(model)),
    )
    write_text(file, page)


def _tiles(evaluation: Evaluation) -> list[dict[str, str]]:
    """The figures at the head of the page, in plain words."""
    normal, anomalous = evaluation.normal, evaluation.anomalous
    misses = int((anomalous <= evaluation.threshold).sum())
    alarms = int((normal > evaluation.threshold).sum())
    return [
        {
            "name": "missed anomalies",
            "value": str(misses),
            "words": f"of {len(anomalous)} {_range(rate_interval(misses, len(anomalous)))}",
        },
        {
            "name": "false alarms",
            "value": str(alarms),
            "words": f"among {len(normal)} normal images "
            f"{_range(rate_interval(alarms, len(normal)))}",
        },
        {
            "name": "false alarms if none of these anomalies may be missed",
            "value": f"{overkill(normal, anomalous):.1%}",
            "words": f"of normal images {_range(overkill_interval(normal, anomalous))}; of further "
            f"anomalies like these 1 in {len(anomalous) + 1} is expected to be missed, up to "
            f"{escape_bound(len(anomalous)):.0%} may be",
        },
        {
            "name": "threshold",
            "value": f"{evaluation.threshold:.2f}",
            "words": "scores above it are called anomalous",
        },
    ]


def _range(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.1%}, {interval[1]:.1%}]"


def _figures(evaluation: Evaluation) -> Iterator[dict[str, str]]:
    yield {
        "svg": roc_figure(evaluation),
        "words": "Anomalies found, and the false alarms they cost (ROC curve).",
    }
    yield {
        "svg": precision_figure(evaluation),
        "words": "How many of the images called anomalous are so (precision against recall).",
    }
    yield {
        "svg": histogram_figure(evaluation),
        "words": "Scores of normal and of anomalous images.",
    }


def _research(evaluation: Evaluation, places: Places) -> Iterator[tuple[str, str]]:
    """The figures of the literature, with their 95% intervals."""
    asked = evaluation.normal, evaluation.anomalous, evaluation.threshold
    intervals = detection_intervals(*asked)
    for name, value in detection_metrics(*asked).items():
        low, high = intervals[name]
        yield name, f"{value:.3f} [{low:.3f}, {high:.3f}]"
    for of, metrics in places.items():
        for name, value in metrics.items():
            yield f"{name}, {of}", f"{value:.3f}"


def _shown(
    model: AnoMem,
    evaluation: Evaluation,
    found: list[Group],
    heats: Sequence[Heat] | None,
    progress: Callable[[int, int], None] | None,
) -> list[dict[str, Any]]:
    """The groups with the pictures of their images."""
    shown = [index for group in found for index in group.images]
    total, done = len(shown), 0
    if heats is None:
        ours = model.heat_maps(choose(evaluation.images, np.array(shown, dtype=np.int64)))
    else:
        ours = (heats[index] for index in shown)
    sections = []
    for group in found:
        cards = []
        for index in group.images:
            cards.append(_card(evaluation, index, next(ours)))
            done += 1
            if progress:
                progress(done, total)
        sections.append(
            {"title": group.title, "words": group.words, "total": group.total, "cards": cards}
        )
    return sections


def _card(evaluation: Evaluation, index: int, heat: Heat) -> dict[str, Any]:
    """One image with its pictures, as the template shows it."""
    name = evaluation.names[index]
    pictures = _pictures(name, evaluation.images[index], heat, evaluation.mask_of(index))
    return {
        "name": name,
        "label": "anomalous" if evaluation.label[index] else "normal",
        "score": float(evaluation.score[index]),
        "pictures": pictures,
    }


def _resting(model: AnoMem, rule: str) -> dict[str, Any] | None:
    """The held-out normal on which the threshold rests, with its pictures if it is still there."""
    resting = model.rests_on(rule)
    if resting is None:
        return None
    pixels = _held_out_file(model, Path(resting.name))
    pictures = []
    if pixels is not None:
        (heat,) = model.heat_maps([pixels])
        pictures = _pictures(resting.name, pixels, heat, None)
    lower = ", ".join(f"{score:.2f}" for score in resting.lower)
    return {
        "name": resting.name,
        "label": "normal",
        "score": resting.score,
        "lower": lower,
        "pictures": pictures,
    }


def _held_out_file(model: AnoMem, file: Path) -> npt.NDArray[np.uint8] | None:
    """The pixels of a file that the fit held out; None where it is not there, or another.

    What a model calls its images is not trusted: no address is opened, and no file is shown that
    the model does not know by its pixels.
    """
    if not file.is_file():
        return None
    source = FileSource([file])
    with suppress(ValueError):
        digest = measured_digests(source, model.framing_)
        if torch.isin(digest, model.bank_.held_out_digest).all():
            return source[0]
    return None


def _pictures(
    name: str, pixels: Any, heat: Heat, mask: npt.NDArray[np.bool_] | None
) -> list[dict[str, str]]:
    """An image, its heat map, both together, and its mask if there is one, as the page has them."""
    size = fitted_into(picture(pixels).size, _SIDE)
    image = coloured_pixels(pixels, size)
    small = np.asarray(Image.fromarray(heat).resize(size))
    pictures = {"image": image, "heat map": coloured(small), "overlay": overlaid(image, small)}
    if mask is not None:
        pictures["mask"] = coloured_pixels(mask * np.uint8(255), size)
    return [
        {"what": what, "alt": f"{what} of {name}", "src": data_uri(shown)}
        for what, shown in pictures.items()
    ]


def _memory(model: AnoMem, evaluation: Evaluation) -> list[dict[str, Any]]:
    """The most used prototypes of each scale, by places of normal images."""
    normals = choose(evaluation.images, np.flatnonzero(evaluation.label == 0)[:_REMEMBERED])
    frames = FrameSource(normals, model.framing_)
    return [
        {
            "title": heading(scale),
            "words": in_words(scale),
            "strips": [
                {
                    "src": data_uri(strip(scale, number, frames)),
                    "alt": alternative_text(scale, number),
                    "words": f"{scale.usage[number]:.1%} of places",
                }
                for number in most_used_first(scale)[:_PROTOTYPES]
            ],
        }
        for scale in gallery(model.network_, frames, model.framing_.shape)
    ]


def _made(model: AnoMem) -> Iterator[tuple[str, str]]:
    """How the detector came to be, and what measures it now."""
    for name, value in _flattened(model.summary_):
        yield f"training: {name}", value
    for name, value in _flattened(flat(model.config_)):
        yield f"choice: {name.replace('__', '.')}", value
    for name, value in library_versions().items():
        yield f"this page: {name}", value


def _flattened(mapping: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in mapping.items():
        if isinstance(value, dict):
            yield from ((f"{name} {inner}", text) for inner, text in _flattened(value))
        else:
            yield name, str(value)


def _script_data(evaluation: Evaluation) -> str:
    """Scores as JSON, for the page to count again at another threshold."""
    return json.dumps(
        {
            "normal": evaluation.normal.tolist(),
            "anomalous": evaluation.anomalous.tolist(),
            "threshold": evaluation.threshold,
        }
    )

"""An evaluation as one page: self-contained, for any browser, without a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.config.mapping import flat
from anomem.decision.expected_alarms import expected_alarms
from anomem.decision.scores import Heat
from anomem.decision.threshold import falls_back_to, rule_of
from anomem.detector.estimator import AnoMem
from anomem.detector.identity import known_file
from anomem.detector.nearest_places import find_prototypes, most_used_first
from anomem.evaluation.evaluate import Evaluation, Group, by_folder, groups
from anomem.evaluation.intervals import (
    Interval,
    detection_intervals,
    escape_bound,
    overkill_interval,
    rate_interval,
)
from anomem.evaluation.localisation import Localisation
from anomem.evaluation.metrics import detection_metrics, overkill
from anomem.images.combined import choose
from anomem.images.framing import FrameSource
from anomem.report.figures import histogram_figure, precision_figure, roc_figure
from anomem.report.heat import blended, coloured, resized
from anomem.report.page import template
from anomem.report.pictures import data_uri, in_colours, within
from anomem.report.prototypes import alternative_text, heading, in_words, strip
from anomem.runtime.files import write_text
from anomem.runtime.progress import Progress
from anomem.runtime.versions import library_versions

_SIDE = 320
"""Longest side of a picture on the page, in pixels; a click enlarges it."""
_PROTOTYPES = 12
"""Of each scale on the page."""
_REMEMBERED = 300
"""Normal images among which the places of prototypes are looked for."""


def write_report(
    model: AnoMem,
    evaluation: Evaluation,
    file: Path,
    *,
    title: str,
    rule: str,
    localisation: Localisation | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the page.

    Args:
        model: The detector.
        evaluation: What it was measured on.
        file: To write, HTML.
        title: Of the page.
        rule: By which the threshold was set.
        localisation: Heat maps of the images, and how well they show the masks; None without masks.
        progress: Called with the images explained and in all.
    """
    found = groups(evaluation)
    page = template("anomem.report", "evaluation.html").render(
        title=title,
        date=date.today().isoformat(),
        rule=rule,
        fallback=falls_back_to(rule_of(rule), model.calibration()),
        known=str(evaluation.known),
        whole=evaluation.known.whole,
        promise=model.promise(rule),
        alarms=expected_alarms(rule_of(rule), model.calibration(), lambda: evaluation.threshold),
        normals=len(evaluation.normal),
        anomalies=len(evaluation.anomalous),
        tiles=_tiles(evaluation),
        figures=(
            (
                roc_figure(evaluation),
                "Anomalies found, and the false alarms they cost (ROC curve).",
            ),
            (
                precision_figure(evaluation),
                "How many of the images called anomalous are so (precision against recall).",
            ),
            (histogram_figure(evaluation), "Scores of normal and of anomalous images."),
        ),
        scores={
            "normal": evaluation.normal.tolist(),
            "anomalous": evaluation.anomalous.tolist(),
            "threshold": evaluation.threshold,
        },
        folders=by_folder(evaluation),
        groups=found,
        cards=_cards(model, evaluation, found, localisation, progress),
        research=_research(evaluation, localisation),
        resting=_resting(model, rule),
        memory=_memory(model, evaluation),
        made=_made(model),
    )
    write_text(file, page)


def _tiles(evaluation: Evaluation) -> Iterator[tuple[str, str, str]]:
    """The figures at the head of the page, in plain words: name, value, what it is of."""
    normal, anomalous = evaluation.normal, evaluation.anomalous
    misses = int((anomalous <= evaluation.threshold).sum())
    alarms = int((normal > evaluation.threshold).sum())

    def shown(interval: Interval) -> str:
        return f"[{interval[0]:.1%}, {interval[1]:.1%}]"

    yield (
        "missed anomalies",
        str(misses),
        f"of {len(anomalous)} {shown(rate_interval(misses, len(anomalous)))}",
    )
    yield (
        "false alarms",
        str(alarms),
        f"among {len(normal)} normal images {shown(rate_interval(alarms, len(normal)))}",
    )
    yield (
        "false alarms if none of these anomalies may be missed",
        f"{overkill(normal, anomalous):.1%}",
        f"of normal images {shown(overkill_interval(normal, anomalous))}; of further anomalies "
        f"like these 1 in {len(anomalous) + 1} is expected to be missed, up to "
        f"{escape_bound(len(anomalous)):.0%} may be",
    )
    yield "threshold", f"{evaluation.threshold:.2f}", "scores above it are called anomalous"


def _research(
    evaluation: Evaluation, localisation: Localisation | None
) -> Iterator[tuple[str, str]]:
    """The figures of the literature, with their 95% intervals."""
    asked = evaluation.normal, evaluation.anomalous, evaluation.threshold
    intervals = detection_intervals(*asked)
    for name, value in detection_metrics(*asked).items():
        low, high = intervals[name]
        yield name, f"{value:.3f} [{low:.3f}, {high:.3f}]"
    for of, metrics in localisation.by_name.items() if localisation else ():
        for name, value in metrics.items():
            yield f"{name}, {of}", f"{value:.3f}"


def _cards(
    model: AnoMem,
    evaluation: Evaluation,
    found: list[Group],
    localisation: Localisation | None,
    progress: Progress | None,
) -> dict[int, dict[str, Any]]:
    """Each image of the groups with its pictures, as the template shows it, by its index."""
    indices = [index for group in found for index in group.images]
    if localisation is None:
        heats = model.heat_maps(choose(evaluation.images, np.array(indices, dtype=np.int64)))
    else:
        heats = (localisation.maps[index] for index in indices)
    cards = {}
    for done, (index, heat) in enumerate(zip(indices, heats, strict=True), start=1):
        name, mask = evaluation.names[index], evaluation.mask_of(index)
        cards[index] = {
            "name": name,
            "label": "anomalous" if evaluation.label[index] else "normal",
            "score": float(evaluation.score[index]),
            "pictures": _pictures(name, evaluation.images[index], heat, mask),
        }
        if progress:
            progress(done, len(indices))
    return cards


def _resting(model: AnoMem, rule: str) -> dict[str, Any] | None:
    """The held-out normal on which the threshold rests, with its pictures if it is still there."""
    resting = model.rests_on(rule)
    if resting is None:
        return None
    pixels = known_file(resting.name, model.framing_, model.bank_.held_out_digest)
    pictures = []
    if pixels is not None:
        (heat,) = model.heat_maps([pixels])
        pictures = _pictures(resting.name, pixels, heat, None)
    lower = ", ".join(f"{score:.2f}" for score in resting.lower)
    card = {"name": resting.name, "label": "normal", "score": resting.score, "pictures": pictures}
    return {**card, "lower": lower}


def _pictures(
    name: str, pixels: Any, heat: Heat, mask: npt.NDArray[np.bool_] | None
) -> list[dict[str, str]]:
    """An image, its heat map, both together, and its mask if there is one, as the page has them."""
    image = within(pixels, _SIDE)
    heat = resized(heat, image)
    pictures = {"image": image, "heat map": coloured(heat), "overlay": blended(image, heat)}
    if mask is not None:
        pictures["mask"] = in_colours(mask * np.uint8(255), (image.shape[1], image.shape[0]))
    return [
        {"what": what, "alt": f"{what} of {name}", "src": data_uri(shown)}
        for what, shown in pictures.items()
    ]


def _memory(model: AnoMem, evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """The most used prototypes of each scale, by places of normal images."""
    normals = choose(evaluation.images, np.flatnonzero(evaluation.label == 0)[:_REMEMBERED])
    frames = FrameSource(normals, model.framing_)
    for scale in find_prototypes(model.network_, frames, model.framing_.shape):
        strips = [
            {
                "src": data_uri(strip(scale, number, frames)),
                "alt": alternative_text(scale, number),
                "words": f"{scale.usage[number]:.1%} of places",
            }
            for number in most_used_first(scale)[:_PROTOTYPES]
        ]
        yield {"title": heading(scale), "words": in_words(scale), "strips": strips}


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

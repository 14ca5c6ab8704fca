"""Why an image has its score, as a picture: its odd places beside normal ones most like them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Rectangle

from anomem.decision.scores import Heat
from anomem.images.framing import Box
from anomem.images.layers import Pixels
from anomem.report.heat import blended, resized
from anomem.report.pictures import SOFTWARE, in_colours, within
from anomem.runtime.files import replacing
from anomem.runtime.printing import printable

if TYPE_CHECKING:  # it loads PyTorch
    from anomem.detector.odd_places import OddPlace

_SIDE = 480
"""Longest side of an image in the picture, in pixels."""
_MARGIN = 1.0
"""Sides of a place that are shown around it."""
_COLOUR = "#00e5ff"


def save_explanation(
    file: Path,
    title: str,
    image: Pixels,
    heat: Heat,
    places: Sequence[OddPlace],
) -> None:
    """Write the picture: image and heat map, and below them a row an odd place.

    Args:
        file: To write, PNG.
        title: Of the picture.
        image: H x W x C, as it was given.
        heat: H x W.
        places: Numbered in the picture as they come.
    """
    figure = Figure(figsize=(7.2, 3.5 + 2.5 * len(places)), layout="constrained")
    figure.suptitle(title, fontsize=11, parse_math=False)
    rows = GridSpec(1 + len(places), 6, figure, height_ratios=[3.0] + [2.2] * len(places))
    whole, hot = (_axes(figure, rows[0, part]) for part in (slice(0, 3), slice(3, 6)))
    shown = within(image, _SIDE)
    whole.imshow(shown)
    whole.set_title("the image, and where it deviates most" if places else "the image", fontsize=9)
    hot.imshow(blended(shown, resized(heat, shown)))
    hot.set_title("heat map", fontsize=9)
    for number, place in enumerate(places, start=1):
        normal = place.normal_image
        _outline(whole, place.box, shown.shape[0] / image.shape[0], str(number))
        own, other, there = (
            _axes(figure, rows[number, part]) for part in (slice(0, 2), slice(2, 4), slice(4, 6))
        )
        _close_up(own, image, place.box)
        own.set_ylabel(str(number), rotation=0, ha="right", va="center", fontsize=10)
        own.set_title(f"this place, found by {place.scale}", fontsize=9)
        other.set_title("the normal place most like it", fontsize=9)
        if normal is None or place.origin is None or place.normal_box is None:
            why = "its image is not there" if place.origin else "of an image labelled normal"
            other.text(0.5, 0.5, why, ha="center", va="center", fontsize=8)
            there.set_axis_off()
            continue
        _close_up(other, normal, place.normal_box)
        training = within(normal, _SIDE)
        there.imshow(training)
        name = printable(Path(place.origin.image).name)
        there.set_title(name, fontsize=9, parse_math=False)
        _outline(there, place.normal_box, training.shape[0] / normal.shape[0])
    # Names may hold characters that the font lacks.
    with replacing(file) as part, catch_warnings(action="ignore", category=UserWarning):
        figure.savefig(part, format="png", dpi=110, metadata={"Software": SOFTWARE})


def _axes(figure: Figure, where: Any) -> Axes:
    axes: Axes = figure.add_subplot(where, xticks=[], yticks=[])
    return axes


def _outline(axes: Axes, box: Box, scale: float, number: str = "") -> None:
    """Draw a box on an image that is shown at a scale, with a number beside it."""
    left, top = scale * box.left - 0.5, scale * box.top - 0.5
    size = (scale * box.width, scale * box.height)
    axes.add_patch(Rectangle((left, top), *size, fill=False, edgecolor=_COLOUR, linewidth=1.5))
    axes.text(left, top, number, color=_COLOUR, fontsize=9, ha="right", va="bottom")


def _close_up(axes: Axes, pixels: Pixels, box: Box) -> None:
    """Show a place with what lies around it, outlined."""
    more_rows, more_columns = (round(_MARGIN * side) for side in (box.height, box.width))
    top, left = max(box.top - more_rows, 0), max(box.left - more_columns, 0)
    bottom, right = box.top + box.height + more_rows, box.left + box.width + more_columns
    axes.imshow(in_colours(pixels[top:bottom, left:right]))
    _outline(axes, Box(box.top - top, box.left - left, box.height, box.width), 1.0)

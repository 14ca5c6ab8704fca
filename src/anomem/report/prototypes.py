"""The prototypes of a memory as a page to browse, and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from anomem.bulk.score_table import write_table
from anomem.detector.explain import Explanation
from anomem.detector.nearest_places import ScalePrototypes, most_used_first, patch_of
from anomem.images.framing import cut
from anomem.images.layers import Pixels
from anomem.images.open import only_image
from anomem.images.source import ImageSource
from anomem.report.page import template
from anomem.report.pictures import Colours, in_colours, picture
from anomem.runtime.files import replacing, write_text
from anomem.runtime.printing import path_as_text

_SIDE = 48
"""Pixels of a patch on the page."""
_SHOWN = 200
"""Prototypes of a scale on the page, and as many of those that no place recalls."""


@dataclass(frozen=True)
class Recalled:
    """Names an image to show beside what the memory recalls in its place.

    Attributes:
        title: Of the image.
        image: The frame that has the score, H x W x C.
        explanation: Of the image.
    """

    title: str
    image: Pixels
    explanation: Explanation

    @staticmethod
    def of(path: Path, explanation: Explanation) -> Recalled:
        """Take an image file and its explanation."""
        return Recalled(str(path), cut(only_image(path)[0], explanation.frame), explanation)


def write_prototypes(
    scales: Sequence[ScalePrototypes],
    source: ImageSource,
    folder: Path,
    *,
    title: str,
    explained: Sequence[Recalled] = (),
) -> Path:
    """Write ``index.html`` with its pictures, and ``prototypes.csv``, a row a nearest place.

    Args:
        scales: Of the memory.
        source: The frames that they were made of.
        folder: Made where it is missing.
        title: Of the model.
        explained: Images to show beside what is recalled.

    Returns:
        The page.
    """
    write_table(_table(scales, source), folder / "prototypes.csv")
    sections = []
    for scale in scales:
        order = most_used_first(scale)
        in_use = len(order) - scale.dead
        used, dead = (
            [_card(scale, number, source, folder) for number in some[:_SHOWN]]
            for some in (order[:in_use], order[in_use:])
        )
        sections.append({"scale": scale, "cards": used, "dead": dead})
    shown = [
        {"of": one, "pictures": _recalled(one, scales, source, folder, f"pictures/image-{number}")}
        for number, one in enumerate(explained)
    ]
    page = folder / "index.html"
    text = template("anomem.report", "prototypes.html").render(
        title=title,
        images=len(source),
        sections=sections,
        explained=shown,
        heading=heading,
        in_words=in_words,
    )
    write_text(page, text)
    return page


def strip(scale: ScalePrototypes, number: int, source: ImageSource) -> Colours:
    """Lay the places that a prototype stands for side by side, H x W x 3."""
    patches = [patch_of(source[place.image], place, scale.grid) for place in scale.nearest[number]]
    return np.concatenate([in_colours(patch, (_SIDE, _SIDE)) for patch in patches], axis=1)


def alternative_text(scale: ScalePrototypes, number: int) -> str:
    """Say in words what a strip shows."""
    return f"{len(scale.nearest[number])} places of normal images most like prototype {number}"


def heading(scale: ScalePrototypes) -> str:
    """Say what a scale is called on a page."""
    return scale.name.replace("_", " ").capitalize()


def in_words(scale: ScalePrototypes) -> str:
    """Say how much of a memory is in use."""
    size = len(scale.usage)
    shown = f" The page shows the {_SHOWN} most recalled." if size - scale.dead > _SHOWN else ""
    return (
        f"{size - scale.dead} of {size} prototypes are recalled most by some place; their shares "
        f"are those of {scale.in_use:.0f} that are used alike.{shown}"
    )


def patchwork(
    recalled: npt.NDArray[np.int64],
    scale: ScalePrototypes,
    source: ImageSource,
    size: Sequence[int],
) -> Colours:
    """Draw an image as it should have looked: at each place what is most like what is recalled.

    Args:
        recalled: Number of a prototype at each place, H_s x W_s.
        scale: Of the prototypes of the same memory.
        source: The frames that they were found in.
        size: Height and width wanted.

    Returns:
        H x W x 3 uint8.
    """
    rows, columns = (
        np.linspace(0, side, cells + 1).round().astype(int)
        for side, cells in zip(size, recalled.shape, strict=True)
    )
    result = np.zeros((*size, 3), dtype=np.uint8)
    for (row, column), number in np.ndenumerate(recalled):
        place = scale.nearest[int(number)][0]
        cell = patch_of(source[place.image], place, scale.grid, context=0.0)
        inside = result[rows[row] : rows[row + 1], columns[column] : columns[column + 1]]
        if inside.size:
            inside[:] = in_colours(cell, (inside.shape[1], inside.shape[0]))
    return result


def _table(scales: Sequence[ScalePrototypes], source: ImageSource) -> pa.Table:
    rows = [
        {
            "scale": scale.name,
            "prototype": number,
            "usage": scale.usage[number],
            "weight": scale.weight[number],
            "rank": rank + 1,
            "cosine": scale.cosine[number, rank],
            "image": path_as_text(source.names[place.image]),
            "row": place.row,
            "column": place.column,
        }
        for scale in scales
        for number in most_used_first(scale)
        for rank, place in enumerate(scale.nearest[number])
    ]
    return pa.Table.from_pylist(rows)


def _card(scale: ScalePrototypes, number: int, source: ImageSource, folder: Path) -> dict[str, Any]:
    """What the page shows of a prototype; its picture is written."""
    return {
        "file": _write(strip(scale, number, source), folder, f"pictures/{scale.name}/{number:04}"),
        "alt": alternative_text(scale, number),
        "number": number,
        "usage": f"{100 * scale.usage[number]:.2g}%",
        "width": round(100 * scale.usage[number] / scale.usage.max(), 1),
        "cosine": f"{scale.cosine[number].max():.2f}",
    }


def _recalled(
    one: Recalled, scales: Sequence[ScalePrototypes], source: ImageSource, folder: Path, name: str
) -> list[tuple[str, str]]:
    """File and caption of an image and of what each scale recalls; the files are written."""
    shown = [(_write(one.image, folder, f"{name}/0"), "the image")]
    for number, scale in enumerate(scales, start=1):
        recalled = one.explanation.recalled[scale.name]
        pixels = patchwork(recalled, scale, source, one.image.shape[:2])
        caption = f"as recalled at {scale.name.replace('_', ' ')}"
        shown.append((_write(pixels, folder, f"{name}/{number}"), caption))
    return shown


def _write(pixels: Pixels, folder: Path, name: str) -> str:
    """Write a picture; where it is, seen from the page."""
    file = f"{name}.png"
    with replacing(folder / file) as part:
        picture(pixels).save(part, format="png")
    return file

"""Heat maps as pictures: one image on its own, or a table of input, heat map and mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from anomem.decision.scores import Heat
from anomem.report.pictures import SOFTWARE, Colours
from anomem.runtime.files import replacing

_COLOURS = colormaps["inferno"]
_RANGE = Normalize(vmin=0, vmax=6, clip=True)
"""Heat is in standard deviations of normals: from their mean to six above it."""
_MOST_COVERED = 0.75
"""Of the image below the hottest place of an overlay."""
_STRIP = 256
"""Rows that are overlaid at a time, so that large photographs take no multiple of their size."""


@dataclass(frozen=True)
class Row:
    """Holds one image of the table.

    Attributes:
        title: Kind and score.
        image: H x W or H x W x 3, uint8.
        heat: H x W, as ``Explanation.heat``.
        mask: H x W bool, where the anomaly is.
    """

    title: str
    image: npt.NDArray[np.uint8]
    heat: Heat
    mask: npt.NDArray[np.bool_]


def is_ours(file: Path) -> bool:
    """Tell whether a file is a picture that says that it was written here."""
    try:
        with Image.open(file) as picture:
            return picture.info.get("Software") == SOFTWARE
    except (OSError, ValueError, Image.DecompressionBombError):
        return False


def save_heat(heat: Heat, file: Path, image: Colours | None = None) -> None:
    """Write a heat map as a PNG of the same size.

    Args:
        heat: H x W.
        file: To write.
        image: H x W x 3, which it is laid over; None where it is shown alone.
    """
    about = PngInfo()
    about.add_text("Software", SOFTWARE)
    shown = coloured(heat) if image is None else blended(image, heat)
    with replacing(file) as part:
        Image.fromarray(shown).save(part, format="png", pnginfo=about)


def coloured(heat: Heat) -> Colours:
    """Colour a heat map H x W, H x W x 3."""
    return np.asarray(_COLOURS(_RANGE(heat), bytes=True))[..., :3]


def layer(heat: Heat) -> Colours:
    """Colour a heat map, H x W x 4, to be laid over its image: the hotter, the less shows."""
    cover = np.asarray(255 * _RANGE(heat), np.uint8)
    return np.dstack([coloured(heat), cover])


def blended(image: Colours, heat: Heat) -> Colours:
    """Lay a heat map H x W over its image H x W x 3: the hotter, the less of the image shows."""
    shown = np.empty_like(image)
    for start in range(0, len(image), _STRIP):
        rows = slice(start, start + _STRIP)
        share = _MOST_COVERED * np.asarray(_RANGE(heat[rows]), np.float32)[..., None]
        shown[rows] = (1 - share) * image[rows] + share * coloured(heat[rows])
    return shown


def resized(heat: Heat, image: Colours) -> Heat:
    """Bring a heat map to the size of a picture."""
    return np.asarray(Image.fromarray(heat).resize((image.shape[1], image.shape[0])))


def save_table(rows: Sequence[Row], file: Path, title: str) -> None:
    """Write a picture with a row an image: input, heat map, mask."""
    figure = Figure(figsize=(6.4, 1.55 * len(rows) + 0.9), layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid: Any = figure.subplots(
        len(rows), 3, squeeze=False, subplot_kw={"xticks": [], "yticks": []}
    )
    for axes, row in zip(grid, rows, strict=True):
        axes[0].imshow(row.image, cmap="gray", vmin=0, vmax=255)
        shown = axes[1].imshow(row.heat, cmap=_COLOURS, norm=_RANGE)
        axes[2].imshow(row.mask, cmap="gray", vmin=0, vmax=1)
        axes[0].set_ylabel(row.title, rotation=0, ha="right", va="center", fontsize=9)
    for axis, name in zip(grid[0], ("input", "heat map", "mask"), strict=True):
        axis.set_title(name, fontsize=10)
    figure.colorbar(
        shown,
        ax=grid[:, 1].tolist(),
        location="bottom",
        shrink=0.9,
        aspect=12,
        label="standard deviations of normals",
        ticks=[0, 2, 4, 6],
        format="%g",
    )
    with replacing(file) as part:
        figure.savefig(part, format="png", dpi=110)

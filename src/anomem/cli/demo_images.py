"""The images of the demo: crops of real photographs, normal and with three kinds of anomaly.

Everything is cut from the photographs `brick`, `grass` and `gravel` that scikit-image ships, so
the demo needs no network. No anomaly is a turned image or a patch of the same photograph: those
are pseudo-anomalies of training, and a test on them would only show what was trained.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from skimage import data

from anomem.evaluation.metrics import auroc

SIZE = 32
"""Side of a crop, in pixels."""

_TRAIN, _EACH_KIND = 176, 60
_THUMBNAIL = 8
_MARGIN = 8

_Images = NDArray[np.uint8]
_Reals = NDArray[np.float64]


@dataclass(frozen=True)
class DemoImages:
    """Holds the images of the demo: N x 32 x 32, uint8.

    Attributes:
        train: Normal crops to learn from.
        normal: Normal crops to test on; no two crops of either share a pixel.
        anomalies: Anomalous crops to test on, by kind: "object", "style" and "local".
        masks: Where each anomaly is: the keys and shapes of ``anomalies``, bool.
    """

    train: _Images
    normal: _Images
    anomalies: dict[str, _Images]
    masks: dict[str, NDArray[np.bool_]]


def demo_images(seed: int = 0) -> DemoImages:
    """Cut the images of the demo.

    The photograph of bricks is cut once into squares that share no pixel, and these are dealt at
    random. So test normals and those held out of the training are alike in all, also in sharing
    nothing with what is trained on, and the promised rate of false alarms is kept: overlapping
    crops would make held-out normals look more usual than any new one.

    The kinds are other textures (object), bricks as a faulty camera or process would show them
    (style), and bricks with a small patch of another texture (local); bricks are those of the test.

    Args:
        seed: The same seed gives the same images.
    """
    rng = np.random.default_rng(seed)
    brick, *textures = (data.brick(), data.grass(), data.gravel())
    cells = rng.permutation(_cells(brick))
    train, normal = cells[:_TRAIN], cells[_TRAIN:]
    to_style, to_patch = (rng.permutation(normal)[:_EACH_KIND] for _ in range(2))
    foreign = [_matched(image, brick) for image in textures]
    objects, fillings = (
        np.concatenate([_crops(image, _EACH_KIND // len(foreign), rng) for image in foreign])
        for _ in range(2)
    )
    styled = [_STYLES[i % len(_STYLES)](crop, rng) for i, crop in enumerate(to_style)]
    patches = np.stack([_patch(rng) for _ in to_patch])
    patched = [_blend(*parts) for parts in zip(to_patch, fillings, patches, strict=True)]

    anomalies = {"object": objects, "style": np.stack(styled), "local": np.stack(patched)}
    whole = np.ones(objects.shape, dtype=bool)
    masks = {"object": whole, "style": whole.copy(), "local": patches > 0}
    return DemoImages(train, normal, anomalies, masks)


def thumbnail_auroc(demo: DemoImages) -> dict[str, float]:
    """Tell how far the demo is solved without learning, by thumbnails alone.

    The score is the Euclidean distance to the nearest training crop on area-averaged 8 x 8
    thumbnails. Near 1, a kind is too easy to tell anything about a detector; 0.5 is chance.

    Returns:
        AUROC in [0, 1] of each kind against the normal test crops.
    """
    train = _thumbnails(demo.train)
    normal = cdist(_thumbnails(demo.normal), train).min(axis=1)
    distances = {k: cdist(_thumbnails(x), train).min(axis=1) for k, x in demo.anomalies.items()}
    return {kind: auroc(normal, anomalous) for kind, anomalous in distances.items()}


def _thumbnails(images: _Images) -> _Reals:
    cell = SIZE // _THUMBNAIL
    cells = images.reshape(len(images), _THUMBNAIL, cell, _THUMBNAIL, cell)
    means: _Reals = cells.mean(axis=(2, 4)).reshape(len(images), -1)
    return means


def _cells(photograph: _Images) -> _Images:
    """The squares that a photograph is cut into."""
    rows, columns = (side // SIZE for side in photograph.shape)
    cut = photograph[: rows * SIZE, : columns * SIZE].reshape(rows, SIZE, columns, SIZE)
    return cut.swapaxes(1, 2).reshape(-1, SIZE, SIZE)


def _crops(photograph: _Images, count: int, rng: np.random.Generator) -> _Images:
    """Crops from anywhere; they may overlap one another."""
    tops, lefts = (rng.integers(side - SIZE + 1, size=count) for side in photograph.shape)
    return np.stack(
        [
            photograph[top : top + SIZE, left : left + SIZE]
            for top, left in zip(tops, lefts, strict=True)
        ]
    )


def _matched(image: _Images, target: _Images) -> _Images:
    """Gives an image the mean and standard deviation of another, so brightness tells nothing."""
    return _uint8((image - image.mean()) / image.std() * target.std() + target.mean())


def _patch(rng: np.random.Generator) -> _Reals:
    """Draws how much of each pixel an irregular blob of about 7 to 13 pixels covers, in [0, 1]."""
    rows, columns = np.mgrid[:SIZE, :SIZE] - rng.uniform(_MARGIN, SIZE - _MARGIN, size=(2, 1, 1))
    angle = np.arctan2(rows, columns)
    outline = rng.uniform(4, 5.5) + sum(
        rng.uniform(0, 1.4 / waves) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
        for waves in (2, 3, 5)
    )
    cover: _Reals = np.clip(outline - np.hypot(rows, columns), 0, 1)
    return cover


def _blend(crop: _Images, filling: _Images, patch: _Reals) -> _Images:
    """Fills a patch of the crop, at the mean of what it covers but with its own contrast.

    So brightness alone does not give the patch away, and on smooth brick it is still to be seen.
    """
    covered = patch > 0
    level = crop[covered].mean() - filling[covered].mean()
    return _uint8(crop + patch * (filling + level - crop))


def _defocused(crop: _Images, rng: np.random.Generator) -> _Images:
    return _uint8(gaussian_filter(crop.astype(float), rng.uniform(1.5, 2.0)))


def _underexposed(crop: _Images, rng: np.random.Generator) -> _Images:
    """Adds the shot noise of a camera that had too little light: it grows with brightness."""
    photons = rng.uniform(50, 90)
    return _uint8(rng.poisson(crop / 255 * photons) * 255 / photons)


def _overcompressed(crop: _Images, rng: np.random.Generator) -> _Images:
    file = io.BytesIO()
    Image.fromarray(crop).save(file, format="JPEG", quality=int(rng.integers(5, 11)))
    return np.asarray(Image.open(file), dtype=np.uint8)


def _flattened(crop: _Images, rng: np.random.Generator) -> _Images:
    return _uint8(crop.mean() + rng.uniform(0.3, 0.45) * (crop - crop.mean()))


def _oversharpened(crop: _Images, rng: np.random.Generator) -> _Images:
    blurred = gaussian_filter(crop.astype(float), 1.5)
    return _uint8(crop + rng.uniform(1.5, 2.2) * (crop - blurred))


def _uint8(image: _Reals) -> _Images:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


_STYLES: tuple[Callable[[_Images, np.random.Generator], _Images], ...] = (
    _defocused,
    _underexposed,
    _overcompressed,
    _flattened,
    _oversharpened,
)

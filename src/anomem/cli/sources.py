"""Where a command finds its images: folders, files, patterns, URLs, or a manifest of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anomem.runtime.printing import counted, tell

if TYPE_CHECKING:
    from anomem.images.source import ImageSource


def opened(
    given: str | Sequence[str],
    label: int | None = None,
    split: str | None = None,
    *,
    fps: float | None = None,
) -> ImageSource:
    """Open the images that a command is given.

    Args:
        given: Paths and URLs, or the path of one manifest.
        label: Of a manifest's images those are meant: 0 normal, 1 anomalous; None is all.
        split: As of :meth:`~anomem.labelling.manifest.Manifest.images`.
        fps: As of :func:`~anomem.images.open.open_images`.

    Raises:
        ValueError: A manifest stands among other paths, or what is given cannot be opened.
    """
    from anomem.images.open import open_images
    from anomem.labelling.manifest import ANSWERS, Manifest, is_manifest

    paths = [given] if isinstance(given, str) else given
    manifest = next(filter(is_manifest, paths), None)
    if manifest is None:
        return open_images(paths, fps=fps)
    if len(paths) > 1:
        raise ValueError(f"{manifest} is a list of images; give it alone.")
    read = Manifest.read(manifest)
    images = read.images(label, split)
    which = f" {ANSWERS[label]}" if label is not None and read.labelled else ""
    of = f", split {split.lower()}" if split and read.splits else ""
    tell(f"{manifest}: {len(images)}{which} of {counted(len(read.rows), 'image')}{of}")
    return open_images(images, fps=fps)

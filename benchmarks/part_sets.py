"""Sets of parts and scans as frames: what is normal, what is tested, what is a copy, and where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anomem.config.mapping import changed
from anomem.config.presets import resolve
from anomem.detector.frame import choose_framing, typical_part
from anomem.detector.identity import image_digests
from anomem.images.framing import Framing
from anomem.images.image_set import evenly
from anomem.images.masks import mask_files, read_mask
from anomem.images.prepare import prepare_frames
from anomem.images.resize import ImageShape, to_shape
from anomem.images.source import ImageSource
from anomem_bench.datasets import called_of
from anomem_bench.datasets.parts import NORMAL, Part
from anomem_bench.split import Caps
from draws import train_and_test
from frozen import Pixels

_ANOMALOUS = {"elpv": ("defective",)}
"""Classes that are tested as anomalous, of sets with doubtful ones between them and the normal."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PartSet:
    """M training normals and N tested images, all as frames of one shape.

    Attributes:
        name: Of the set, with the normal class where classes are normal in turn.
        kinds: Of the normals, then of each kind of anomaly.
        names: Of the N tested images, within the folder of the set where it is one.
        kind: (N,) the kind of each, a position in ``kinds``.
        normals: (M, H, W, C).
        tested: (N, H, W, C).
        digest: (N,) int64, of the pixels of each tested frame.
        copy: (N,) whether a training normal has the same pixels.
        masks: Where each tested image is anomalous, H x W; None where that is not known.
    """

    name: str
    kinds: tuple[str, ...]
    names: list[str]
    kind: npt.NDArray[np.int64]
    normals: Pixels
    tested: Pixels
    digest: npt.NDArray[np.int64]
    copy: Flags
    masks: list[Flags] | None

    @property
    def anomalous(self) -> Flags:
        """Which of the tested images are, (N,)."""
        return self.kind > 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        height, width = self.normals.shape[1:3]
        return height, width

    @property
    def channels(self) -> int:
        """Of the frames."""
        return int(self.normals.shape[3])


def part_sets(
    data: str, size: int | tuple[int, int], caps: Caps, most_classes: int
) -> Iterator[PartSet]:
    """The sets of a data set: one, or one for each class that is normal in turn.

    Args:
        data: NAME:PATH or NAME of a data set of the bench; or a folder in the layout of MVTec AD.
        size: Of the frames, as ``images.size`` of a detector.
        caps: Most images; which ones is the same in every call.
        most_classes: Where no class is the normal one, so many of them are in turn, evenly spaced.
    """
    name, _, place = data.partition(":")
    if not place and Path(name).is_dir():
        name, place = "mvtec_ad", name
    path = Path(place) if place else None
    train, test = train_and_test(name, path)
    called, classes = called_of(name, path), test.classes
    if classes[0] in NORMAL:
        kinds = (classes[0], *_ANOMALOUS.get(name, classes[1:]))
        yield _part_set(called, kinds, (train, test), size, caps, path)
        return
    for place_of_normal in evenly(len(classes), most_classes).tolist():
        normal = classes[place_of_normal]
        kinds = (normal, *(kind for kind in classes if kind != normal))
        yield _part_set(f"{called}, {normal}", kinds, (train, test), size, caps, path)


def _part_set(
    name: str,
    kinds: tuple[str, ...],
    parts: tuple[Part, Part],
    size: int | tuple[int, int],
    caps: Caps,
    path: Path | None,
) -> PartSet:
    train, test = parts
    order = np.random.default_rng(0).permutation(train.of([kinds[0]]))
    normals = train.choose(np.sort(order[: caps.normals])).images
    chosen = [caps.some(test.of([kind])) for kind in kinds]
    kind = np.repeat(np.arange(len(kinds)), [len(each) for each in chosen])
    tested = test.choose(np.concatenate(chosen)).images
    config = changed(resolve("pretrained"), {"images__size": size})
    framing = choose_framing(config, typical_part(normals, None), None)
    learnt, known = _frames(normals, framing)
    seen, digest = _frames(tested, framing)
    return PartSet(
        name=name,
        kinds=kinds,
        names=[_within(image, path) for image in tested.names],
        kind=kind,
        normals=learnt,
        tested=seen,
        digest=digest,
        copy=np.isin(digest, known),
        masks=None if path is None else _masks(tested.names, kind > 0, path, framing.shape),
    )


def _within(image: str, path: Path | None) -> str:
    """The path of an image from the folder of its set on."""
    if path is None or not Path(image).is_relative_to(path):
        return image
    return Path(image).relative_to(path).as_posix()


def _frames(source: ImageSource, framing: Framing) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """All images of a source as frames (N, H, W, C), and the digest of each."""
    prepared = prepare_frames(source, framing)
    frames: Pixels = prepared.frames.images.permute(0, 2, 3, 1).contiguous().numpy()
    return frames, image_digests(prepared.frames, prepared.image).numpy()


def _masks(
    names: Sequence[str], anomalous: Flags, path: Path, shape: ImageShape
) -> list[Flags] | None:
    """The mask of each image at the size of the frames, nothing of a normal one."""
    folder = path / "ground_truth"
    if not folder.is_dir():
        return None
    odd = np.flatnonzero(anomalous).tolist()
    files = mask_files([Path(names[index]) for index in odd], path / "test", folder)
    masks = [np.zeros((shape.height, shape.width), dtype=bool) for _ in names]
    grey = ImageShape(1, shape.height, shape.width)
    for index, file in zip(odd, files, strict=True):
        marked = read_mask(file).astype(np.uint8)[..., None] * 255
        masks[index] = to_shape(marked, grey)[0] >= 128
    return masks

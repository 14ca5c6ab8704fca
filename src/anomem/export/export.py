"""An export, from a detector and normal images to a folder that is proved to decide alike."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image

from anomem.decision.calibrate import p_values
from anomem.detector.estimator import AnoMem
from anomem.export.eight_bits import change, quantise
from anomem.export.graph import DetectorGraph, heat_of_mask, hottest
from anomem.export.trace import write_graph
from anomem.export.triton import config_text
from anomem.exported.detector import ExportedDetector
from anomem.exported.folder import FILES, GOLDEN, GRAPH, TRITON, Exported, is_exported, write
from anomem.exported.golden import Golden, agreement, highest_of, told_by, write_golden
from anomem.images.combined import choose
from anomem.images.framing import Framing, boxes
from anomem.images.image_set import evenly, tensor_of, to_float
from anomem.images.layers import Pixels
from anomem.images.open import open_images
from anomem.images.read import ReadFrames, read as read_frames
from anomem.images.source import ImageSource
from anomem.runtime.files import replacing_folder, write_bytes, write_text
from anomem.training.draws import Chance, seeded
from anomem.training.pseudo import patched

_NORMALS = 128
"""Of the given normals, the most that are looked at,"""
_NUMBERS = 2**26
"""and in their frames, the most numbers: of 128 images in tiles there may be many thousand."""
_GOLDEN = 16
"""Golden images: half of them normals, half altered ones."""


@dataclass(frozen=True)
class Wanted:
    """Says what an export is to be.

    Attributes:
        rule: By which the graph decides, as :meth:`anomem.AnoMem.threshold` takes it.
        int8: Quantise the convolutions.
        anomalies: Images by which to measure what that costs; None for none.
        made_of: The saved model, as the folder names it.
    """

    rule: str = "0.05"
    int8: bool = False
    anomalies: ImageSource | None = None
    made_of: str = ""


def export(model: AnoMem, normals: ImageSource, out: Path, wanted: Wanted) -> dict[str, Any]:
    """Write a folder that scores without PyTorch, once it has been seen to score alike.

    Sixteen golden images are made of the normals, half of them with a patch pasted in. They are
    scored by the model and, from the files of the folder, by the graph.

    Args:
        model: Fitted.
        normals: Normal images, at least one; best such as the model has not seen.
        out: Folder to write; an older export there is replaced.
        wanted: What it is to be.

    Returns:
        What was measured, as ``export.json`` keeps it.

    Raises:
        ModelError: A golden image is scored or decided otherwise; nothing is written.
        ValueError: An image cannot be read, or ``out`` holds something else.
        WriteError: The folder cannot be written.
        ModuleNotFoundError: A package of the extra ``export`` is missing.
    """
    _refuse_others(out)
    framing, some = model.framing_, _some(normals, model.framing_)
    seen = _read(some, framing)
    graph = DetectorGraph(model.detector(), model.calibration(), model.threshold(wanted.rule))
    frames = tensor_of(seen.images)
    graph.mask_heat = heat_of_mask(highest_of(hottest(graph, frames), seen.image))
    measured: dict[str, Any] = {"mask_heat": graph.mask_heat, "normals": len(some)}
    with replacing_folder(out) as folder:
        (folder / GOLDEN).mkdir()
        files = _write_images(some, framing, folder / GOLDEN)
        golden = _expected(model, graph, files)
        write_graph(graph, torch.cat([frames, frames])[:2], folder / GRAPH)
        describe = _describing(model, graph, wanted, seen.images.dtype)
        write(describe(measured), folder)
        exact = ExportedDetector(folder)
        made_of = [some.names[number // 2 % len(some)] for number in range(_GOLDEN)]
        altered = [f"{name}{', altered' * (at % 2)}" for at, name in enumerate(made_of)]
        measured["golden"] = agreement(golden, told_by(exact, golden), altered).as_json()
        if wanted.int8:
            quantise(folder / GRAPH, [part.numpy() for part in frames.split(1)])
            write(describe(measured), folder)
            eight = ExportedDetector(folder)
            measured["int8"] = change(exact, eight, some, wanted.anomalies)
            golden = told_by(eight, golden)
        write_golden(golden, folder)
        exported = describe(measured)
        write(exported, folder)
        write_text(folder / TRITON, config_text(exported))
    return measured


def _refuse_others(out: Path) -> None:
    """Refuse to replace what is no export, or holds more than one: a table of scores, say."""
    if not out.is_dir():
        if out.exists():
            raise ValueError(f"{out} is a file; give a folder.")
        return
    for file in sorted(out.iterdir()):
        if file.name not in FILES or not is_exported(out):
            raise ValueError(f"{file} is of no export and would be lost; give another folder.")


def _some(normals: ImageSource, framing: Framing) -> ImageSource:
    """As many of the normals, evenly spaced, as are looked at in bounded time and memory."""
    shape = framing.shape
    frames = len(boxes(normals[0].shape[:2], framing))
    numbers = frames * shape.channels * shape.height * shape.width
    most = min(_NORMALS, max(_NUMBERS // numbers, 1))
    return choose(normals, evenly(len(normals), most).numpy())


def _read(source: ImageSource, framing: Framing) -> ReadFrames:
    """Frames of images of which all can be read."""
    read = read_frames(source, range(len(source)), framing)
    if read.errors:
        raise next(iter(read.errors.values()))
    return read


def _write_images(normals: ImageSource, framing: Framing, folder: Path) -> list[Path]:
    """Write golden images in files that keep every pixel: normals, and the same altered."""
    files = []
    for number in range(_GOLDEN):
        pixels = _of_moderate_size(normals[number // 2 % len(normals)], framing)
        if number % 2:
            pixels = _altered(pixels, number)
        grey = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        content = io.BytesIO()
        if pixels.dtype == np.uint8:
            Image.fromarray(grey).save(content, "png")
        else:  # of 16-bit colour Pillow writes none
            tifffile.imwrite(content, grey)
        name = f"{number:02}.{'png' if pixels.dtype == np.uint8 else 'tif'}"
        files.append(folder / name)
        write_bytes(files[-1], content.getvalue())
    return files


def _of_moderate_size(pixels: Pixels, framing: Framing) -> Pixels:
    """An image of four tiles, or of every so many-th pixel and still twice the frame."""
    height, width = 2 * framing.shape.height, 2 * framing.shape.width
    if framing.cuts:
        return pixels[:height, :width]
    step = max(1, min(pixels.shape[0] // height, pixels.shape[1] // width))
    return pixels[::step, ::step]


def _altered(pixels: Pixels, seed: int) -> Pixels:
    """The image with a patch of itself pasted in."""
    image = to_float(tensor_of(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None])
    changed, _ = patched(image, Chance(seeded(0, seed)))
    scaled = changed[0].permute(1, 2, 0).numpy() * np.iinfo(pixels.dtype).max
    return scaled.round().astype(pixels.dtype)


def _expected(model: AnoMem, graph: DetectorGraph, files: list[Path]) -> Golden:
    """What the model itself tells of golden images."""
    source = open_images(files)
    score, calibration = model.decision_function(source).astype(np.float64), model.calibration()
    read = _read(source, model.framing_)
    return Golden(
        tuple(file.name for file in files),
        score,
        score.astype(np.float32) > np.float32(graph.threshold),
        p_values(score, calibration),
        highest_of(hottest(graph, tensor_of(read.images)), read.image),
        max(float(calibration.scores.std()), 1e-6),
    )


def _describing(
    model: AnoMem, graph: DetectorGraph, wanted: Wanted, dtype: np.dtype[Any]
) -> Callable[[dict[str, Any]], Exported]:
    """What the folder says of itself, once it is measured."""
    names = model.held_out_names()
    unseen, learnt = model.unseen_anomalies(), model.labelled_anomalies()[1]

    def describe(measured: dict[str, Any]) -> Exported:
        return Exported(
            framing=model.framing_,
            dtype="uint16" if dtype == np.uint16 else "uint8",
            scales=len(model.scorer_.lambdas),
            rule=wanted.rule,
            threshold=graph.threshold,
            calibration=model.calibration(),
            held_out=tuple(names),
            unseen_anomalies=unseen,
            learnt=learnt,
            made_of=wanted.made_of,
            config=asdict(model.config_),
            summary=model.summary_,
            measured=measured,
        )

    return describe

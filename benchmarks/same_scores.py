"""Whether a change of the code left every score as it was, to the bit.

    python benchmarks/same_scores.py write BEFORE.npz    # in the checkout before the change
    python benchmarks/same_scores.py compare BEFORE.npz  # in the one after it, same machine

Detectors are fitted on scikit-learn's digits and on crops of scikit-image's photographs: the
presets, the framings, a region, 16 bits, a stream of files, labels at both depths, a further kind
of normal, and the peers of the bench. Scores, p-values, thresholds, heat maps and explanations are
compared bit for bit, with one thread.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import skimage.data
import torch
from PIL import Image
from sklearn.datasets import load_digits

from anomem import AnoMem, Config
from anomem.detector.estimator import load_trained
from anomem_bench.peers import csi, deepsad, elsa, mhrot, neighbours, simclr, supervised

Figures = dict[str, npt.NDArray[Any]]


def digits(digit: int) -> npt.NDArray[np.uint8]:
    """Images of a digit, N x 16 x 16."""
    pixels, digits = load_digits(return_X_y=True)
    small = (pixels.reshape(-1, 8, 8)[digits == digit] * (255 / 16)).astype(np.uint8)
    return small.repeat(2, axis=1).repeat(2, axis=2)


def crops(photograph: npt.NDArray[np.uint8], side: int, most: int) -> npt.NDArray[np.uint8]:
    """Squares of a photograph that share no pixel."""
    height, width = (n // side * side for n in photograph.shape[:2])
    tiles = photograph[:height, :width].reshape(height // side, side, width // side, side, -1)
    return tiles.swapaxes(1, 2).reshape(-1, side, side, tiles.shape[-1])[:most]


def shortened(name: str, steps: int) -> Config:
    """A preset that ends after a few steps."""
    config = AnoMem(name).set_params(
        config__stage1__min_steps=steps, config__stage1__max_steps=steps
    )
    assert isinstance(config.config, Config)
    return config.config


def told(model: AnoMem, images: Any, name: str) -> Figures:
    """All that a detector says of some images."""
    explained = model.explain(images[0])
    return {
        f"{name}/score": model.decision_function(images),
        f"{name}/p": model.p_value(images),
        f"{name}/threshold": np.array(model.threshold(0.1)),
        f"{name}/heat": np.stack(list(model.heat_maps(images[:6]))),
        f"{name}/explained": np.concatenate(
            [
                np.array([explained.score, explained.rest]),
                *(each.ravel() for each in explained.maps.values()),
                *(each.ravel() for each in explained.attribution.values()),
                *(each.ravel() for each in explained.recalled.values()),
                explained.heat.ravel(),
            ]
        ),
    }


def whole_life() -> Iterator[Figures]:
    """One detector from its fit to a model of two kinds of normal with labels."""
    zeros, ones, sevens = digits(0), digits(1), digits(7)
    images = np.concatenate([zeros[120:140], sevens[:20]])
    model = AnoMem(shortened("scratch", 40)).fit(zeros[:120])
    yield told(model, images, "fitted")
    labelled = np.concatenate([sevens[20:28], zeros[140:143]])
    model.adapt(labelled, np.array([1] * 8 + [0] * 3))
    yield told(model, images, "adapted")
    rules = ["f1", "find-labelled", "cost:50:0.01"]
    yield {"rules": np.array([model.threshold(rule) for rule in rules])}
    model.adapt(labelled, np.array([1] * 8 + [0] * 3), depth="encoder", normal=zeros[:130])
    yield told(model, images, "encoder")
    yield told(model.forget(sevens[20:22]), images, "forgotten")
    yield told(model.extend(ones[:60]), images, "extended")
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "model"))
        yield told(load_trained(Path(folder, "model")), images, "loaded")
    with_anomalies = AnoMem(shortened("scratch", 30)).fit(zeros[:100], anomalies=sevens[:12])
    yield told(with_anomalies, images, "with anomalies")


def framings() -> Iterator[Figures]:
    """Images that are stretched, letterboxed, tiled, of a region, and of 16 bits."""
    wide = crops(skimage.data.brick(), 32, 256)[..., 0].reshape(128, 64, 32)
    images = np.concatenate([wide[100:], wide[100:][:, ::-1]])
    deep = wide.astype(np.uint16) * 257
    mask = np.zeros((64, 32), np.uint8)
    mask[8:60, 4:28] = 255
    for framing in ("resize", "letterbox", "tile"):
        config = shortened("scratch", 20)
        config = replace(config, images=replace(config.images, framing=framing, size=32))
        yield told(AnoMem(config).fit(wide[:100]), images, framing)
    config = shortened("scratch", 20)
    yield told(AnoMem(config).fit(wide[:100], region=mask), images, "region")
    yield told(AnoMem(config).fit(deep[:100]), images.astype(np.uint16) * 257, "16 bits")


def presets() -> Iterator[Figures]:
    """The other presets, on photographs in colour and in files."""
    normal = crops(skimage.data.immunohistochemistry(), 32, 160)
    other = crops(skimage.data.astronaut(), 32, 40)
    images = np.concatenate([normal[120:], other])
    yield told(AnoMem(shortened("pretrained", 10)).fit(normal[:120]), images, "pretrained")
    paper = shortened("paper", 10)
    small = replace(paper.encoder, name="resnet10t", width=8)
    paper = replace(paper, encoder=small, stage1=replace(paper.stage1, batch=32))
    yield told(AnoMem(paper).fit(normal[:120], anomalies=other[:10]), images, "paper")
    with tempfile.TemporaryDirectory() as folder:
        for index, pixels in enumerate(normal[:120].repeat(4, axis=1).repeat(4, axis=2)):
            end = ("jpg", "png")[index % 2]
            Image.fromarray(pixels).save(Path(folder, f"{index:03d}.{end}"))
        config = shortened("scratch", 20)
        model = AnoMem(replace(config, images=replace(config.images, size=32)))
        yield told(model.fit(folder), sorted(Path(folder).iterdir())[:20], "files")
        yield told(model.fit_stream(folder), sorted(Path(folder).iterdir())[:20], "stream")


def peers() -> Iterator[Figures]:
    """The methods of the literature, a few steps each."""
    zeros, sevens = digits(0), digits(7)
    images = np.concatenate([zeros[120:140], sevens[:20]])
    every = (
        csi.CSI,
        deepsad.DeepSAD,
        elsa.Elsa,
        mhrot.MHRot,
        neighbours.Neighbours,
        simclr.SimCLR,
        supervised.Supervised,
    )
    for peer in every:
        pretrained = peer is neighbours.Neighbours
        model = peer(shortened("pretrained" if pretrained else "scratch", 10))
        model.fit(zeros[:120], anomalies=sevens[20:40])
        yield {f"peer {peer.__name__}": model.decision_function(images)}


def figures() -> Figures:
    """All that is compared, by name."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    every = (whole_life, framings, presets, peers)
    return {name: values for part in every for found in part() for name, values in found.items()}


def main(how: str, file: str) -> None:
    """Write the figures, or compare them with those of a file and exit with 1 if any differs."""
    now = figures()
    if how == "write":
        np.savez(file, **now)  # type: ignore[arg-type]
        return
    before = np.load(file)
    differ = [
        name
        for name in sorted({*now, *before.files})
        if name not in now
        or name not in before.files
        or not np.array_equal(now[name], before[name], equal_nan=True)
    ]
    print(f"{len(now) - len(differ)} of {len(now)} groups of figures are the same to the bit.")
    for name in differ:
        print(f"differs: {name}")
    sys.exit(bool(differ))


if __name__ == "__main__":
    main(*sys.argv[1:])

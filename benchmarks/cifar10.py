"""One-vs-all CIFAR-10 with the default preset, from Parquet files of images and labels.

    python benchmarks/cifar10.py DIR --normal horse [--gamma 0.05] [--memory kmeans] [--json]

DIR holds ``train.parquet`` and ``test.parquet`` with the columns ``image`` (struct of ``bytes`` and
``path``) and ``label``. The normal class is trained on as a user would; gamma is the share of
anomalies, of all other classes, in the training set. The test images are scored once, at the end.
Each run is appended to the file of ``--out``.
"""

from __future__ import annotations

import io
import json as json_format
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet
import torch
import tyro
from PIL import Image
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor
from tyro.conf import FlagCreatePairsOff, Positional

from anomem import AnoMem, HopfieldMemory, fitting
from anomem.calibration import hold_out
from anomem.config import Config
from anomem.data.prepare import infer_shape, prepare
from anomem.data.sources import open_images
from anomem.evaluation.metrics import auroc
from anomem.network.deviation import MultiScaleMemory
from anomem.network.encoder import to_float
from anomem.presets import resolve

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class NoMemory(HopfieldMemory):
    """In place of the memory while training: every feature is its own recollection."""

    def forward(self, query: Tensor) -> Tensor:
        """The query, where the memory would compare it."""
        return self.place(query.float())


def read(file: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images N x 32 x 32 x 3 and labels."""
    table = parquet.read_table(file)
    images = [
        np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB"))
        for image in table["image"].to_pylist()
    ]
    return np.stack(images), np.asarray(table["label"])


def without_memory(network: MultiScaleMemory) -> None:
    """Take the memories out of the network, keeping their sizes and retrieval."""
    for index, memory in enumerate(network.scale_memories()):
        size, channels = memory.prototypes.shape
        bare = NoMemory(
            size, channels, beta=memory.beta, steps=memory.steps, unit_norm=memory.unit_norm
        )
        network.memories[index] = bare.requires_grad_(False)


@torch.no_grad()
def put_centroids(network: MultiScaleMemory, images: Tensor, seed: int) -> None:
    """Put memories whose prototypes are k-means centroids of the features of normals."""
    parts = [network(to_float(batch)) for batch in images.split(256)]
    for index, memory in enumerate(list(network.scale_memories())):
        features = torch.cat([part[index].permute(0, 2, 3, 1).flatten(0, 2) for part in parts])
        places = memory.place(features).numpy()
        means = MiniBatchKMeans(
            len(memory.prototypes), random_state=seed, n_init=1, batch_size=4096
        )
        size, channels = memory.prototypes.shape
        learnt = HopfieldMemory(
            size, channels, beta=memory.beta, steps=memory.steps, unit_norm=memory.unit_norm
        )
        learnt.prototypes.copy_(torch.from_numpy(means.fit(places).cluster_centers_))
        network.memories[index] = learnt


def fit_with_centroids(
    config: Config, own: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8], seed: int
) -> AnoMem:
    """The road of ``AnoMem.fit``, without a memory in stage 1 and with centroids after it."""
    model = AnoMem(config, seed=seed)
    fabric = fitting.make_fabric(model.device)
    source = open_images(np.concatenate([own, others]))
    label = np.repeat([0, 1], [len(own), len(others)])
    split = hold_out(len(own), config.calibration.share, seed)
    shape = infer_shape(source)
    images = fitting.TrainingImages.of(prepare(source, shape), label, split)
    network = fitting.new_network(config, shape, images.normals, fabric, seed)
    without_memory(network)
    state = fitting.run_stage1(network, images, config, fabric=fabric, seed=seed)
    put_centroids(network, images.normals.take(torch.arange(len(images.normals))), seed)
    model.config_, model.shape_, model.network_ = config, shape, network
    model.reserve_ = fitting.fill_reserve(network, images, config, seed)
    model.detector_ = fitting.train_detector(model.reserve_, network.encoder.widths, config, seed)
    model.summary_ = fitting.summary(state, images)
    return model


def main(
    folder: Positional[Path],
    normal: Literal[*CLASSES] = "horse",  # type: ignore[valid-type]
    gamma: float = 0.0,
    memory: Literal["learnt", "kmeans"] = "learnt",
    preset: str = "default",
    seconds: float = 285.0,
    seed: int = 0,
    out: Path = Path("benchmarks/results/cifar10.jsonl"),
    json: bool = False,
) -> None:
    """Fit on one class, score the 10,000 test images, append the result.

    Args:
        folder: Of train.parquet and test.parquet.
        normal: The normal class.
        gamma: Share of anomalies in the training set.
        memory: The learnt memory, or k-means centroids in its place.
        preset: Choices.
        seconds: Cap on stage 1.
        seed: Of everything drawn.
        out: File of results, one JSON object a line.
        json: Print the result as JSON on the last line.
    """
    images, label = read(folder / "train.parquet")
    number = CLASSES.index(normal)
    own = images[label == number]
    count = round(gamma / (1 - gamma) * len(own))
    others = np.random.default_rng(seed).permutation(np.flatnonzero(label != number))[:count]
    config = resolve(preset)
    config = replace(config, stage1=replace(config.stage1, max_seconds=seconds))
    begun = time.monotonic()
    if memory == "learnt":
        model = AnoMem(config, seed=seed)
        model.fit(own, anomalies=images[others] if count else None)
    else:
        model = fit_with_centroids(config, own, images[others], seed)
    fitted = time.monotonic() - begun
    test, test_label = read(folder / "test.parquet")
    scores = model.decision_function(test)
    result = {
        "normal": normal,
        "gamma": gamma,
        "memory": memory,
        "preset": preset,
        "seed": seed,
        "auroc": round(auroc(scores[test_label == number], scores[test_label != number]), 4),
        "steps": model.summary_["steps"],
        "seconds": round(fitted, 1),
        "threads": torch.get_num_threads(),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as lines:
        lines.write(json_format.dumps(result) + "\n")
    print(json_format.dumps(result) if json else result)


if __name__ == "__main__":
    tyro.cli(main, config=(FlagCreatePairsOff,))

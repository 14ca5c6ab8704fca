"""What labels cost: adapting with ten anomalies beside training anew, on the same normals.

    python benchmarks/adapting.py [--normals 5000] [--data cifar10:PATH] [--out adapting.json]

Without ``--data`` the normals are crops of photographs and the anomalies are crops upside down.
Retraining is a whole ``fit`` on the normals and the labelled anomalies; adapting is ``adapt`` on
a saved model that has never seen them, loading and saving included.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from timeit import repeat, timeit
from typing import Any

import numpy as np
import numpy.typing as npt
import tyro

from anomem import AnoMem, load
from anomem.config.presets import scratch
from anomem.images.combined import choose
from anomem.images.open import open_images
from anomem.images.source import ImageSource
from anomem.runtime.allocator import keep_freed_memory
from anomem_bench.arguments import name_and_path
from draws import train_and_test
from step import crops
from turns import machine, show


def some_images(data: str | None, normals: int, anomalies: int) -> tuple[ImageSource, ImageSource]:
    """Normals and anomalies."""
    if data is None:
        made: npt.NDArray[np.uint8] = crops(normals + anomalies, 32)
        return open_images(made[:normals]), open_images(made[normals:, ::-1].copy())
    train, _ = train_and_test(*name_and_path(data))
    chosen = [
        choose(train.images, np.flatnonzero(own)[:count])
        for own, count in ((train.label == 0, normals), (train.label != 0, anomalies))
    ]
    return chosen[0], chosen[1]


def main(
    normals: int = 5_000,
    anomalies: int = 10,
    data: str | None = None,
    rounds: int = 5,
    max_steps: int | None = None,
    out: Path | None = None,
) -> None:
    """Measure and print.

    Args:
        normals: Number of normals.
        anomalies: Number of labelled anomalies.
        data: Data set as NAME:PATH, whose first class is normal.
        rounds: Times that adapting is measured; training takes minutes and is measured once.
        max_steps: Cap on the steps of the training, to try the road.
        out: JSON file for the table.
    """
    config = scratch()
    if max_steps is not None:
        config = replace(config, stage1=replace(config.stage1, min_steps=1, max_steps=max_steps))
    normal, anomalous = some_images(data, normals, anomalies)
    label = np.ones(anomalies, dtype=np.int64)
    with tempfile.TemporaryDirectory() as place:
        model = AnoMem(config).fit(normal)
        model.save(place)

        def adapt() -> None:
            load(place).adapt(anomalous, label).save(place + "/adapted")

        adapting = repeat(adapt, number=1, repeat=rounds)
        training = timeit(lambda: AnoMem(config).fit(normal, anomalies=anomalous), number=1)
    table: dict[str, Any] = {
        "machine": machine(),
        "normals": normals,
        "anomalies": anomalies,
        "steps": model.summary_["steps"],
        "adapt_seconds": adapting,
        "retrain_seconds": training,
        "times_faster": training / float(np.median(adapting)),
    }
    show(table, out)


if __name__ == "__main__":
    keep_freed_memory()  # as the command line does
    tyro.cli(main)

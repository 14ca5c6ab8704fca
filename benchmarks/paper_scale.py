"""One-vs-all at the size of the paper, on a GPU: images/s, and AUROC against epochs.

    python benchmarks/paper_scale.py --data cifar10:PATH --classes horse --seconds 150 --out out

Trains the preset ``paper`` (ResNet-50, batches of 1,024), the same without memory, scored by as
many k-means centroids and by five neighbours, and ``scratch`` with a ResNet-18, each for its epochs
or for the seconds given, whichever end first; the learning rate reaches its end with them. Test
images measure the training on its way and decide nothing. ``--toy`` shrinks networks and batches,
to try the road on a CPU.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
import tyro
from torch import Tensor
from torch.nn.functional import normalize

from anomem.config import Config, EncoderChoices
from anomem.config.presets import paper, scratch
from anomem.evaluation.metrics import auroc
from anomem.images.image_set import ImageSet
from anomem.runtime.device import make_fabric
from anomem.training.batches import Drawn
from anomem.training.optimisation import Clock
from anomem_bench.arguments import name_and_path
from anomem_bench.datasets import load_named
from anomem_bench.exam import Exam
from anomem_bench.ours import Memory, Ours
from anomem_bench.peers.neighbours import EveryScale, nearest
from anomem_bench.protocols.one_vs_all import OneVsAll
from anomem_bench.split import Caps
from turns import machine


@dataclass(frozen=True)
class Scale:
    """What is trained.

    Attributes:
        data: Data set as NAME:PATH, see docs/results/protocols.md.
        out: Folder for ``runs.json`` and ``auroc.svg``.
        classes: Classes that are normal in turn; none for all.
        trainings: Of "paper", "paper without memory" and "scratch".
        encoder: Backbone of ``paper``, with and without memory.
        epochs: Of each training; its own number where none are given.
        seconds: Cap on each training.
        marks: Times each is measured, evenly over its training.
        most_tested: Cap on the normal test images, and on the others.
        device: auto, cpu or cuda.
        seed: Of every random draw.
        toy: Tiny networks and batches.
    """

    data: str
    out: Path
    classes: tuple[str, ...] = ()
    trainings: tuple[str, ...] = ("paper", "paper without memory", "scratch")
    encoder: str = "resnet50"
    epochs: float | None = None
    seconds: float | None = None
    marks: int = 10
    most_tested: int | None = None
    device: str = "auto"
    seed: int = 0
    toy: bool = False


def config_of(training: str, scale: Scale) -> Config:
    """The choices of a training."""
    if training != "scratch":
        config = paper()
        config = replace(config, encoder=replace(config.encoder, name=scale.encoder))
    else:
        ours = scratch()
        config = replace(
            ours,
            encoder=EncoderChoices(name="resnet18", stem_stride=1),
            stage1=replace(ours.stage1, batch=256, epochs=200, max_steps=None),
        )
    stage1 = replace(config.stage1, max_seconds=scale.seconds, min_steps=1)
    if scale.epochs is not None:
        stage1 = replace(stage1, epochs=scale.epochs)
    if scale.toy:
        small = EncoderChoices(name="resnet10t", width=4, stem_stride=2)
        memory = replace(config.memory, sizes=(16, 8))
        config = replace(config, encoder=small, memory=memory)
        stage1 = replace(stage1, batch=8)
    return replace(config, stage1=stage1)


def trained(
    config: Config, memory: Memory, exam: Exam, protocol: OneVsAll, scale: Scale
) -> Iterator[dict[str, Any]]:
    """Train, yielding epochs, seconds, images/s, AUROC by score and the contrast at each mark."""
    contender = Ours(config, device=scale.device, seed=scale.seed, name=memory, memory=memory)
    clock = Clock(config.stage1.max_seconds)
    marks = iter([(mark + 1) / scale.marks for mark in range(scale.marks)])
    mark = next(marks)
    for step in contender.begin(exam.trained, clock):
        done = max(step / contender.stage1.steps, clock.share())
        if done < mark:
            continue
        mark = next(marks, 2.0)
        contender.finish()
        judged: dict[str, float] = protocol.judge(contender, exam)[memory][""].measures
        aurocs = {str(memory): judged["auroc"]}
        if memory != "learnt":
            aurocs["neighbours"] = by_neighbours(contender, exam)
        normals = contender.stage1.batches.normals
        assert isinstance(normals, Drawn)
        shown = step * normals.draws.batch
        yield {
            "epochs": shown / len(normals),
            "seconds": clock.spent,
            "images_per_s": shown / clock.spent,
            "auroc": aurocs,
            "scales": [asdict(figures) for figures in contender.stage1.figures()],
        }


def by_neighbours(contender: Ours, exam: Exam) -> float:
    """AUROC of minus the mean cosine to five normals, on features of every scale."""
    network = EveryScale(contender.network_.encoder, {})

    def directions(images: ImageSet) -> Tensor:
        return normalize(network.features(images), dim=1)

    known = directions(exam.trained.normals)
    good = -nearest(directions(exam.test_normals), known)
    odd = [-nearest(directions(images), known) for images in exam.test_anomalies.values()]
    return auroc(good.numpy(), torch.cat(odd).numpy())


def picture(runs: list[dict[str, Any]], path: Path) -> None:
    """AUROC against epochs, a line a training, score and class."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for run in runs:
        epochs = [point["epochs"] for point in run["curve"]]
        for score in run["curve"][0]["auroc"] if run["curve"] else ():
            aurocs = [100 * point["auroc"][score] for point in run["curve"]]
            axes.plot(epochs, aurocs, "o-", label=f"{run['training']}, {score}, {run['normal']}")
    axes.set(xlabel="epochs", ylabel="AUROC, %")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main(scale: Scale) -> None:
    """Train, measure, and write after each mark."""
    name, path = name_and_path(scale.data)
    caps = Caps(tested=scale.most_tested)
    protocol = OneVsAll(name, load_named(name, path), classes=scale.classes, caps=caps)
    scale.out.mkdir(parents=True, exist_ok=True)
    device = make_fabric(scale.device).device
    runs: list[dict[str, Any]] = []
    for cell in protocol.cells():
        for training in scale.trainings:
            config = config_of(training, scale)
            run: dict[str, Any] = {"training": training, "normal": cell.normal, "curve": []}
            run |= {"machine": machine(), "batch": config.stage1.batch}
            runs.append(run)
            exam = Exam.of(protocol.split(cell), config)
            memory: Memory = "kmeans" if training == "paper without memory" else "learnt"
            for point in trained(config, memory, exam, protocol, scale):
                run["curve"].append(point)
                print(training, cell.normal, json.dumps(point), flush=True)
                (scale.out / "runs.json").write_text(json.dumps(runs, indent=1))
            if device.type == "cuda":
                run["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
                torch.cuda.reset_peak_memory_stats()
            picture(runs, scale.out / "auroc.svg")
    (scale.out / "runs.json").write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main(tyro.cli(Scale))

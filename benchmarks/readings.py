"""Readings of the paper's memory: which of them learns, at the width of the network it is read for.

    python benchmarks/readings.py --data cifar10:PATH --normal horse --out out

Each reading trains the same encoder on the same batches. At the first step it is asked how its
memory recalls (perplexity, variance), right after it how much gradient reaches the query and the
second view, and after the last, what the contrast has learnt. ``--encoder resnet50 --batch 1024
--steps 120`` is the size of the paper, for a GPU; the default, a ResNet of one bottleneck block a
stage and of the same 1,024 and 2,048 channels at 16 pixels, takes some minutes a reading on two
cores. No test image is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro

from anomem.config import Config, EncoderChoices, ImageChoices
from anomem.config.mapping import changed
from anomem.config.presets import paper
from anomem.training.collapse import told_collapse
from anomem.training.draws import Chance
from anomem.training.losses import contrasted_memory_loss
from anomem.training.optimisation import Clock
from anomem.training.stage1 import Stage1
from anomem.training.views import random_view
from anomem_bench.arguments import name_and_path
from anomem_bench.datasets import load_named
from anomem_bench.exam import Exam
from anomem_bench.ours import Memory, Ours
from anomem_bench.protocols.one_vs_all import OneVsAll
from turns import machine

_ASKED = 48
"""Images by which gradients are measured."""
_RAW: dict[str, Any] = {
    "memory__start": "gaussian",
    "memory__beta": 2.0,
    "memory__steps": 3,
    "memory__unit_norm": False,
}
READINGS: dict[str, tuple[dict[str, Any], Memory]] = {
    "literal": (_RAW, "learnt"),
    "literal, one step": ({**_RAW, "memory__steps": 1}, "learnt"),
    "raw, from normals": ({**_RAW, "memory__steps": 1, "memory__start": "normals"}, "learnt"),
    "unit length, beta 2": ({"memory__beta": 2.0}, "learnt"),
    "unit length, beta 10, Gaussian": (
        {"memory__beta": 10.0, "memory__start": "gaussian"},
        "learnt",
    ),
    "unit length, beta 10": ({"memory__beta": 10.0}, "learnt"),
    "unit length, beta 20": ({}, "learnt"),
    "unit length, beta 20, three steps": ({"memory__steps": 3}, "learnt"),
    "no memory": ({}, "mean"),
}
"""Choices that differ from the preset ``paper``, which is "unit length, beta 20"."""


@dataclass(frozen=True)
class Trial:
    """What is trained.

    Attributes:
        data: Data set as NAME:PATH, see docs/results/protocols.md.
        out: Folder for ``readings.json`` and ``readings.md``.
        normal: Class of the training normals.
        readings: Of :data:`READINGS`; none for all.
        encoder: Backbone.
        width: Channels of its first stage; None keeps the model's.
        size: Side of the images in pixels; None keeps theirs.
        batch: Images a step.
        steps: Of each training.
        learning_rate: Its peak.
        device: auto, cpu or cuda.
        seed: Of every random draw.
    """

    data: str
    out: Path
    normal: str
    readings: tuple[str, ...] = ()
    encoder: str = "resnet14t"
    width: int | None = 64
    size: int | None = 16
    batch: int = 64
    steps: int = 400
    learning_rate: float = 0.1
    device: str = "auto"
    seed: int = 0


def config_of(reading: str, trial: Trial) -> Config:
    """The choices of a reading."""
    config = changed(paper(), READINGS[reading][0])
    stage1 = replace(
        config.stage1,
        batch=trial.batch,
        min_steps=trial.steps,
        max_steps=trial.steps,
        learning_rate=trial.learning_rate,
    )
    return replace(
        config,
        encoder=EncoderChoices(name=trial.encoder, width=trial.width, stem_stride=1),
        images=ImageChoices(size=trial.size),
        stage1=stage1,
    )


def trained(reading: str, exam: Exam, trial: Trial) -> dict[str, Any]:
    """Figures of a reading at its first step and over its last ones."""
    config = config_of(reading, trial)
    contender = Ours(config, device=trial.device, seed=trial.seed, memory=READINGS[reading][1])
    clock = Clock()
    training = contender.begin(exam.trained, clock)
    next(training)
    stage1 = contender.stage1
    first = stage1.figures()
    gradients = gradients_at(stage1)
    for _ in training:
        pass
    last = stage1.figures()
    return {
        "reading": reading,
        "first": [asdict(each) for each in first],
        "gradients": gradients,
        "last": [asdict(each) for each in last],
        "collapse": told_collapse(last, stage1.step, config.memory),
        "steps": stage1.step,
        "seconds": round(clock.spent, 1),
    }


def gradients_at(stage1: Stage1) -> list[tuple[float, float]]:
    """Norm of the contrast's gradient by the query, and by the second view, at each scale."""
    network, views = stage1.network, stage1.config.views
    generator = torch.Generator(stage1.batches.device).manual_seed(stage1.seed)
    images = stage1.batches.at(stage1.step).images[:_ASKED]
    both = random_view(images.repeat(2, 1, 1, 1), views, Chance(generator))
    with torch.no_grad():
        maps = network(both)
    found = []
    for features, memory in zip(maps, network.hopfield_memories(), strict=True):
        places = features.float().permute(0, 2, 3, 1).flatten(1, 2)
        query, other = (part.clone().requires_grad_() for part in places.chunk(2))
        loss = contrasted_memory_loss(
            memory(query),
            other,
            normals=len(query),
            temperature=stage1.config.loss.temperature,
        )
        one, two = torch.autograd.grad(loss, (query, other))
        found.append((float(one.norm()), float(two.norm())))
    return found


def table(runs: Sequence[dict[str, Any]]) -> str:
    """The figures as Markdown, scale 1 / scale 2."""
    head = (
        "reading",
        "at the first step: perplexity",
        "variance",
        "gradient of the query",
        "of the second view",
        "after the last: contrast",
        "perplexity",
        "prototypes in use",
        "variance",
    )
    rows = [head, ("---",) * len(head)]
    for run in runs:
        first, last = (
            {name: [each[name] for each in run[when]] for name in run[when][0]}
            for when in ("first", "last")
        )
        rows.append(
            (
                run["reading"],
                _both(first["perplexity"], "{:.3g}"),
                _both(first["variance"], "{:.2g}"),
                _both([one for one, _ in run["gradients"]], "{:.2g}"),
                _both([two for _, two in run["gradients"]], "{:.2g}"),
                _both(last["contrast"], "{:.2f}"),
                _both(last["perplexity"], "{:.3g}"),
                _both(last["in_use"], "{}"),
                _both(last["variance"], "{:.2g}"),
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _both(values: Sequence[float], form: str) -> str:
    return " / ".join(map(form.format, values))


def main(trial: Trial) -> None:
    """Train each reading, and write after each."""
    name, path = name_and_path(trial.data)
    parts = load_named(name, path)
    protocol = OneVsAll(name, parts, classes=(trial.normal,), on="validation")
    trial.out.mkdir(parents=True, exist_ok=True)
    runs: list[dict[str, Any]] = []
    for reading in trial.readings or READINGS:
        exam = Exam.of(protocol.split(protocol.cells()[0]), config_of(reading, trial))
        runs.append(trained(reading, exam, trial))
        told = {"machine": machine(), "trial": asdict(trial), "runs": runs}
        (trial.out / "readings.json").write_text(json.dumps(told, indent=1, default=str))
        (trial.out / "readings.md").write_text(table(runs))
        print(json.dumps(runs[-1]), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Trial))

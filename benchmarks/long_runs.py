"""The paper's contrast for as long as two cores have in an hour: memory and scales, on and off.

    python benchmarks/long_runs.py --data cifar10:PATH --normal horse --out out

Trains ``paper-small`` (the training of the preset ``paper`` on a ResNet of one block a stage) in
the four settings of Table 5, a draw after the other, each for the same number of steps. On the way
it measures AUROC on test images, by the score and by five neighbours, and the accuracy of a linear
classifier of all classes on the features; both decide nothing. The first measure is of the network
after one step, which has learnt nothing. Trainings that are finished are kept, and not repeated
with the same choices; processes with a setting each may share the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import tyro

from anomem.config.mapping import changed
from anomem.training.optimisation import Clock
from anomem_bench.arguments import name_and_path
from anomem_bench.datasets import Parts, load_named
from anomem_bench.exam import Exam
from anomem_bench.methods import Method
from anomem_bench.ours import Ours
from anomem_bench.protocols.ablation import variants
from anomem_bench.protocols.linear import Linear
from anomem_bench.protocols.one_vs_all import OneVsAll
from anomem_bench.split import Caps
from draws import Results, bands
from paper_scale import by_neighbours
from turns import machine

SETTINGS = ("neither", "scales only", "memory only", "memory and scales")


@dataclass(frozen=True)
class Trial:
    """What is trained.

    Attributes:
        data: Data set as NAME:PATH, see docs/results/protocols.md.
        out: Folder for ``runs.jsonl`` and a figure a measure.
        normal: Class of the training normals.
        settings: Of :data:`SETTINGS`.
        draws: Seeds of the training.
        steps: Of each training.
        marks: Times each is measured, evenly over its training, after the first step.
        width: Channels of the first stage.
        batch: Images a step.
        learning_rate: Its peak.
        fitted: Cap on the training images of the linear classifier.
        tested: Cap on the test images of each measure, and on the anomalies.
        device: auto, cpu or cuda.
    """

    data: str
    out: Path
    normal: str
    settings: tuple[str, ...] = SETTINGS
    draws: tuple[int, ...] = (0, 1)
    steps: int = 20_000
    marks: int = 10
    width: int = 16
    batch: int = 32
    learning_rate: float = 0.1
    fitted: int = 3000
    tested: int = 1000
    device: str = "auto"


def method_of(setting: str, trial: Trial) -> Method:
    """The training of a setting, for so many steps."""
    method = variants("memory", "paper-small")[f"paper-small, {setting}"]
    choices = {
        "encoder__width": trial.width,
        "stage1__batch": trial.batch,
        "stage1__learning_rate": trial.learning_rate,
        "stage1__min_steps": trial.steps,
        "stage1__max_steps": trial.steps,
    }
    return replace(method, config=changed(method.config, choices))


def measured(method: Method, draw: int, parts: Parts, trial: Trial) -> Iterator[dict[str, Any]]:
    """Train, yielding step, seconds, AUROC, accuracy and how the memory does at each mark."""
    name, _ = name_and_path(trial.data)
    one_class = OneVsAll(name, parts, classes=(trial.normal,), caps=Caps(tested=trial.tested))
    linear = Linear(name, parts, caps=Caps(normals=trial.fitted, tested=trial.tested))
    exam = Exam.of(one_class.split(one_class.cells()[0]), method.config)
    classes = Exam.of(linear.split(linear.cells()[0]), method.config)
    contender = method.new(trial.device, draw)
    assert isinstance(contender, Ours)
    clock = Clock()
    marks = {1, *(round(trial.steps * (mark + 1) / trial.marks) for mark in range(trial.marks))}
    for step in contender.begin(exam.trained, clock):
        if step not in marks:
            continue
        contender.finish()
        (score,) = contender.score_names
        yield {
            "step": step,
            "seconds": round(clock.spent, 1),
            "auroc": one_class.judge(contender, exam)[score][""].measures["auroc"],
            "neighbours": by_neighbours(contender, exam),
            "accuracy": linear.judge(contender, classes)[score][""].measures["accuracy"],
            "scales": [asdict(figures) for figures in contender.stage1.figures()],
        }


def picture(lines: list[dict[str, Any]], measure: str, path: Path) -> None:
    """A measure against steps, a curve a setting and a band over its draws."""
    values = pd.DataFrame(
        [
            {"name": line["setting"], "x": point["step"], "y": 100 * point[measure]}
            for line in lines
            for point in line["curve"]
        ]
    )
    colours = ("tab:gray", "tab:olive", "tab:blue", "tab:red")
    styles = dict(zip(SETTINGS, zip(colours, "os^D", strict=True), strict=True))
    done = set(values["name"])
    figure, axes = bands(values, {k: style for k, style in styles.items() if k in done})
    axes.set(xlabel="steps", ylabel=f"{measure}, %")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main(trial: Trial) -> None:
    """Train each setting in each draw that is not there yet, and draw all that is."""
    parts = load_named(*name_and_path(trial.data))
    results = Results(trial.out / "runs.jsonl")
    for draw in trial.draws:
        for setting in trial.settings:
            run = {
                "setting": setting,
                "draw": draw,
                "normal": trial.normal,
                "steps": trial.steps,
                "width": trial.width,
                "batch": trial.batch,
            }
            if results.of(**run):
                continue
            method = method_of(setting, trial)
            curve = []
            for point in measured(method, draw, parts, trial):
                curve.append(point)
                print(setting, draw, {k: v for k, v in point.items() if k != "scales"}, flush=True)
            results.add({**run, "machine": machine(), "curve": curve})
    for measure in ("auroc", "neighbours", "accuracy"):
        same = {"normal": trial.normal, "steps": trial.steps, "width": trial.width}
        picture(Results(results.file).of(**same), measure, trial.out / f"{measure}.png")


if __name__ == "__main__":
    main(tyro.cli(Trial))

"""Where the figures of a training go: a CSV file, TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from anomem.runtime.files import write_bytes

Picture = npt.NDArray[np.uint8]
"""H x W x 3."""
_PROJECT = "anomem"
"""What the experiment is called where they have names."""


class TrainingLogger(Protocol):
    """Takes figures by the step, as every logger of Lightning does.

    One that also has ``log_image(key, images, step)`` is given pictures.
    """

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        """Take the figures of a step, by name."""

    def finalize(self, status: str) -> None:
        """End with "success" or "failed"."""


def check_logs(logs: Sequence[str | TrainingLogger]) -> None:
    """See before the work that each log can be opened.

    Raises:
        ValueError: It is of no known kind, or its library is missing.
    """
    for log in logs:
        if not isinstance(log, str):
            continue
        kind, _, target = log.partition(":")
        if kind not in _KINDS or not target:
            raise ValueError(
                f"log is {log!r}; give tensorboard:FOLDER, wandb:PROJECT, mlflow:URI or csv:FILE."
            )
        if kind != "csv" and find_spec(kind) is None:
            raise ValueError(f"{kind} is not installed; pip install {kind}.")


def open_log(log: str | TrainingLogger, first: int) -> TrainingLogger:
    """Open a log for the steps after the first ones; what it has of later steps is dropped.

    Args:
        log: KIND:TARGET, see :func:`check_logs`; a logger is returned as it is.
        first: Steps that were done before, by an interrupted training.
    """
    if not isinstance(log, str):
        return log
    kind, _, target = log.partition(":")
    opened: TrainingLogger = _KINDS[kind](target, first)
    return opened


class _Csv:
    """A row a step that is told, on the disk at once."""

    def __init__(self, file: str, first: int) -> None:
        self._file, kept = Path(file), list[dict[str, str]]()
        if first:
            with (
                suppress(OSError, ValueError, KeyError),
                self._file.open(newline="", encoding="utf-8") as old,
            ):
                kept = [row for row in csv.DictReader(old) if int(row["step"]) <= first]
        text = io.StringIO()
        if kept:
            writer = csv.DictWriter(text, list(kept[0]))
            writer.writeheader()
            writer.writerows(kept)
        write_bytes(self._file, text.getvalue().encode())

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        row = {"step": step, **metrics}
        with self._file.open("a", newline="", encoding="utf-8") as text:
            writer = csv.DictWriter(text, list(row))
            if text.tell() == 0:
                writer.writeheader()
            writer.writerow(row)

    def finalize(self, status: str) -> None:
        pass


class _TensorBoard(TensorBoardLogger):
    """Event files in a folder."""

    def __init__(self, folder: str, first: int) -> None:
        super().__init__(folder, name="", version="", purge_step=first + 1)

    def log_image(self, key: str, images: Sequence[Picture], step: int) -> None:
        for image in images:
            self.experiment.add_image(key, image, step, dataformats="HWC")


class _Wandb:
    """A run of its own; offline where ``WANDB_MODE`` says so."""

    def __init__(self, project: str, first: int) -> None:  # noqa: ARG002 - a run begins anew
        import wandb

        self._wandb, self._run = wandb, wandb.init(project=project)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self._run.log(metrics, step=step)

    def log_image(self, key: str, images: Sequence[Picture], step: int) -> None:
        self._run.log({key: [self._wandb.Image(image) for image in images]}, step=step)

    def finalize(self, status: str) -> None:
        self._run.finish(exit_code=int(status != "success"))


class _Mlflow:
    """A run of its own in the experiment "anomem" of a tracking server or a database."""

    def __init__(self, uri: str, first: int) -> None:  # noqa: ARG002 - a run begins anew
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        known = self._client.get_experiment_by_name(_PROJECT)
        experiment = known.experiment_id if known else self._client.create_experiment(_PROJECT)
        self._run = self._client.create_run(experiment).info.run_id

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        given = [Metric(name, value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self._run, given)

    def log_image(self, key: str, images: Sequence[Picture], step: int) -> None:
        for image in images:
            self._client.log_image(self._run, image, key=key, step=step)

    def finalize(self, status: str) -> None:
        self._client.set_terminated(self._run, "FINISHED" if status == "success" else "FAILED")


_KINDS: dict[str, Any] = {
    "csv": _Csv,
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "mlflow": _Mlflow,
}

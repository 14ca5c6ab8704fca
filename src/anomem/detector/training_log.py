"""What a training tells as it goes: figures, and heat maps of the same few images over time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from anomem.detector.training_images import TrainingImages
from anomem.images.image_set import to_float
from anomem.model.network import MultiScaleMemory
from anomem.model.place_maps import fit_heat, place_maps
from anomem.runtime.loggers import Picture, TrainingLogger, open_log
from anomem.runtime.untrusted import one_line
from anomem.training.draws import Chance, seeded
from anomem.training.pseudo import patched
from anomem.training.ranks import ALONE
from anomem.training.stage1 import Stage1

_EVERY = 20
"""Steps from one row of figures to the next."""
_PICTURES = 10
"""Of a training."""
_SHOWN = 2
"""Normals in a picture, and as many images that are none."""
_USUAL = 256
"""Normals, at most, by which a picture tells what is usual."""
_HOTTEST, _COVERED = 6.0, 0.75
"""Standard deviations of normals that are red, and how much of an image they cover."""
_SIDE = 128
"""Pixels of the longer side from which on frames are not enlarged."""


@contextmanager
def logged(
    logs: Sequence[str | TrainingLogger], images: TrainingImages, seed: int
) -> Iterator[Callable[[Stage1], None]]:
    """Open logs for a training, and close them after it.

    A log that fails is told once and left out, as the training is worth more.

    Args:
        logs: As of :func:`~anomem.runtime.loggers.open_log`.
        images: Of the training; held-out normals and labelled anomalies are shown.
        seed: Of the patches that are shown where no anomaly is labelled.

    Yields:
        What is to be called after each step.
    """
    log = TrainingLog(logs, images, seed)
    status = "failed"
    try:
        yield log.step
        status = "success"
    finally:
        log.each(lambda logger: logger.finalize(status))


class TrainingLog:
    """Tells loggers the figures of a stage 1 every 20 steps, and a picture in each tenth of it.

    Looking changes nothing: it draws nothing of the training's, and works on a copy.
    """

    def __init__(
        self, logs: Sequence[str | TrainingLogger], images: TrainingImages, seed: int
    ) -> None:
        self._waiting = list(logs)
        self._loggers: list[TrainingLogger] = []
        self._images, self._shown = images, _shown(images, seed)
        self._tenth = -1

    def step(self, stage1: Stage1) -> None:
        """Look at a training after a step."""
        while self._waiting:
            log = self._waiting.pop(0)
            with _told(f"the log {log} cannot be opened"):
                self._loggers.append(open_log(log, stage1.step - 1))
        done = stage1.done()
        if not self._loggers or (stage1.step % _EVERY and done < 1):
            return
        figures = figures_of(stage1)
        self.each(lambda logger: logger.log_metrics(figures, stage1.step))
        tenth, wanted = (
            int(done * _PICTURES),
            [hasattr(each, "log_image") for each in self._loggers],
        )
        if tenth > self._tenth and any(wanted):
            self._tenth = tenth
            picture = picture_of(stage1.trained(), self._images, self._shown)
            self.each(lambda logger: _show(logger, picture, stage1.step))

    def each(self, tell: Callable[[TrainingLogger], None]) -> None:
        """Tell each logger something; those that fail are left out from here on."""
        for logger in list(self._loggers):
            self._loggers.remove(logger)
            with _told(f"the log {type(logger).__name__.strip('_')} failed"):
                tell(logger)
                self._loggers.append(logger)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each library and each server has its own
        warnings.warn(f"{what} ({one_line(error)}); the fit goes on without it.", stacklevel=3)


def figures_of(stage1: Stage1) -> dict[str, float]:
    """Give the loss, the learning rate, the seconds, and of each scale what its memory does."""
    rate = float(stage1.optimizer.param_groups[0]["lr"])
    found = {"loss": stage1.loss, "learning_rate": rate, "seconds": stage1.clock.spent}
    for scale, figures in enumerate(stage1.figures(), 1):
        found |= {f"scale_{scale}/{name}": value for name, value in figures.as_json().items()}
    return found


def _shown(images: TrainingImages, seed: int) -> Tensor:
    """Frames to show, floats: held-out normals, then labelled anomalies or these with a patch."""
    normals = to_float(images.held_out.spread(_SHOWN).all())
    if len(images.anomalies):
        return torch.cat([normals, to_float(images.anomalies.spread(_SHOWN).all())])
    odd, _ = patched(normals, Chance(seeded(seed, 0, normals.device), ALONE))
    return torch.cat([normals, odd])


def picture_of(network: MultiScaleMemory, images: TrainingImages, shown: Tensor) -> Picture:
    """Draw frames (B, C, H, W) one below the other, each beside itself with its heat in red.

    Args:
        network: In evaluation mode.
        images: By some of whose normals is told what is usual.
        shown: Floats in [0, 1].
    """
    normals, unseen = (part.spread(_USUAL) for part in images.for_heat)
    heat_model = fit_heat(network, normals, unseen, anywhere=False)
    size = shown.shape[2:]
    maps = [
        functional.interpolate(each[:, None], size, mode="bilinear")
        for each in heat_model(place_maps(network, shown))
    ]
    share = (torch.stack(maps).mean(dim=0) / _HOTTEST).clamp(0, 1) * _COVERED
    colours = shown.cpu().expand(-1, 3, -1, -1)
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    both = torch.cat([colours, torch.lerp(colours, red.expand_as(colours), share)], dim=3)
    pixels = (both.permute(0, 2, 3, 1).flatten(0, 1) * 255).round().byte().numpy()
    times = max(_SIDE // max(size), 1)
    return np.ascontiguousarray(pixels.repeat(times, axis=0).repeat(times, axis=1))


def _show(logger: TrainingLogger, picture: Picture, step: int) -> None:
    if show := getattr(logger, "log_image", None):
        show("heat", [picture], step=step)

"""The detector as one of pytorch-ood's: fitted by a loader, scores of batches as tensors."""

from __future__ import annotations

from typing import Any, Self

import torch
from pytorch_ood.api import (
    Detector,
    DetectorInfo,
    Paper,
    RequiresFittingException,
    Task,
)
from sklearn.exceptions import NotFittedError
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

from anomem.detector.estimator import AnoMem
from anomem.images.errors import times


class ContrastedMemory(Detector):  # type: ignore[misc]
    """Stands where any detector of pytorch-ood would, on raw images; it needs no model of others.

    Args:
        detector: What is fitted; None (the default) is ``AnoMem()``. One that is fitted already
            predicts at once.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> pixels, digit = load_digits(return_X_y=True)
        >>> images = torch.tensor(pixels).float().view(-1, 1, 8, 8).div(16)
        >>> images = torch.nn.functional.interpolate(images, scale_factor=2)
        >>> zeros, ones = images[digit == 0], images[digit == 1]
        >>> short = {"config__stage1__min_steps": 20, "config__stage1__max_steps": 20}
        >>> detector = ContrastedMemory(AnoMem("scratch").set_params(**short))
        >>> loader = DataLoader(TensorDataset(zeros[:60], torch.zeros(60).long()), batch_size=32)
        >>> detector = detector.fit(loader)
        >>> bool(detector(zeros[60:70]).mean() < detector(ones[:10]).mean())
        True
    """

    requires_fit = True
    info = DetectorInfo(
        tasks={Task.CLASSIFICATION},
        paper=Paper(
            title="Unified Anomaly Detection via Multi-Scale Contrasted Memory",
            venue="arXiv",
            year=2022,
            url="https://arxiv.org/abs/2211.09041",
        ),
    )

    def __init__(self, detector: AnoMem | None = None) -> None:
        self.detector = detector or AnoMem()

    def fit(self, data_loader: DataLoader[tuple[Tensor, Tensor]]) -> Self:
        """Learn what is in distribution.

        Args:
            data_loader: Batches of images (B, C, H, W), floats in [0, 1] or integers, and their
                labels (B,): any class from 0 on is in distribution; those below 0 are outliers,
                which are learnt too.

        Raises:
            ValueError: There is no batch, or as of ``AnoMem.fit``.
            TypeError: A batch is something else.

        Example:
            >>> known = torch.cat([zeros[:60], ones[:5]]), torch.tensor([0] * 60 + [-1] * 5)
            >>> detector = detector.fit(DataLoader(TensorDataset(*known), batch_size=32))
            >>> detector.detector.labelled_anomalies()[0]
            5
        """
        images, outliers = [], []
        for batch in data_loader:
            if not (isinstance(batch, tuple | list) and len(batch) == 2):
                raise TypeError(f"a batch is {_kind(batch)}; give pairs, (images, labels).")
            images.append(_images(batch[0]))
            if not isinstance(batch[1], Tensor):
                raise TypeError(f"the labels are {_kind(batch[1])}; give a tensor (B,).")
            outliers.append(batch[1].cpu() < 0)
        if not images:
            raise ValueError("the loader is empty; give batches of images and labels.")
        self.detector.fit(ConcatDataset(images), torch.cat(outliers).numpy())
        return self

    def predict(self, x: Tensor) -> Tensor:
        """Give the outlier score of each image (B, C, H, W), (B,); higher is more anomalous.

        Raises:
            RequiresFittingException: The detector is not fitted.
            TypeError: x is something else.

        Example:
            >>> bool(detector.predict(zeros[60:70]).mean() < detector.predict(ones[:10]).mean())
            True
        """
        try:
            scores = self.detector.decision_function(_images(x))
        except NotFittedError as error:
            raise RequiresFittingException from error
        return torch.from_numpy(scores).to(x.device)

    def set_hyperparameters(self, **choices: Any) -> Self:
        """Take choices as of ``AnoMem.set_params``: ``config__memory__beta`` and the like.

        Example:
            >>> detector.set_hyperparameters(config__memory__beta=20.0).detector.config.memory.beta
            20.0
        """
        self.detector.set_params(**choices)
        return self

    def get_hyperparameters(self) -> dict[str, Any]:
        """Give those that are searched among.

        Example:
            >>> detector.hyperparameter_space = {"config__memory__beta": [5.0, 10.0]}
            >>> detector.get_hyperparameters()
            {'config__memory__beta': 10.0}
        """
        chosen = self.detector.get_params()
        return {name: chosen[name] for name in self.hyperparameter_space}

    def to(self, device: str | torch.device) -> Self:
        """Compute on a device from now on.

        Example:
            >>> detector.to("cpu").detector.device
            'cpu'
        """
        self.detector.device = str(device)
        if hasattr(self.detector, "network_"):
            self.detector.network_.to(device)
        return super().to(device)


def _images(x: object) -> TensorDataset:
    if not (isinstance(x, Tensor) and x.ndim == 4):
        raise TypeError(f"the images are {_kind(x)}; give a tensor (B, C, H, W).")
    return TensorDataset(x)


def _kind(x: object) -> str:
    shape = f" of shape {times(x.shape)}" if isinstance(x, Tensor) else ""
    return f"of type {type(x).__name__}{shape}"

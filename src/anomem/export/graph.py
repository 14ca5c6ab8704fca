"""A detector as one module, from the pixels of frames to the decision and the heat map."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn
from torch.nn import functional

from anomem.decision.calibrate import Calibration, p_values
from anomem.detector.detector import Detector
from anomem.images.image_set import to_float
from anomem.model.features import of_maps, of_views
from anomem.model.heat import PlaceMaps
from anomem.model.scorer import Scorer

BATCH = 8
"""Frames that are looked at together."""
_UNMARKED = 0.95
"""Of normal images, those that have no place marked."""


class FrameOutputs(NamedTuple):
    """Holds what the graph gives of N frames, under the names that it gives them.

    Attributes:
        pred_score: (N,) float32, higher is more anomalous.
        pred_label: (N,) bool, the score is above the threshold.
        p_value: (N,) float64, split-conformal, against the held-out normals.
        scale_scores: (N, S) float32, one-class score of each scale.
        anomaly_map: (N, H, W) float32, heat of each pixel, in standard deviations of normals.
        pred_mask: (N, H, W) bool, the heat is above that of the mask.
    """

    pred_score: Tensor
    pred_label: Tensor
    p_value: Tensor
    scale_scores: Tensor
    anomaly_map: Tensor
    pred_mask: Tensor


class DetectorGraph(nn.Module):
    """Scores, decides and draws heat as a detector does, on the CPU, by what ONNX can hold.

    The modules of the detector are traced as they are: the encoder passes all views of all frames
    at once, and the scorer computes in double precision.

    Args:
        detector: Left as it is.
        calibration: Scores of its held-out normals.
        threshold: Score above which an image is called anomalous.

    Attributes:
        mask_heat: Heat above which a pixel is marked; none is until it is set.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, detector: Detector, calibration: Calibration, threshold: float) -> None:
        super().__init__()
        shape = detector.framing.shape
        self.size = (shape.height, shape.width)
        self.network = copy.deepcopy(detector.network).cpu().eval()
        self.scorer = _fixed(detector.scorer)
        self.heat = nn.ModuleList(copy.deepcopy(each) for each in detector.heat)
        self.rests_on_places = bool(detector.usual)
        self.p_value = _PValues(calibration)
        self.threshold, self.mask_heat = threshold, float("inf")
        blank = torch.zeros(1, shape.channels, *self.size)
        with torch.no_grad():
            # Memories of places make here what they search; it is part of what is traced.
            places = self.network.encoder.every_map(blank)[0].shape[2:]
            self.network.deviation_maps(blank)
        for name, side, count in zip(("rows", "columns"), self.size, places, strict=True):
            self.register_buffer(name, _smoothing(side, side / count / 2))

    def forward(self, frames: Tensor) -> FrameOutputs:
        """Look at frames (N, C, H, W), uint8 or uint16; N is 2 or more where it is traced."""
        pixels, network, views = to_float(frames), self.network, self.network.views
        every = network.encoder.every_map(torch.cat([view.of(pixels) for view in views]))
        scales = network.maps_of(every)
        seen = _by_view(of_maps(network, every), len(views))
        features = of_views(network, seen, [*self.heat] if self.rests_on_places else [])
        fine = [*every[: 1 + int(network.encoder.finer)], *network.patch_odds(scales)]
        upright = [
            [view.undone(each) for each in maps]
            for view, maps in zip(views, _by_view(fine, len(views)), strict=True)
            if not view.turned
        ]
        heat = self._heat([torch.stack(each).mean(dim=0) for each in zip(*upright, strict=True)])
        score = self.scorer(features.double()).float()
        return FrameOutputs(
            score,
            score > self.threshold,
            self.p_value(score),
            features.scores,
            heat,
            heat > self.mask_heat,
        )

    def _heat(self, maps: list[Tensor]) -> Tensor:
        """Draw heat as :meth:`~anomem.detector.heat_maps.Unusual.heat` does for a frame."""
        count = 1 + int(self.network.encoder.finer)
        seen, kinds = PlaceMaps(maps[:count], maps[count:], []), []
        for model in self.heat:
            enlarged = [
                functional.interpolate(each[:, None], self.size, mode="bilinear")
                for each in model(seen)
            ]
            kinds.append(torch.cat(enlarged, 1).mean(dim=1))
        return self.rows @ torch.stack(kinds).amin(dim=0) @ self.columns.T


@torch.inference_mode()
def hottest(graph: DetectorGraph, frames: Tensor) -> npt.NDArray[np.float32]:
    """Give the highest heat of each of F frames, (F,)."""
    parts = [graph(part).anomaly_map.amax(dim=(1, 2)).cpu() for part in frames.split(BATCH)]
    return torch.cat(parts).numpy()


def heat_of_mask(highest: npt.NDArray[np.floating]) -> float:
    """Choose the heat above which a pixel is marked: of 95% of normal images no place is.

    Args:
        highest: (N,) highest heat of each normal image.
    """
    return float(np.quantile(highest, _UNMARKED, method="higher"))


class _PValues(nn.Module):
    """Looks p-values up: they are steps, from one held-out score to the next."""

    scores: Tensor
    values: Tensor

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        scores = np.unique(calibration.scores)
        values = p_values(np.append(scores, np.inf), calibration)
        self.register_buffer("scores", torch.from_numpy(scores))
        self.register_buffer("values", torch.from_numpy(values))

    def forward(self, score: Tensor) -> Tensor:
        return self.values[(self.scores < score.double()[:, None]).sum(dim=1)]


def _fixed(scorer: Scorer) -> Scorer:
    """A scorer in double precision whose numbers of labels are numbers, which decide its steps."""
    exact = copy.deepcopy(scorer).cpu().double().eval()
    for name in ("beside", "labels", "learnt"):
        number = getattr(exact, name).item()
        delattr(exact, name)
        setattr(exact, name, number)
    return exact


def _by_view(together: list[Tensor], views: int) -> list[list[Tensor]]:
    """What was made of all views of N frames, one behind the other, of each view by itself."""
    parts = [each.unflatten(0, (views, -1)) for each in together]
    return [[part[view] for part in parts] for view in range(views)]


def _smoothing(side: int, deviation: float) -> Tensor:
    """The Gaussian filter along a side as a matrix, which has no kernel to be quantised."""
    matrix = gaussian_filter1d(np.eye(side), deviation, axis=0, mode="nearest")
    return torch.from_numpy(matrix.astype(np.float32))

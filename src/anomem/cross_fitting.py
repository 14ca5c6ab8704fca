"""What labelled anomalies would score if they had not been labelled."""

from __future__ import annotations

import torch
from torch import Tensor

from anomem.config import Config
from anomem.fitting import train_detector
from anomem.reserve import Reserve
from anomem.scoring import score_measured

_FOLDS = 5


def unseen_scores(reserve: Reserve, widths: tuple[int, ...], config: Config, seed: int) -> Tensor:
    """Score each labelled anomaly by heads that were trained on the other labels.

    In five folds (one for each anomaly where there are fewer); the heads keep the weight that all
    labels together give them. Anomalies that stage 1 has learnt from still show in the encoder.

    Args:
        reserve: With the labels.
        widths: What is pooled at each scale.
        config: Of the detector.
        seed: Of the heads and of the folds.

    Returns:
        (A,) scores, in the order of the labels.
    """
    labelled = reserve.labelled
    anomalies = torch.nonzero(labelled.label == 1).flatten()
    shuffled = torch.randperm(len(anomalies), generator=torch.Generator().manual_seed(seed))
    scores = torch.empty(len(anomalies))
    if len(anomalies) == 0:
        return scores
    for fold in shuffled.tensor_split(min(_FOLDS, len(anomalies))):
        others = torch.ones(len(labelled), dtype=torch.bool)
        others[anomalies[fold]] = False
        detector = train_detector(reserve.with_labels(labelled.at(others)), widths, config, seed)
        if int(detector.labels) > 0:
            detector.labels.fill_(len(anomalies))
        scores[fold] = score_measured(detector, labelled.measured.at(anomalies[fold]))
    return scores

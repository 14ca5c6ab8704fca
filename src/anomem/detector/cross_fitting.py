"""What labelled images would score if they had not been labelled."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from anomem.config import Config
from anomem.detector.feature_bank import FeatureBank
from anomem.detector.fit import learnt_labels, train_scorer
from anomem.detector.score import highest_frames, score_features
from anomem.model.scorer import Scorer

_FOLDS = 5


def unseen_scores(bank: FeatureBank, widths: tuple[int, ...], config: Config, seed: int) -> Tensor:
    """Score each labelled anomaly by heads that were trained on the other labels.

    In five folds (one for each anomaly where there are fewer); the heads keep the weight that all
    labels together give them. Anomalies that stage 1 has learnt from still show in the encoder.

    Args:
        bank: With the labels.
        widths: What is pooled at each scale.
        config: Of the detector.
        seed: Of the heads and of the folds.

    Returns:
        (A,) scores, in the order of the labels.
    """
    labelled = bank.labelled
    anomalies = torch.nonzero(labelled.label == 1).flatten()
    scores = torch.empty(len(anomalies))
    for fold in _folds(len(anomalies), seed):
        others = torch.ones(len(labelled), dtype=torch.bool)
        others[anomalies[fold]] = False
        scorer = train_scorer(bank.with_labels(labelled.at(others)), widths, config, seed)
        if int(scorer.labels) > 0:
            scorer.labels.fill_(len(anomalies))
            scorer.learnt.fill_(learnt_labels(bank, config))
        scores[fold] = score_features(scorer, labelled.features.at(anomalies[fold]))
    return scores


def held_out_scores(
    bank: FeatureBank, scorer: Scorer, widths: tuple[int, ...], config: Config, seed: int
) -> tuple[Tensor, Tensor]:
    """Score the held-out normals, those labelled normal since as if they had not been labelled.

    A held-out normal that is labelled normal stays among those on which decisions rest: in five
    folds it is scored by a detector trained on the other labels. One labelled anomalous is no
    normal and leaves, as does one that is set aside.

    Args:
        bank: With the labels.
        scorer: Trained on all of them.
        widths: What is pooled at each scale.
        config: Of the detector.
        seed: Of the heads and of the folds.

    Returns:
        Numbers of the held-out images that decisions rest on, increasing, and the highest score of
        the frames of each, both (n,).
    """
    label = bank.held_out_label()
    normal = (label != 1)[bank.held_out_image]
    frames = score_features(scorer, bank.held_out).clone()
    frames[normal] = _as_new(bank, scorer, scorer)
    confirmed = torch.nonzero(label == 0).flatten()
    for fold in _folds(len(confirmed), seed):
        of_fold = torch.isin(bank.held_out_image, confirmed[fold])
        others = ~torch.isin(bank.labelled.digest, bank.held_out_digest[confirmed[fold]])
        unlabelled = bank.with_labels(bank.labelled.at(others))
        left_out = train_scorer(unlabelled, widths, config, seed)
        frames[of_fold] = _as_new(bank, scorer, left_out)[of_fold[normal]]
    scores = frames[highest_frames(frames, bank.held_out_image)]
    kept = torch.nonzero(bank.deciding()).flatten()
    return kept, scores[kept]


def _as_new(bank: FeatureBank, scorer: Scorer, other: Scorer) -> Tensor:
    """Score of each frame of the held-out normals, as if each were new; exact as other scores."""
    images = bank.held_out_image[(bank.held_out_label() != 1)[bank.held_out_image]]
    units, terms = (copy.deepcopy(each).double() for each in (scorer, other))
    normals = bank.held_out_normals().double()
    return units.of_held_out(normals, bank.held_out_group[images], terms).float()


def _folds(count: int, seed: int) -> tuple[Tensor, ...]:
    """So many images, shuffled, in five parts or as many as there are images."""
    if count == 0:
        return ()
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return shuffled.tensor_split(min(_FOLDS, count))

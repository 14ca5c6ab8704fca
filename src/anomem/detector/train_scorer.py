"""Stage 2 on the feature bank, and what labelled images would score without their labels."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomem.config import Config
from anomem.decision.calibrate import Calibration, raised
from anomem.decision.scores import highest_frames
from anomem.detector.detector import Detector
from anomem.detector.feature_bank import FeatureBank
from anomem.detector.score import score_features
from anomem.detector.whole_images import whole_images, with_wholes
from anomem.model.scorer import Heads, Scorer
from anomem.model.whole_image import WholeImages
from anomem.training.stage2 import train_stage2

_FOLDS = 5


def new_scorer(widths: tuple[int, ...], config: Config) -> Scorer:
    """Build the scorer before stage 2."""
    return Scorer(
        Heads(widths, config.stage2.hidden),
        config.loss.lambdas,
        config.stage2.prior,
        mahalanobis=config.score.mahalanobis,
        neighbours=config.score.neighbours,
    )


def weight_beside(config: Config, place_share: float) -> float:
    """Weigh what the score rests on beside: the most unusual places, or the whole image.

    A whole image counts the less the more the place explains of what varies: where things lie where
    they lay before, places tell all there is to tell (docs/lab-book/recipe.md).
    """
    if config.memory.prototypes == "places":
        return config.score.whole * (1 - place_share) ** 2
    return config.score.places


def learnt_labels(bank: FeatureBank, config: Config) -> int:
    """Count the labelled anomalies that the heads of stage 1 speak for.

    None where there are no such heads, or where the encoder is frozen: it has learnt from no label.
    """
    if config.loss.kind_weight == 0 or config.encoder.frozen:
        return 0
    return int(bank.learnt().sum())


def usual_wholes(bank: FeatureBank, widths: tuple[int, ...], config: Config) -> WholeImages | None:
    """Learn what is usual of whole images, where the score rests on them; else None."""
    if not config.score.whole or config.images.framing == "tile":
        return None
    return whole_images(bank, bank.held_out.pooled.shape[1] - sum(widths))


def train_scorer(
    bank: FeatureBank,
    widths: tuple[int, ...],
    config: Config,
    seed: int,
    whole: WholeImages | None = None,
) -> Scorer:
    """Train the scorer that the bank and its labels give: stage 2.

    Args:
        bank: With the labels.
        widths: What is pooled at each scale.
        config: Of the detector.
        seed: Of the heads.
        whole: What is usual of whole images, by which the held-out normals of the bank are rated
            already; None learns it from the bank, and rates them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scorer = new_scorer(widths, config)
    if whole is None:
        whole = usual_wholes(bank, widths, config)
        bank = with_wholes(bank, whole)
    scorer.whole = whole
    labelled, width = bank.labelled, sum(widths)
    anomalous = labelled.label == 1
    normals = torch.cat([bank.teaching_normals().pooled, labelled.features.pooled[~anomalous]])
    held_out = bank.held_out_normals()
    scorer.fit_normals(
        normals,
        held_out,
        bank.remembered_images(),
        bank.held_out.pooled,
        weight_beside(config, float(bank.place_share)),
    )
    if anomalous.any():
        scorer.labels.fill_(int(anomalous.sum()))
        scorer.learnt.fill_(learnt_labels(bank, config))
        train_stage2(
            scorer.heads,
            normals[:, :width],
            labelled.features.pooled[anomalous, :width],
            scorer.lambdas,
            config.stage2,
        )
        scorer.fit_heads(held_out)
    return scorer.eval()


def unseen_scores(detector: Detector) -> npt.NDArray[np.float32]:
    """Score each labelled anomaly by heads that were trained on the other labels.

    In five folds (one for each anomaly where there are fewer); the heads keep the weight that all
    labels together give them. Anomalies that stage 1 has learnt from still show in the encoder, and
    what labelled normals let memories of places recall does not show.

    Returns:
        (A,) float32, in the order of the labels.
    """
    bank, config, seed = detector.bank, detector.config, detector.seed
    widths, whole = detector.network.pooled_widths, detector.scorer.whole
    labelled = bank.labelled
    anomalies = torch.nonzero(labelled.label == 1).flatten()
    scores = torch.empty(len(anomalies))
    for fold in _folds(len(anomalies), seed):
        others = torch.ones(len(labelled), dtype=torch.bool)
        others[anomalies[fold]] = False
        known = with_wholes(bank.with_labels(labelled.at(others)), whole)
        scorer = train_scorer(known, widths, config, seed, whole)
        if int(scorer.labels) > 0:
            scorer.labels.fill_(len(anomalies))
            scorer.learnt.fill_(learnt_labels(bank, config))
        scores[fold] = score_features(scorer, labelled.features.at(anomalies[fold]))
    return scores.numpy()


def held_out_scores(
    bank: FeatureBank, scorer: Scorer, widths: tuple[int, ...], config: Config, seed: int
) -> tuple[Tensor, Tensor]:
    """Score the held-out normals, those that the scorer has learnt from as if it had not.

    A held-out normal that is labelled normal, or is held out in turn, stays among those on which
    decisions rest: in five folds it is scored by a scorer that is trained without its group. One
    labelled anomalous is no normal and leaves, as does one that is set aside.

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
    bank = with_wholes(bank, scorer.whole)
    label = bank.held_out_label()
    normal = (label != 1)[bank.held_out_image]
    frames = score_features(scorer, bank.held_out).clone()
    frames[normal] = _as_new(bank, scorer, scorer)
    taught = label == 0
    if int(scorer.labels) > 0:
        taught |= bank.held_out_in_turn & (label != 1)
    groups = bank.held_out_group[taught].unique()
    for fold in _folds(len(groups), seed):
        images = torch.nonzero(taught & torch.isin(bank.held_out_group, groups[fold])).flatten()
        of_fold = torch.isin(bank.held_out_image, images)
        others = bank.untaught_by(images)
        if len(others.teaching_normals()) < 2:  # of one group there is no other to learn from
            continue
        left_out = train_scorer(others, widths, config, seed, scorer.whole)
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


def calibration_of(detector: Detector) -> Calibration:
    """Score the held-out normals on which decisions of a detector rest, each as if it were new."""
    bank, widths = detector.bank, detector.network.pooled_widths
    kept, scores = held_out_scores(bank, detector.scorer, widths, detector.config, detector.seed)
    return Calibration(
        raised(scores.double().numpy()),
        bank.held_out_group[kept].numpy(),
        bank.held_out_kind[kept].numpy(),
        bool(bank.held_out_in_turn[kept].any()),
    )

"""Presets by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from anomem.config.choices import (
    Config,
    EncoderChoices,
    ImageChoices,
    LossChoices,
    MemoryChoices,
    PseudoChoices,
    ScoreChoices,
    Stage1Choices,
    Stage2Choices,
    ViewChoices,
)
from anomem.config.mapping import changed, flat


def scratch() -> Config:
    """Learn all from the images at hand, at 32 to 64 pixels, in minutes on two cores.

    A ResNet of one block a stage, of width 16 and with a small stem; retrieval on the unit sphere;
    normals as softly one positive class; rotated pseudo-anomalies, whose kinds a linear head a
    scale tells apart; pasted patches, found place by place; balanced draws of labelled anomalies;
    the Mahalanobis distance of what is pooled of the deviations, of the image upright and upside
    down, each with its mirror image (four forward passes); of aligned images the most unusual
    places too. How it was found: docs/lab-book/recipe.md.
    """
    return Config(
        encoder=EncoderChoices(name="resnet10t", width=16, stem_stride=2),
        memory=MemoryChoices(beta=10.0),
        loss=LossChoices(temperature=0.2, soft_class=100.0, kind_weight=0.5, patch_weight=1.5),
        pseudo=PseudoChoices(kinds=("rotate90", "rotate180", "rotate270")),
        stage1=Stage1Choices(averaging=0.99),
        score=ScoreChoices(mirror=True, upside_down=True, mahalanobis=True, places=2.0),
    )


def pretrained() -> Config:
    """Choose frozen ImageNet features of an EfficientNet-lite0 at some 224 x 224 pixels.

    For ``anomem[pretrained]``. Nothing is trained before there are labels: a memory of 4,096 places
    of normal images at each of two scales, and the score is the distance to it of the places that
    deviate most, and of the whole image where things do not lie where they lay before, in one
    forward pass. How it was found: docs/lab-book/recipe.md.
    """
    return Config(
        images=ImageChoices(size=224),
        encoder=EncoderChoices(
            name="tf_efficientnet_lite0", weights="efficientnet-lite0", frozen=True
        ),
        memory=MemoryChoices(prototypes="places", sizes=(4096, 4096)),
        score=ScoreChoices(whole=1.0),
        stage2=Stage2Choices(prior=20.0),
    )


def paper() -> Config:
    """Follow the paper: ResNet-50, no pseudo-anomalies, heads alone; in the reading that learns.

    Stated there: scales after the third and the last stage, memories of 512 and 256, beta 2,
    sampling ratios 0.3 and 1, lambda_V 0.05, tau 0.1, M 2, batch 1024, SGD with Nesterov momentum
    and a cosine schedule.

    Not stated, and chosen here, as the retrieval read literally learns nothing at this width
    (docs/explain/collapse.md, reproduced by benchmarks/readings.py): query and prototypes are
    compared on the unit sphere, as Eq. 2 compares its representations, and beta 2 stands over tau,
    as the similarities there do, which is 20; prototypes begin at features of 512 normals, spread
    by k-means++; one retrieval, as the update of a modern Hopfield network converges in one.

    Not stated, and chosen here as is usual for a contrast of this size: a 3 x 3 stem of stride 1
    and at most 64 x 64 pixels, as for CIFAR-10; 1,000 epochs, momentum 0.9, learning rate 0.5 after
    a warm-up of 1%, weight decay 1e-4 in both stages, at least 300 steps, no averaging of weights,
    no projection head; views with crops from 0.2 of the area, jitter of 0.4, flips and blur, as
    SimCLR has them, and a little noise, as a camera has; labelled anomalies drawn as often as they
    are, as nothing is said of balance; phi pooling to one place and hidden layers of 128 with ReLU,
    the simplest that Eq. 7 allows.

    Departures: a tenth of the normals is held out from training, so that decisions can rest on
    them; the norm of Eq. 6 is divided by the root of the number of places, so that scales are
    comparable; stage 2 trains on one view of at most 1,000 normals, standardised by channel, in
    1,000 full-batch steps at a rate of 0.01, with normals and anomalies in balance, so that it
    takes seconds.
    """
    return Config(
        encoder=EncoderChoices(name="resnet50", stem_stride=1),
        memory=MemoryChoices(start="normals", beta=20.0),
        loss=LossChoices(mean_by_scale=False),
        views=ViewChoices(crop=0.2, brightness=0.4, contrast=0.4, saturation=0.4, blur=1.0),
        stage1=Stage1Choices(
            epochs=1000,
            max_steps=None,
            batch=1024,
            anomaly_share=None,
            learning_rate=0.5,
            warmup=0.01,
            weight_decay=1e-4,
        ),
        stage2=Stage2Choices(hidden=128, steps=1000, weight_decay=1e-4, prior=None),
    )


PRESETS = {
    "scratch": scratch,
    "pretrained": pretrained,
    "paper": paper,
}
AUTO = "auto"
"""In place of a preset: the fit chooses ``scratch`` or ``pretrained`` when it has seen images."""


@dataclass(frozen=True)
class Automatic:
    """Leaves the preset to the fit, with some choices given all the same.

    Attributes:
        given: The preset ``scratch`` with them laid over it.
        paths: Which they are, as ``encoder__name``; one may be given as ``scratch`` has it.
    """

    given: Config = field(default_factory=scratch)
    paths: frozenset[str] = frozenset()

    @property
    def asked(self) -> dict[str, Any]:
        """Give the choices that are given, by their paths."""
        return {path: value for path, value in flat(self.given).items() if path in self.paths}


def resolve(config: str | Config) -> Config:
    """Find a preset by its name; a configuration is passed through.

    Raises:
        ValueError: There is no such preset.
    """
    if isinstance(config, Config):
        return config
    if config not in PRESETS:
        raise ValueError(f"there is no preset {config!r}; choose from {', '.join(PRESETS)}.")
    return PRESETS[config]()


def given_choices(config: str | Config | Automatic) -> Config:
    """Find the choices that a fit begins with: a preset by its name, or ``scratch`` for "auto".

    Raises:
        ValueError: There is no such preset.
    """
    if isinstance(config, Automatic):
        return config.given
    if isinstance(config, str) and config not in (AUTO, *PRESETS):
        names = ", ".join((AUTO, *PRESETS))
        raise ValueError(f"there is no preset {config!r}; choose from {names}.")
    return scratch() if config == AUTO else resolve(config)


def automatic(config: str | Config | Automatic) -> Automatic | None:
    """Give what is given where the fit is to choose the preset; None where it is not."""
    if isinstance(config, Automatic):
        return config
    return Automatic() if config == AUTO else None


def with_choices(
    config: str | Config | Automatic, choices: Mapping[str, Any], *, changed_alone: bool = False
) -> Config | Automatic:
    """Lay choices over a configuration; they are given where the fit is to choose the preset.

    Args:
        config: As of :func:`given_choices`.
        choices: By path.
        changed_alone: Only those are given that are not as they were.

    Raises:
        ValueError: There is no such preset or choice, or a value is out of range.
    """
    before, left = given_choices(config), automatic(config)
    after = changed(before, choices)
    if left is None:
        return after
    same = flat(before).items() if changed_alone else ()
    return Automatic(after, left.paths | {each[0] for each in choices.items() if each not in same})

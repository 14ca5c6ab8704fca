"""What each ``anomem bench`` command takes, as dataclasses that tyro turns into flags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from anomem.cli.arguments import Common


@dataclass(frozen=True, kw_only=True)
class Bench(Common):
    """Of every protocol; a stopped bench goes on when it is called again."""

    data: str
    """Name of the data set, or NAME:PATH."""
    path: Path | None = None
    """Where it lies, if not said with the name."""
    draws: int = 1
    """Random draws of the training set, and seeds of the training."""
    budget_seconds: float = 120.0
    """Wall-clock seconds of each fit, all of it included."""
    most_normals: int | None = None
    """Most training images of a fit, to be done in minutes."""
    most_tested: int | None = None
    """Most test images of each kind."""
    shard: str = "1/1"
    """Part of the runs that this machine takes, as 2/3 for the second of three."""
    out: Path
    """Folder for the results, the tables and the figures."""


@dataclass(frozen=True, kw_only=True)
class Compared(Bench):
    """Of every protocol that compares methods."""

    methods: str = "default"
    """Names separated by commas: default, paper, default-kmeans, default-no-memory,
    supervised, simclr, mhrot, csi, deepsad, elsa; pretrained, neighbours."""


@dataclass(frozen=True, kw_only=True)
class OneVsAllArguments(Compared):
    """Compare methods, each class of a data set normal in turn."""

    classes: str = ""
    """Normal classes, by name, separated by commas; all if empty."""
    gammas: str = "0"
    """Shares of labelled anomalies in the training set, separated by commas."""
    anomaly_classes: Literal["all", "one"] = "all"
    """Draw the labelled anomalies from all other classes, or from a single one."""
    contamination: float = 0.0
    """Share of unlabelled anomalies among the normals."""
    on: Literal["test", "validation"] = "test"
    """Measure on the test images, or (to tune) on a split cut from the training images."""


@dataclass(frozen=True, kw_only=True)
class OodArguments(Compared):
    """Compare methods, a whole data set normal and others out of distribution."""

    against: str
    """Other data sets, as svhn:PATH,lsun:PATH."""


@dataclass(frozen=True, kw_only=True)
class CrossTypeArguments(Compared):
    """Compare methods, one kind of attack or defect never seen in training, each in turn."""

    gammas: str = "0,0.05"
    """Shares of labelled anomalies in the training set, separated by commas."""
    kinds: str = ""
    """Kinds that are left out in turn, separated by commas; all if empty."""


@dataclass(frozen=True, kw_only=True)
class LinearArguments(Compared):
    """Classify by a linear layer on what methods have learnt without labels."""


@dataclass(frozen=True, kw_only=True)
class AblationArguments(Bench):
    """Vary one choice of a method: a table or figure of the paper."""

    name: Positional[str]
    """memory, memory-linear, last-size, earlier-size, sampling-ratio, variance-weight,
    scale-weights or backbone."""
    base: Literal["default", "paper-small"] = "default"
    """Method whose other choices stay as they are."""
    classes: str = ""
    """Normal classes, by name, separated by commas; all if empty."""
    gammas: str = "0"
    """Shares of labelled anomalies in the training set, separated by commas."""


@dataclass(frozen=True, kw_only=True)
class PrototypesArguments(Common):
    """Draw prototypes among test samples by t-SNE (Figure 5 of the paper)."""

    data: str
    """Name of the data set, or NAME:PATH."""
    path: Path | None = None
    """Where it lies, if not said with the name."""
    normal: str
    """Name of the normal class."""
    preset: str = "default"
    """Choices of the detector."""
    budget_seconds: float = 120.0
    """Wall-clock seconds of the fit."""
    samples: int = 500
    """Test images of the normal class, and of all others."""
    seed: int = 0
    """Of the training and of the layout."""
    out: Path
    """Folder for the picture, the points and the manifest."""


@dataclass(frozen=True, kw_only=True)
class MergeArguments(Common):
    """Join the results of shards, and make their tables and figures."""

    folders: Annotated[Positional[list[Path]], arg(help_behavior_hint="(required)")]
    """Folders of results; where two hold the same run, the later one counts."""
    out: Path
    """Folder for the joined results."""


@dataclass(frozen=True, kw_only=True)
class DataArguments(Common):
    """Download a data set whose owner allows it, checked; for others, say where it is."""

    name: Positional[str]
    """cifar10, cifar100, svhn, cub200 or visa."""
    out: Path
    """Folder for its files."""

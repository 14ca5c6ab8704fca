"""What each ``anomem bench`` command takes, as dataclasses that tyro turns into flags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from anomem.cli.arguments import Common


@dataclass(frozen=True, kw_only=True)
class OnData(Common):
    """Holds the flags of every command that reads a data set."""

    data: str
    """Name of the data set, or NAME:PATH."""
    path: Path | None = None
    """Where it lies, if not said with the name."""


@dataclass(frozen=True, kw_only=True)
class Bench(OnData):
    """Holds the flags of every protocol; a stopped bench goes on when it is called again."""

    draws: int = 1
    """Random draws of the training set, and seeds of the training."""
    budget_seconds: float = 120.0
    """Seconds of each fit, all of it included."""
    clock: Literal["wall", "processor"] = "wall"
    """Count seconds of the wall; or those that the processor works, of all threads together, so
    that other work on the machine takes nothing from a fit. Not for a GPU."""
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
    """Holds the flags of every protocol that compares methods."""

    methods: str = "scratch"
    """Names separated by commas: scratch, paper-small, scratch-kmeans, scratch-no-memory,
    supervised, simclr, mhrot, goad, csi, deepsad, elsa, memae, dp-vae,
    piad; with ood msp, fs, energy-oe, balanced-energy; pretrained, neighbours,
    patchcore, padim, msc, dra, reverse-distillation; reverse-distillation-untrained."""


@dataclass(frozen=True, kw_only=True)
class EachClass(Bench):
    """Holds the flags of the protocols in which each class is normal in turn."""

    classes: str = ""
    """Normal classes, by name, separated by commas; all if empty."""
    gammas: str = "0"
    """Shares of labelled anomalies in the training set, separated by commas."""


@dataclass(frozen=True, kw_only=True)
class OneVsAllArguments(EachClass, Compared):
    """Compare methods, each class of a data set normal in turn."""

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
    outliers: str = ""
    """Data set that energy-oe and balanced-energy train on too, as cifar100:PATH: every second of
    its classes; where it is tested as well, the others of its classes are."""


@dataclass(frozen=True, kw_only=True)
class CrossTypeArguments(Compared):
    """Compare methods, one kind of attack or defect never seen in training, each in turn."""

    gammas: str = "0,0.05"
    """Shares of labelled anomalies in the training set, separated by commas."""
    kinds: str = ""
    """Kinds that are left out in turn, separated by commas; all if empty."""


@dataclass(frozen=True, kw_only=True)
class FewLabelsArguments(Compared):
    """Compare methods that are given a few labelled anomalies with others that are given none."""

    labels: str = "0,1,10"
    """Numbers of labelled anomalies, separated by commas; all are of the test part, and are not
    tested."""
    setting: Literal["general", "hard", "both"] = "both"
    """Label anomalies of all kinds; or of one, tested against all other kinds, each in turn."""
    kinds: str = ""
    """Kinds that are labelled in turn in the hard setting, separated by commas; all that have
    enough images if empty."""


@dataclass(frozen=True, kw_only=True)
class LinearArguments(Compared):
    """Classify by a linear layer on what methods have learnt without labels."""


@dataclass(frozen=True, kw_only=True)
class AblationArguments(EachClass):
    """Vary one choice of a method: a table or figure of the paper."""

    name: Positional[str]
    """memory, memory-linear, last-size, earlier-size, sampling-ratio, variance-weight,
    scale-weights or backbone."""
    base: Literal["scratch", "paper-small"] = "scratch"
    """Method whose other choices stay as they are."""


@dataclass(frozen=True, kw_only=True)
class PrototypesArguments(OnData):
    """Draw prototypes among test samples by t-SNE (Figure 5 of the paper)."""

    normal: str
    """Name of the normal class."""
    preset: str = "scratch"
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


def name_and_path(text: str, path: Path | None = None) -> tuple[str, Path | None]:
    """Split a data set, given as NAME or NAME:PATH, into name and path."""
    name, colon, where = text.partition(":")
    return name, Path(where) if colon else path


def listed(text: str) -> tuple[str, ...]:
    """Split what stands between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def gammas_of(text: str) -> tuple[float, ...]:
    """Read numbers from 0 to below 1 between commas, at least one.

    Raises:
        ValueError: They are not.
    """
    try:
        numbers = tuple(float(word) for word in listed(text))
    except ValueError:
        numbers = (-1.0,)
    if not numbers or not all(0 <= number < 1 for number in numbers):
        raise ValueError(f"gammas is {text!r}; give numbers from 0 to below 1, as in 0,0.05.")
    return numbers


def counts_of(text: str) -> tuple[int, ...]:
    """Read whole numbers from 0 between commas, at least one.

    Raises:
        ValueError: They are not.
    """
    words = listed(text)
    if not words or not all(word.isdecimal() for word in words):
        raise ValueError(f"labels is {text!r}; give whole numbers from 0, as in 0,1,10.")
    return tuple(map(int, words))


def shard_of(text: str) -> tuple[int, int]:
    """Read a part and the number of parts, from "2/3".

    Raises:
        ValueError: It is no such pair.
    """
    part, slash, parts = text.partition("/")
    if not (slash and part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise ValueError(f"shard is {text!r}; give a part and their number, as 2/3.")
    return int(part), int(parts)

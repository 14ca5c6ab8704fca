"""What each command takes, as dataclasses that tyro turns into flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from tyro.conf import FlagCreatePairsOff, Positional, Suppress, arg

from anomem.config import Config, FramingKind
from anomem.config.presets import AUTO, Automatic, scratch
from anomem.images.decode_memory import DEFAULT
from anomem.service.limits import Limits

_RANGES = {
    "seed": (0, 2**32 - 1),
    **dict.fromkeys(("devices", "nodes"), (1, 2**16)),
    **dict.fromkeys(("resize", "letterbox", "tile"), (1, 2**14)),
    "port": (0, 2**16 - 1),
    **dict.fromkeys(("draws", "most_normals", "most_tested", "samples"), (1, 2**31)),
    "budget_seconds": (1, 10**7),
    "decode_memory": (0.01, 10**6),
    "contamination": (0, 1),
    "fps": (0.001, 1000),
    "wait_ms": (0, 10_000),
    **dict.fromkeys(("batch", "queue", "most_images"), (1, 2**16)),
    "timeout": (0.1, 3600),
    **dict.fromkeys(("most_megabytes", "most_megapixels"), (0.01, 10**5)),
}
"""From where to where the numbers of commands go, by the names of their flags."""


@dataclass(frozen=True, kw_only=True)
class Common:
    """Holds the flags of every command."""

    json: FlagCreatePairsOff[bool] = False
    """Print the result as one JSON object on the last line."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    decode_memory: float = DEFAULT
    """Gigabytes that the decoding of images may take; an image that needs more is refused."""

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name, None)
            if isinstance(value, int | float) and not least <= value <= most:
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} is {value}; give a number from {least} to {most}.")


@dataclass(frozen=True, kw_only=True)
class Deciding(Common):
    """Holds the flags of every command that decides."""

    rule: Annotated[
        str | None,
        arg(
            help="What sets the threshold: the share of normal images that may be called "
            "anomalous, as 0.05; or, where anomalies are labelled, find-labelled (all of them are "
            "found), f1 (the best F1) or cost:MISS:SHARE (the least cost: with cost:50:0.01 a miss "
            "costs 50 false alarms and 1% of the images are anomalous). Unless given, that of the "
            "export, or 0.05."
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        from anomem.decision.threshold import rule_of  # loads NumPy, which help does without

        if self.rule is not None:
            try:
                rule_of(self.rule)
            except ValueError as error:
                raise ValueError(f"--rule {self.rule}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Demo(Common):
    """Fit, score and adapt on photographs of brick, grass and gravel; no download."""

    out: Path = Path("anomem-demo")
    """Folder for the model, the picture and the report."""
    seed: int = 0
    """Of the crops, the training and the labels."""


@dataclass(frozen=True, kw_only=True)
class Fit(Common):
    """Train a detector on normal images (folder, files or globs)."""

    normal: Annotated[
        Positional[list[str]],
        arg(
            metavar="NORMAL ...",
            help="Folders, files, globs or URLs of normal images; or a manifest, CSV with a column "
            "image (and label, split) or COCO, of which those labelled normal are meant.",
            help_behavior_hint="(required)",
        ),
    ]
    out: Path
    """Folder for the model."""
    anomalies: str | None = None
    """Folder, file or glob of labelled anomalies, or a manifest that has some."""
    split: str = "train"
    """Of the images of a manifest, where it names splits."""
    fps: float | None = None
    """Frames a second that are taken of videos; all unless given."""
    start: Annotated[Path | None, arg(name="from")] = None
    """Model that learns these images as a new kind of normal, in seconds; its choices stay."""
    preset: Annotated[
        str,
        arg(
            help="Choices to start from: scratch, pretrained or paper; auto takes pretrained for "
            "images of 20 pixels and more if its weights are on this machine, else scratch. "
            "Defaults of the choices below are those of scratch; with another preset before "
            "--help they are of that one."
        ),
    ] = AUTO
    config: Path | None = None
    """TOML file of choices, laid over the preset; flags are laid over both."""
    resize: int | None = None
    """Stretch images to as many pixels as a square of this side, in their median proportions."""
    letterbox: int | None = None
    """Side of the square that every image is fitted into, its proportions kept."""
    tile: int | None = None
    """Side of the overlapping tiles that every image is cut into, at full detail."""
    region: str | None = None
    """Where anomalies count: a mask, or corners in shares of the sides, "0.1,0.2 0.9,0.2 0.5,1"."""
    group: str | None = None
    """Regular expression on the path; its match is the part, lot, subject or video."""
    stream: FlagCreatePairsOff[bool] = False
    """Read the normals as they are trained on, where they are more than fit into memory."""
    devices: int = 1
    """Processes on each machine that share the training, one a GPU where there are GPUs."""
    nodes: int = 1
    """Machines that share the training; the command runs on each."""
    log: tuple[str, ...] = ()
    """Where figures and heat maps go too: tensorboard:FOLDER, wandb:PROJECT, mlflow:URI."""
    resume: FlagCreatePairsOff[bool] = False
    """Go on with an interrupted run of the same command."""
    seed: int = 0
    """Of every random draw."""
    choices: Annotated[Config, arg(name="")] = field(default_factory=scratch)
    given: Suppress[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {k: v for k in get_args(FramingKind) if (v := getattr(self, k)) is not None}
        if len(given) > 1:
            names = " and ".join(f"--{kind}" for kind in given)
            raise ValueError(f"{names} exclude one another; give one.")

    def framed(self) -> Config:
        """Give the choices, with the framing that the flags ask for."""
        for kind in get_args(FramingKind):
            if (side := getattr(self, kind)) is not None:
                size = side if kind == "resize" else (side, side)
                images = replace(self.choices.images, framing=kind, size=size)
                return replace(self.choices, images=images)
        return self.choices

    def wanted(self) -> Config | Automatic:
        """Give the choices, framed; those of no preset where the fit is to choose it."""
        framed = self.framed()
        if self.preset != AUTO:
            return framed
        flags = {"images__framing", "images__size"} if framed is not self.choices else set()
        return Automatic(framed, self.given | flags)


@dataclass(frozen=True, kw_only=True)
class Adapt(Common):
    """Improve a detector with labelled images, in seconds; earlier labels stay."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Folder of the model."""
    out: Path
    """Folder for the adapted model; may be the same."""
    anomalies: str | None = None
    """Folder, file or glob of labelled anomalies, or a manifest that has some."""
    masks: Annotated[
        Path | None,
        arg(
            help="Folder of masks, crack/007_mask.png for the anomaly crack/007.png: only what "
            "deviates within them is learnt, by models with memories of places (pretrained)."
        ),
    ] = None
    normal: str | None = None
    """The same of images labelled normal; at depth encoder, of the normals to train on."""
    forget: str | None = None
    """The same of images whose label is taken back, or that were set aside and count again."""
    set_aside: Annotated[
        str | None,
        arg(
            help="The same of held-out normals on which the threshold shall not rest, as a person "
            "has looked at them and found them no good normals."
        ),
    ] = None
    split: str = "train"
    """Of the images of a manifest, where it names splits."""
    labels: Path | None = None
    """CSV file of labels, as anomem label writes it or as filled by hand."""
    depth: Literal["heads", "encoder"] = "heads"
    """heads takes seconds; encoder also trains encoder and memories, a fifth as long as fit."""


@dataclass(frozen=True, kw_only=True)
class Score(Deciding):
    """Score images into a table, a row each; exits with 3 where some cannot be read."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Folder of the model."""
    images: Annotated[
        Positional[list[str]], arg(metavar="IMAGES ...", help_behavior_hint="(required)")
    ]
    """Folders, files, globs or URLs, of images, Parquet files or videos; or a manifest."""
    out: Annotated[
        str,
        arg(
            help="Table to write, .csv or .parquet; with the engine ray the folder or URL of a "
            "table in partitions. A second call goes on where the first ended. Its columns: path; "
            "of videos time, in seconds; "
            "score, in standard deviations of normals, higher is more anomalous; scale_1 and on, "
            "the part of each scale, the finest first; p_value, the share of normals that score "
            "as high; prediction, 1 where the score is above the threshold of the rule; verdict, "
            "the same in words; error, why an image has none of these."
        ),
    ]
    split: str | None = None
    """Of the images of a manifest, where it names splits; all of them unless given."""
    fps: float | None = None
    """Frames a second that are taken of videos; all unless given."""
    engine: Literal["local", "ray"] = "local"
    """local is this process; ray is the cluster of RAY_ADDRESS, or all of this machine."""
    heatmaps: Path | None = None
    """Folder for a heat map an image (PNG, of the size of the image)."""
    overlay: FlagCreatePairsOff[bool] = False
    """Lay each heat map over its image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlay and self.heatmaps is None:
            raise ValueError("--overlay lays heat maps over their images; give --heatmaps too.")


@dataclass(frozen=True, kw_only=True)
class Watch(Deciding):
    """Score every image that appears in a folder, once, also after a kill; Ctrl-C ends it."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Folder of the model."""
    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """Folder in which images appear, or in folders in it."""
    out: Path
    """File of results, a JSON line an image; what it has is not scored again."""
    sort_into: Path | None = None
    """Folder with normal/, anomalous/ and unreadable/, into which images are moved."""
    heatmaps: Path | None = None
    """Folder for a heat map an image (PNG, of the size of the image)."""
    webhook: str | None = None
    """Address to which each line is posted, until it is taken."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(Deciding):
    """Measure a detector on images: figures with 95% intervals, and how many it knew before."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Folder of the model."""
    normal: str
    """Folder, file or glob of normal images, or a manifest."""
    anomalies: str
    """Folder, file or glob of anomalous images, or a manifest."""
    split: str = "test"
    """Of the images of a manifest, where it names splits."""
    fps: float | None = None
    """Frames a second that are taken of videos; all unless given."""
    masks: Path | None = None
    """Folder of masks, crack/007_mask.png for the anomaly crack/007.png, to measure heat maps."""
    report: Path | None = None
    """Page to write (HTML): figures, misses and false alarms with their heat maps."""


@dataclass(frozen=True, kw_only=True)
class Label(Deciding):
    """Label images on a page of this machine, the most telling first, and learn; Ctrl-C ends it."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Folder of the model."""
    images: Annotated[Positional[Path], arg(metavar="IMAGES")]
    """Folder of images to label."""
    labels: Path | None = None
    """CSV file that keeps every answer; labels.csv in the folder of images unless given."""
    out: Path | None = None
    """Folder for the model that has learnt from the answers; the same model unless given."""
    port: int = 0
    """Of the page, on this machine alone; 0 takes any that is free."""


@dataclass(frozen=True, kw_only=True)
class Serve(Deciding):
    """Serve detectors over HTTP, on this machine alone unless told; SIGTERM or Ctrl-C ends it."""

    models: Annotated[
        Positional[list[Path]], arg(metavar="MODEL ...", help_behavior_hint="(required)")
    ]
    """Folders of models, each served by the name of its folder; a replaced one is read anew."""
    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs a token."""
    port: int = 8000
    """To listen on; 0 takes any that is free."""
    token_file: Path | None = None
    """File with the token that requests must bear; ANOMEM_TOKEN of the environment unless given."""
    batch: int = Limits.batch
    """Images from which on no more requests join those that are scored together."""
    wait_ms: float = Limits.wait * 1000
    """Milliseconds for which a batch waits at most until there are as many images as lately."""
    queue: int = Limits.queue
    """Images of a model that may wait; what comes beyond is told to ask again later (429)."""
    timeout: float = Limits.timeout
    """Seconds until a request must have arrived, and again until it must be answered."""
    most_megabytes: float = Limits.body / 2**20
    """Of a request."""
    most_megapixels: float = 50
    """Of an image."""
    most_images: int = Limits.images
    """Of a request."""


@dataclass(frozen=True, kw_only=True)
class Explain(Deciding):
    """Tell why images have their scores: where, and what normal place that should look like."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Folder of the model."""
    images: Annotated[
        Positional[list[str]], arg(metavar="IMAGES ...", help_behavior_hint="(required)")
    ]
    """Files, folders or globs of images of this machine; or a manifest of some."""
    split: str | None = None
    """Of the images of a manifest, where it names splits; all of them unless given."""
    out: Path | None = None
    """Folder for a picture an image (PNG): its heat map, and its odd places beside normal ones."""


@dataclass(frozen=True, kw_only=True)
class Export(Deciding):
    """Write a detector as a folder that scores without PyTorch, proved to score alike."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Folder of the model."""
    out: Path
    """Folder for the graph (ONNX), what it needs to know, and golden images with their scores."""
    images: str
    """Folder, file or glob of normal images, or a manifest; best unseen ones: the export is proved
    on them."""
    int8: FlagCreatePairsOff[bool] = False
    """Convolutions in eight bits: a smaller file, and what that changes is measured."""
    anomalies: str | None = None
    """Folder, file or glob of anomalous images, or a manifest, by which to measure what eight bits
    cost."""
    split: str = "test"
    """Of the images of a manifest, where it names splits."""


@dataclass(frozen=True, kw_only=True)
class Check(Common):
    """See on this machine that an exported folder scores as where it was exported."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """Exported folder."""


@dataclass(frozen=True, kw_only=True)
class Prototypes(Common):
    """Show what the memory believes normal to be, as a page and a table of its prototypes."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Folder of the model."""
    images: Annotated[Positional[str], arg(metavar="IMAGES")]
    """Folder, file or glob of normal images, or a manifest."""
    split: str = "train"
    """Of the images of a manifest, where it names splits."""
    out: Path
    """Folder for the page and the table."""
    explain: tuple[Path, ...] = ()
    """Images to show beside what the memory recalls in their place."""


@dataclass(frozen=True, kw_only=True)
class Info(Common):
    """Show the configuration, the training and the library versions of a model."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Folder of the model."""


Result = tuple[dict[str, Any], int]
"""What a command ends with: what ``--json`` prints, and the exit code."""

Commands = Mapping[str, tuple[type[Common], Callable[[Any], Result]]]
"""What a command takes and what it does, by its name."""

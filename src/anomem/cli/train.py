"""Commands that make a detector or change it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomem.cli.arguments import Adapt, Demo, Fit, Label, Result
from anomem.cli.decision import tell_decision, tell_left_out
from anomem.cli.progress import progress_bars
from anomem.cli.sources import opened
from anomem.runtime.printing import counted, tell

if TYPE_CHECKING:
    from anomem.detector.estimator import AnoMem
    from anomem.images.source import ImageSource
    from anomem.runtime.progress import StageProgress


def demo(arguments: Demo) -> Result:
    """Fit, score and adapt on real photographs, and write a picture and a report."""
    from anomem.cli.demo import files_of, run_demo
    from anomem.detector.model_folder import try_model_folder
    from anomem.runtime.files import try_file

    model, *files = files_of(arguments.out)
    try_model_folder(model)
    for file in files:
        try_file(file)
    with progress_bars() as progress:
        result = run_demo(
            arguments.out, seed=arguments.seed, device=arguments.device, progress=progress
        )
    thumbnails, adapted = result["knn_by_kind"], result["by_kind_adapted"]
    lines = [
        f"one-class AUROC {result['auroc_one_class']:.3f} "
        f"(8 x 8 thumbnails {result['knn_thumbnails']:.3f})",
        *(
            f"  {kind:<7} {value:.3f} (thumbnails {thumbnails[kind]:.3f}), "
            f"adapted {adapted[kind]:.3f}"
            for kind, value in result["by_kind"].items()
        ),
        f"after 10 labels, on the rest: {result['auroc_rest_one_class']:.3f} -> "
        f"{result['auroc_adapted']:.3f}",
        f"false alarms {result['false_alarms']:.1%} of normal test images, promised "
        f"{result['false_alarms_promised']:.0%} or less on average",
        f"model {result['model']}, picture {result['picture']}",
        f"report {result['report']}, {result['seconds']:.0f} s",
    ]
    for line in lines:
        tell(line)
    return result, 0


def fit(arguments: Fit) -> Result:
    """Train a detector on normal images."""
    from anomem.detector.estimator import AnoMem
    from anomem.detector.model_folder import checkpoint_of, log_of, try_model_folder
    from anomem.runtime.processes import leads
    from anomem.training.collapse import ScaleFigures

    try_model_folder(arguments.out)
    if arguments.start is not None:
        return _extend(arguments, arguments.start)
    checkpoint = checkpoint_of(arguments.out)
    if not arguments.resume:
        checkpoint.unlink(missing_ok=True)
        log_of(arguments.out).unlink(missing_ok=True)
    model = AnoMem(
        arguments.wanted(),
        device=arguments.device,
        devices=arguments.devices,
        nodes=arguments.nodes,
        log=(f"csv:{log_of(arguments.out)}", *arguments.log),
        seed=arguments.seed,
    )
    with progress_bars() as progress:
        source = _learn(model, arguments, checkpoint, progress)
        if arguments.devices * arguments.nodes > 1 and not leads():
            sys.exit()
        if model.network_.of_places and (unused := _of_stage1(arguments)):
            warnings.warn(
                "there is no stage 1 where prototypes are places of normals, for which "
                f"{' and '.join(unused)} would count; leave out what is in vain.",
                stacklevel=2,
            )
        _save_trained(model, arguments.out, checkpoint)
        strangers = least_normal(model, source, progress)
    summary = model.summary_
    tell(f"{arguments.out}: {_trained(summary)}, {summary['seconds']:.0f} s; {_support(summary)}")
    for number, figures in enumerate(summary.get("scales", ()), 1):
        tell(f"scale {number}: {ScaleFigures(**figures)}")
    tell_left_out(summary["left_out"], summary["held_out"])
    ranked = summary["held_out_in_turn"] or len(source)
    tell(f"those that look least normal (score), of {counted(ranked, 'image')}:")
    for name, value in strangers[:5]:
        tell(f"  {name} ({value:.1f})")
    told = {"model": str(arguments.out), "least_normal": strangers, **tell_decision(model)}
    return {**told, **summary}, 0


def _normals_known(model: AnoMem) -> int:
    """Count the normals of a model, those that are trained on and held out in turn once."""
    trained: int = model.summary_["normals"]
    return trained + int((~model.bank_.held_out_in_turn).sum())


_TRAINED = (
    *("stage1__", "views__", "pseudo__", "memory__start", "memory__beta", "memory__steps"),
    "score__neighbours",
    *("memory__unit_norm", "loss__temperature", "loss__soft_class", "loss__variance_weight"),
    *("loss__mean_by_scale", "loss__sampling_ratios", "compute__precision", "compute__compile"),
)
"""Choices, or groups of them, that count where memories are trained."""


def _of_stage1(arguments: Fit) -> list[str]:
    """Flags that are given and count for stage 1 alone."""
    choices = sorted(path for path in arguments.given if path.startswith(_TRAINED))
    flags = [f"--{path}".replace("__", ".").replace("_", "-") for path in choices]
    return ["--resume", *flags] if arguments.resume else flags


def _trained(summary: dict[str, Any]) -> str:
    """What a fit did, in words."""
    normals, anomalies = summary["normals"], summary["anomalies"]
    if summary["steps"] == 0:
        learnt = f", {_anomalies(anomalies)} learnt" if anomalies else ""
        return f"prototypes chosen among places of {counted(normals, 'normal')}{learnt}"
    return (
        f"trained on {counted(normals, 'normal')} and {_anomalies(anomalies)} in "
        f"{counted(summary['steps'], 'step')}"
    )


def _anomalies(count: int) -> str:
    return counted(count, "anomaly", "anomalies")


def _support(summary: dict[str, Any]) -> str:
    """What rate of false alarms the held-out normals support, in words."""
    images, groups, kinds = (summary[f"held_out{of}"] for of in ("", "_groups", "_by_kind"))
    of_groups = "" if groups == images else f" of {counted(groups, 'group')}"
    held_out = f"{counted(images, 'held-out normal')}{of_groups}"
    if summary["held_out_in_turn"] == images:
        held_out = f"{counted(images, 'normal')}{of_groups}, each held out in turn,"
    line = f"{held_out} support alpha >= {summary['smallest_alpha']:.3g}"
    if len(kinds) == 1:
        return line
    fewest = min(groups for _, groups in kinds)
    return (
        f"{line}, as of {len(kinds)} kinds of normal the one with the fewest has {fewest} of them"
    )


def _supported(summary: dict[str, Any]) -> dict[str, Any]:
    """The same as JSON."""
    return {name: summary[name] for name in ("held_out", "held_out_groups", "smallest_alpha")}


def _learn(model: AnoMem, arguments: Fit, checkpoint: Path, progress: StageProgress) -> ImageSource:
    """Fit, from images in memory or streamed, and give back those to be scored once more."""
    from anomem.detector.streamed import spread

    source, groups = _normals(arguments)
    given: dict[str, Any] = {
        "anomalies": _anomalies_of(arguments),
        "region": arguments.region,
        "checkpoint": checkpoint,
        "progress": progress,
    }
    if not arguments.stream:
        model.fit(source, groups=groups, **given)
        return source
    if groups is not None:
        raise ValueError("--group needs all names in memory; give it without --stream.")
    model.fit_stream(source, **given)
    return spread(source)


def least_normal(
    model: AnoMem, source: ImageSource, progress: StageProgress | None = None
) -> list[tuple[str, float]]:
    """Name and score the ten images with the highest scores, where unlabelled anomalies are.

    A memory that holds places of an image finds nothing odd in it, so that normals held out in turn
    have the scores of the memories without them.
    """
    import numpy as np

    if model.bank_.held_out_in_turn.all():
        names: Sequence[str] = model.bank_.held_out_name
        scores = model.calibration().scores.astype(np.float32)
    else:
        names, scores = source.names, model.score_images(source, progress=progress).score
    readable = np.flatnonzero(~np.isnan(scores))
    highest = readable[np.argsort(-scores[readable], kind="stable")[:10]]
    return [(names[i], round(float(scores[i]), 3)) for i in highest]


def _save_trained(model: AnoMem, out: Path, checkpoint: Path) -> None:
    """Save a model and its log, drop the checkpoint; keep that where the model finds no room."""
    from anomem.detector.model_folder import LOG, log_of
    from anomem.runtime.files import WriteError

    try:
        model.save(out)
    except WriteError as error:
        if checkpoint.exists():
            raise WriteError(
                f"{error} What is trained is in {checkpoint}; the same command with --resume "
                "goes on from there."
            ) from error
        raise
    checkpoint.unlink(missing_ok=True)
    kept, log = Path(os.path.realpath(out), LOG), log_of(out)
    kept.unlink(missing_ok=True)
    if log.exists():
        log.replace(kept)


def _normals(arguments: Fit) -> tuple[ImageSource, list[str] | None]:
    """The images to learn from, and the group of each where a pattern is given."""
    from anomem.images.listing import groups_by_pattern

    source = opened(arguments.normal, 0, arguments.split, fps=arguments.fps)
    return source, groups_by_pattern(source.names, arguments.group) if arguments.group else None


def _anomalies_of(arguments: Fit) -> ImageSource | None:
    """The labelled anomalies to learn from."""
    if arguments.anomalies is None:
        return None
    return opened(arguments.anomalies, 1, arguments.split, fps=arguments.fps)


def _extend(arguments: Fit, start: Path) -> Result:
    """Learn a new kind of normal, from a model."""
    from anomem.config.presets import Automatic
    from anomem.detector.estimator import load_trained

    more = arguments.anomalies or arguments.region or arguments.stream or arguments.log
    if arguments.wanted() != Automatic() or more or arguments.devices * arguments.nodes > 1:
        raise ValueError(
            f"{start} keeps its choices and its region, and learns in memory at once; give normal "
            "images and no choice with --from, and anomalies to anomem adapt."
        )
    source, groups = _normals(arguments)
    model = load_trained(start, device=arguments.device)
    before = _normals_known(model)
    with progress_bars() as progress:
        model.extend(source, groups=groups, progress=progress)
    model.save(arguments.out)
    new = _normals_known(model) - before
    tell(f"{arguments.out}: {counted(new, 'new normal')}; {_support(model.summary_)}")
    tell_left_out(model.summary_["left_out"], model.summary_["held_out"])
    return {
        "model": str(arguments.out),
        "normals": new,
        **_supported(model.summary_),
        **tell_decision(model),
    }, 0


def adapt(arguments: Adapt) -> Result:
    """Improve a detector with labelled images, in seconds."""
    from anomem.detector.estimator import load_trained
    from anomem.detector.model_folder import try_model_folder
    from anomem.images.combined import JoinedSource

    try_model_folder(arguments.out)
    sources = _labelled(arguments)
    masks = _masks(arguments, sources)
    to_train = arguments.normal if arguments.depth == "encoder" else None
    normals = None if to_train is None else opened(to_train, 0, arguments.split)
    aside = None
    if arguments.set_aside is not None:
        aside = opened(arguments.set_aside, split=arguments.split)
    model = load_trained(arguments.model, device=arguments.device)
    before = len(model.bank_.labelled)
    with progress_bars() as progress:
        if forgotten := sources.pop(-1, None):
            model.forget(JoinedSource(forgotten), progress=progress)
        taken_back = before - len(model.bank_.labelled)
        if aside is not None:
            model.set_aside(aside, progress=progress)
        if sources:
            given = [(source, label) for label in sources for source in sources[label]]
            images = JoinedSource([source for source, _ in given])
            model.adapt(
                images,
                [label for source, label in given for _ in range(len(source))],
                depth=arguments.depth,
                normal=normals,
                masks=None if masks is None else [masks.get(name) for name in images.names],
                progress=progress,
            )
    model.save(arguments.out)
    labels = model.bank_.labelled.label.tolist()
    standing = model.summary_
    tell(
        f"{arguments.out}: {_anomalies(labels.count(1))} and {counted(labels.count(0), 'normal')} "
        "labelled"
        + (f"; {counted(taken_back, 'label')} taken back" if forgotten else "")
        + f"; {standing['set_aside']} set aside; {_support(standing)}"
    )
    return {
        "model": str(arguments.out),
        "anomalies": labels.count(1),
        "normals": labels.count(0),
        "set_aside": standing["set_aside"],
        **_supported(standing),
        **tell_decision(model),
    }, 0


def _masks(arguments: Adapt, labelled: dict[int, list[ImageSource]]) -> dict[str, Path] | None:
    """The masks of the images below the folder of anomalies, by the names of these."""
    from anomem.images.masks import mask_files

    if arguments.masks is None:
        return None
    if arguments.anomalies is None:
        raise ValueError("--masks is of the images of --anomalies; give their folder too.")
    names = labelled[1][0].names
    files = [Path(name) for name in names]
    found = mask_files(files, Path(arguments.anomalies), arguments.masks)
    return dict(zip(names, found, strict=True))


def _labelled(arguments: Adapt) -> dict[int, list[ImageSource]]:
    """The images of each label, -1 being of those to forget, from folders and a table."""
    from anomem.images.labels import refuse_shared
    from anomem.images.local import FileSource
    from anomem.labelling.answers import AnswerFile
    from anomem.labelling.learning import missing

    given = ((1, arguments.anomalies), (0, arguments.normal), (-1, arguments.forget))
    sources = {
        label: [opened(paths, None if label == -1 else label, arguments.split)]
        for label, paths in given
        if paths is not None
    }
    kinds = {0: "normals", 1: "anomalies", -1: "images to forget"}
    for one, other in combinations(sorted(sources), 2):
        refuse_shared(sources[one][0], sources[other][0], (kinds[one], kinds[other]))
    if arguments.depth == "encoder":
        sources.pop(0, None)  # those to train on, without a label
    if arguments.labels is not None:
        if not arguments.labels.exists():
            raise ValueError(f"{arguments.labels}: there is no such file; check the path.")
        answered = AnswerFile(arguments.labels).labels()
        gone = missing(list(answered))
        if gone and len(gone) == len(answered):
            raise ValueError(f"{arguments.labels}: no image can be read, as {gone[min(gone)]}")
        if gone:
            warnings.warn(
                f"{len(gone)} labelled images are left out, as {gone[min(gone)]}", stacklevel=2
            )
        for label in kinds:
            files = [Path(f) for f in answered if answered[f] == label and f not in gone]
            if files:
                sources.setdefault(label, []).append(FileSource(files))
    if not sources and arguments.set_aside is None:
        raise ValueError(
            "there is nothing to adapt to; give --anomalies, --normal, --labels, --forget or "
            "--set-aside."
        )
    return sources


def label(arguments: Label) -> Result:
    """Show the labelling page until interrupted."""
    from anomem.detector.estimator import load_trained
    from anomem.detector.model_folder import try_model_folder
    from anomem.images.listing import list_images
    from anomem.labelling.answers import AnswerFile
    from anomem.labelling.server import serve
    from anomem.labelling.session import Session

    out = arguments.out or arguments.model
    try_model_folder(out)
    answers = AnswerFile(arguments.labels or arguments.images / "labels.csv")
    answers.read()  # or what is wrong with it is told when all images are measured
    files = list_images(arguments.images)
    model = load_trained(arguments.model, device=arguments.device)
    rule = arguments.rule or model.rule
    with progress_bars() as progress:
        session = Session(model, files, answers, out=out, rule=rule, progress=progress)
    with suppress(KeyboardInterrupt):
        serve(session, arguments.port)
    now = session.standing()
    low, high = now.anomalies_left
    tell(
        f"{answers.file}: {now.normal} normal and {now.anomalous} anomalous; {now.left} images "
        f"not looked at, {low} to {high} of them anomalous"
    )
    decided = tell_decision(model, rule)
    return {
        "answers": str(answers.file),
        "model": str(out),
        "normal": now.normal,
        "anomalous": now.anomalous,
        "left": now.left,
        "anomalies_left": now.anomalies_left,
        **decided,
    }, 0

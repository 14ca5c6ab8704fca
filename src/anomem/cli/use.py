"""Commands that ask a detector: of images, of its memory, of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomem.cli.arguments import Evaluate, Explain, Info, Prototypes, Result, Score, Serve
from anomem.cli.decision import tell_decision, tell_left_out
from anomem.cli.progress import progress_bars
from anomem.cli.sources import opened
from anomem.runtime.printing import counted, printable, tell
from anomem.runtime.untrusted import check_regular

_SHOWN = 3
"""Odd places of an image that are told and drawn."""
_SHOWN_OF_EXPORTED = (
    "made_of", "framing", "shape", "dtype", "rule", "threshold", "measured", "summary", "config",
)  # fmt: skip

if TYPE_CHECKING:
    from anomem.decision.ready import ReadyDetector
    from anomem.evaluation.evaluate import Evaluation
    from anomem.evaluation.localisation import Localisation
    from anomem.runtime.progress import StageProgress


def score(arguments: Score) -> Result:
    """Score images into a table, a row each; unreadable ones get a row with their error."""
    if arguments.engine == "ray":
        return _score_on_ray(arguments)
    from anomem.bulk.score_table import ScoreCounts, check_table, write_table
    from anomem.bulk.unfinished import Unfinished, finish_table, made_by
    from anomem.cli.outputs import picture_files, refuse_among_images, refuse_input
    from anomem.detector.load import load
    from anomem.evaluation.drift import first_change
    from anomem.images.local import FileSource
    from anomem.runtime.files import try_file, try_folder

    check_table(arguments.out)
    out = Path(arguments.out)
    try_file(out)
    source = opened(arguments.images, split=arguments.split, fps=arguments.fps)
    refuse_input(out, arguments.images, source)
    if arguments.heatmaps is not None and not isinstance(source, FileSource):
        raise ValueError("heat maps are made of files of this machine; leave out --heatmaps.")
    heat = {}
    if arguments.heatmaps is not None:
        try_folder(arguments.heatmaps)
        refuse_among_images(arguments.heatmaps, arguments.images, source.names)
        heat = picture_files(source.names, arguments.heatmaps, "heat map")
    model = load(arguments.model, device=arguments.device)
    rule = arguments.rule or model.rule
    unfinished = Unfinished(out, made_by(arguments.model, rule))
    with progress_bars() as progress:
        table = finish_table(model, source, unfinished, rule=rule, progress=progress)
        write_table(table, out)
        unfinished.remove()
        errors = table["error"].to_pylist()
        readable = [n for n, error in zip(source.names, errors, strict=True) if error is None]
        heat = {name: heat[name] for name in readable if name in heat}
        failed = _write_heat_maps(model, heat, arguments.overlay, progress) if heat else []
    found = ScoreCounts.of(table)
    tell(f"{out}: {counted(found.images, 'image')}, {found.anomalous} called anomalous")
    decided = tell_decision(model, rule)
    scores = zip(source.names, table["score"].to_pylist(), strict=True)
    scored = {name: score for name, score in scores if score is not None}
    change = first_change(model.calibration(), scored)
    if change is not None:
        tell(str(change))
    for error in [*filter(None, errors), *failed]:
        tell(f"anomem: {error}", error=True)
    drift = None if change is None else change.as_json()
    result = {"table": str(out), **asdict(found), **decided, "drift": drift}
    return result, found.exit_code or (3 if failed else 0)


def _score_on_ray(arguments: Score) -> Result:
    """Score a corpus into the partitions of a table, those excepted that are there."""
    if arguments.heatmaps is not None:
        raise ValueError("the engine ray writes no heat maps; leave out --heatmaps.")
    if Path(arguments.out).suffix in (".csv", ".parquet"):
        raise ValueError(f"{arguments.out} is a file; give a folder with the engine ray.")
    from anomem.bulk.partitions import Partitions, plan, remove_outdated
    from anomem.bulk.ray_cluster import score_shards
    from anomem.bulk.score_table import ScoreCounts
    from anomem.cli.outputs import refuse_input
    from anomem.detector.load import load
    from anomem.images.listing import absolute

    source = opened([absolute(path) for path in arguments.images], split=arguments.split)
    # A rule that is refused or warns does so once, here, and not in each worker.
    model = load(arguments.model, device="cpu")
    rule = arguments.rule or model.rule
    model.threshold(rule)
    refuse_input(Path(arguments.out, "any.parquet"), arguments.images, source)
    partitions = Partitions(arguments.out)
    partitions.claim(arguments.model, rule)
    before, shards = partitions.names(), plan(source, partitions)
    images, now = sum(len(shard.images) for shard in shards), ScoreCounts()
    with progress_bars() as progress:
        progress("scoring", 0, images)
        for counts in score_shards(
            shards, arguments.model, partitions, rule=rule, device=arguments.device
        ):
            now += counts
            progress("scoring", now.images, images)
    if partitions.names() - before - {shard.partition for shard in shards}:  # by another call
        remove_outdated(source, partitions)
    tell(
        f"{arguments.out}: {counted(now.images, 'image')}, {now.anomalous} called anomalous; "
        f"{counted(len(before), 'partition')} finished before"
    )
    decided = tell_decision(model, rule)
    if now.errors:
        tell(f"anomem: {counted(now.errors, 'image')} cannot be read; see the rows.", error=True)
    result = {"table": arguments.out, **asdict(now), "finished_before": len(before)}
    return {**result, **decided}, now.exit_code


def _write_heat_maps(
    model: ReadyDetector, files: Mapping[str, Path], overlay: bool, progress: StageProgress
) -> list[str]:
    """Write the heat map of each image to its file; what came of those that failed."""
    from anomem.images.local import FileSource
    from anomem.report.heat import save_heat
    from anomem.report.pictures import in_colours

    failed = []
    source = FileSource([Path(name) for name in files])
    heats = model.heat_images(source, progress=progress)
    for index, ((name, file), heat) in enumerate(zip(files.items(), heats, strict=True)):
        if isinstance(heat, str):
            failed.append(f"no heat map of {heat}")
            continue
        try:
            image = in_colours(source[index]) if overlay else None
            save_heat(heat, file, image)
        except (OSError, ValueError, MemoryError) as error:
            failed.append(f"no heat map of {name}: {error}")
    return failed


def serve(arguments: Serve) -> Result:
    """Serve detectors over HTTP until SIGTERM or SIGINT."""
    from anomem.images.decode_memory import BUDGET
    from anomem.service.limits import Limits
    from anomem.service.server import serve, token_for
    from anomem.service.service import Service

    token = token_for(arguments.host, arguments.token_file)
    limits = Limits(
        batch=arguments.batch,
        wait=arguments.wait_ms / 1000,
        queue=arguments.queue,
        timeout=arguments.timeout,
        body=int(arguments.most_megabytes * 2**20),
        images=arguments.most_images,
    )
    BUDGET.pixels = int(arguments.most_megapixels * 1e6)
    service = Service(arguments.models, arguments.rule, arguments.device, limits)
    serve(service, arguments.host, arguments.port, token)
    return {"models": list(service.engines)}, 0


def explain(arguments: Explain) -> Result:
    """Tell why images have their scores, in words and as pictures."""
    from anomem.cli.outputs import picture_files, refuse_among_images
    from anomem.detector.load import load
    from anomem.images.errors import ImageError
    from anomem.images.local import FileSource
    from anomem.runtime.files import try_folder

    source = opened(arguments.images, split=arguments.split)
    if not isinstance(source, FileSource):
        raise ValueError("files of this machine are explained; give paths of some.")
    files: dict[str, Path] = {}
    if arguments.out is not None:
        try_folder(arguments.out)
        refuse_among_images(arguments.out, arguments.images, source.names)
        files = picture_files(source.names, arguments.out, "explanation")
    model = load(arguments.model, device=arguments.device)
    threshold, told, unreadable = model.threshold(arguments.rule), list[dict[str, Any]](), 0
    for index, name in enumerate(source.names):
        try:
            explained = model.explain(Path(name))
        except ImageError as error:
            tell(f"anomem: {error}", error=True)
            told.append({"path": name, "error": str(error)})
            unreadable += 1
            continue
        verdict = "anomalous" if explained.score > threshold else "normal"
        told_score = f"score {explained.score:.2f}, {verdict} (threshold {threshold:.2f})"
        odd = explained.odd[:_SHOWN]
        tell(f"{name}: {told_score}")
        parts = explained.scale_scores.items()
        tell("  " + ", ".join(f"{scale} {part:.2f}" for scale, part in parts))
        for number, place in enumerate(odd, start=1):
            tell(f"  {number}. {place}")
        if explained.beside:
            what = "the whole image" if odd else "the places that are most unusual"
            tell(f"  {explained.beside:+.2f} of it by {what}")
        if name in files:
            from anomem.report.explanation import save_explanation

            title = f"{printable(Path(name).name)}: {told_score}"
            save_explanation(files[name], title, source[index], explained.heat, odd)
        told.append(
            {
                "path": name,
                "score": explained.score,
                "scale_scores": explained.scale_scores,
                "prediction": int(explained.score > threshold),
                "places": [place.as_json() for place in explained.odd],
                "beside": explained.beside,
            }
        )
    pictures = None if arguments.out is None else str(arguments.out)
    return {"threshold": threshold, "images": told, "pictures": pictures}, 3 if unreadable else 0


def evaluate(arguments: Evaluate) -> Result:
    """Measure a detector on labelled images."""
    from anomem.cli.outputs import refuse_report
    from anomem.detector.estimator import load_trained
    from anomem.evaluation.evaluate import evaluate
    from anomem.evaluation.localisation import localise
    from anomem.images.labels import refuse_shared
    from anomem.images.masks import mask_files
    from anomem.runtime.files import try_file

    if arguments.report is not None:
        from anomem.report.evaluation import write_report

        try_file(arguments.report)
    folder = Path(arguments.anomalies)
    split, fps = arguments.split, arguments.fps
    normals = opened(arguments.normal, 0, split, fps=fps)
    anomalies = opened(arguments.anomalies, 1, split, fps=fps)
    refuse_shared(normals, anomalies)
    files = [Path(name) for name in anomalies.names]
    masks = [] if arguments.masks is None else mask_files(files, folder, arguments.masks)
    if arguments.report is not None:
        images = [*normals.names, *anomalies.names]
        refuse_report(arguments.report, arguments.model, images, masks)
    model = load_trained(arguments.model, device=arguments.device)
    rule, localisation = arguments.rule or model.rule, None
    with progress_bars() as progress:
        evaluation = evaluate(model, normals, anomalies, rule=rule, masks=masks, progress=progress)
        if masks:
            heats = model.heat_maps(evaluation.images, progress=progress)
            localisation = localise(heats, len(normals), files, folder, masks)
    result = _tell_evaluation(evaluation, localisation) | tell_decision(model, rule)
    if arguments.report is not None:
        with progress_bars() as progress:
            write_report(
                model,
                evaluation,
                arguments.report,
                title=str(arguments.model),
                rule=rule,
                localisation=localisation,
                progress=partial(progress, "report"),
            )
        result["report"] = str(arguments.report)
        tell(str(arguments.report))
    return result, 0


def _tell_evaluation(evaluation: Evaluation, localisation: Localisation | None) -> dict[str, Any]:
    """Tell the figures of an evaluation; the same as JSON."""
    from anomem.evaluation.intervals import detection_intervals
    from anomem.evaluation.metrics import detection_metrics

    normal, anomalous, threshold = evaluation.normal, evaluation.anomalous, evaluation.threshold
    result: dict[str, Any] = detection_metrics(normal, anomalous, threshold)
    result |= {
        "threshold": threshold,
        "false_alarm_rate": float((normal > threshold).mean()),
        "detection_rate": float((anomalous > threshold).mean()),
        "normals": len(normal),
        "anomalies": len(anomalous),
    }
    intervals = detection_intervals(normal, anomalous, threshold)
    ends = {name: f" [{low:.3f}, {high:.3f}]" for name, (low, high) in intervals.items()}
    for name, value in result.items():
        tell(f"{name:<18} {value:.4g}{ends.get(name, '')}")
    tell("in brackets: 95% intervals, as long as no two images show the same part")
    if str(evaluation.known):
        tell(str(evaluation.known))
    result |= {"intervals": intervals, "known": evaluation.known.as_json()}
    if localisation is not None:
        result["places"] = localisation.by_name
        for name, metrics in localisation.by_name.items():
            tell(f"{name}: " + ", ".join(f"{what} {value:.3f}" for what, value in metrics.items()))
    return result


def prototypes(arguments: Prototypes) -> Result:
    """Show what the memory believes normal to be, on a page to browse."""
    from anomem.cli.outputs import refuse_among_images
    from anomem.detector.estimator import load_trained
    from anomem.detector.nearest_places import find_prototypes
    from anomem.images.framing import FrameSource
    from anomem.report.prototypes import Recalled, write_prototypes
    from anomem.runtime.files import try_folder

    try_folder(arguments.out)
    source = opened(arguments.images, 0, arguments.split)
    refuse_among_images(arguments.out / "pictures", [arguments.images], source.names)
    model = load_trained(arguments.model, device=arguments.device)
    shown = [Recalled.of(path, model.explain(path)) for path in arguments.explain]
    frames = FrameSource(source, model.framing_)
    with progress_bars() as progress:
        scales = find_prototypes(
            model.network_, frames, model.framing_.shape, progress=partial(progress, "places")
        )
    page = write_prototypes(
        scales, frames, arguments.out, title=str(arguments.model), explained=shown
    )
    tell(str(page))
    for scale in scales:
        tell(
            f"{scale.name}: {len(scale.usage)} prototypes, {scale.dead} recalled most by no place, "
            f"the others as {scale.in_use:.0f} of equal share"
        )
    result = {
        s.name: {"prototypes": len(s.usage), "dead": s.dead, "in_use": s.in_use} for s in scales
    }
    return {"page": str(page), **result}, 0


def info(arguments: Info) -> Result:
    """Show what a saved model is."""
    from anomem.decision.expected_alarms import expected_at
    from anomem.decision.threshold import FalseAlarms
    from anomem.detector.model_info import DESCRIPTION, Described, damaged, load_description
    from anomem.exported.folder import is_exported

    if is_exported(arguments.model):
        return _info_of_exported(arguments.model)
    description = load_description(arguments.model)
    files = (arguments.model / name for name in (DESCRIPTION, description["weights"]))
    try:
        described = Described.of(description)
        description["config"] = asdict(described.config)
        size = sum(check_regular(file) for file in files)
    except ValueError as error:
        raise damaged(arguments.model, error) from error
    for part in ("shape", "summary", "config"):
        _print_nested(part, description[part], 0)
    tell(f"size: {size / 2**20:.1f} MiB")
    tell_left_out(described.left_out, sum(images for images, _ in described.held_out))
    alarms = expected_at(FalseAlarms().alpha, described.held_out, in_turn=described.in_turn)
    tell(str(alarms))
    return {**description, "bytes": size, "expected_alarms": alarms.as_json()}, 0


def _info_of_exported(model: Path) -> Result:
    """Show what an exported model is."""
    from anomem.decision.expected_alarms import expected_at
    from anomem.decision.threshold import FalseAlarms
    from anomem.exported.folder import DESCRIPTION, GRAPH, read

    exported = read(model)
    description = exported.as_json()
    size = sum(check_regular(model / name) for name in (DESCRIPTION, GRAPH))
    for part in _SHOWN_OF_EXPORTED:
        _print_nested(part, description[part], 0)
    tell(f"size: {size / 2**20:.1f} MiB")
    held_out = exported.calibration
    alarms = expected_at(FalseAlarms().alpha, held_out.sizes, in_turn=held_out.in_turn)
    tell(str(alarms))
    return {**description, "bytes": size, "expected_alarms": alarms.as_json()}, 0


def _print_nested(name: str, value: Any, depth: int) -> None:
    if isinstance(value, dict):
        tell(f"{'  ' * depth}{name}:")
        for key, part in value.items():
            _print_nested(key, part, depth + 1)
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        for number, part in enumerate(value, 1):
            _print_nested(f"{name} {number}", part, depth)
    else:
        tell(f"{'  ' * depth}{name}: {value}")

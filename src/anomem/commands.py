"""One thin function a command: what is asked for, done, and told."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomem.arguments import Adapt, Demo, Evaluate, Fit, Info, Prototypes, Result, Score
from anomem.progress import progress_bars

if TYPE_CHECKING:
    from anomem.data.sources import ImageSource
    from anomem.detector import AnoMem


def demo(arguments: Demo) -> Result:
    """Fit, score and adapt on real photographs, and write a picture."""
    from anomem.demo import run_demo

    with progress_bars() as progress:
        result = run_demo(
            arguments.out, seed=arguments.seed, device=arguments.device, progress=progress
        ).as_json()
    print(
        f"one-class AUROC {result['auroc_one_class']:.3f} (8 x 8 thumbnails "
        f"{result['knn_thumbnails']:.3f})"
    )
    for kind, value in result["by_kind"].items():
        print(
            f"  {kind:<7} {value:.3f} (thumbnails {result['knn_by_kind'][kind]:.3f}), "
            f"adapted {result['by_kind_adapted'][kind]:.3f}"
        )
    print(
        f"after 10 labels, on the rest: {result['auroc_rest_one_class']:.3f} -> "
        f"{result['auroc_adapted']:.3f}"
    )
    print(f"model {result['model']}, picture {result['picture']}, {result['seconds']:.0f} s")
    return result, 0


def fit(arguments: Fit) -> Result:
    """Train a detector on normal images."""
    from anomem.checkpoint import check_writable
    from anomem.detector import AnoMem
    from anomem.least_normal import least_normal

    check_writable(arguments.out)
    if arguments.start is not None:
        return _extend(arguments, arguments.start)
    out = arguments.out.resolve()
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    if not arguments.resume:
        checkpoint.unlink(missing_ok=True)
    source, groups = _normals(arguments)
    model = AnoMem(arguments.framed(), device=arguments.device, seed=arguments.seed)
    with progress_bars() as progress:
        model.fit(
            source,
            anomalies=arguments.anomalies,
            groups=groups,
            region=arguments.region,
            checkpoint=checkpoint,
            progress=progress,
        )
        model.save(arguments.out)
        checkpoint.unlink(missing_ok=True)
        strangers = least_normal(model, source, progress=progress)
    summary = model.summary_
    print(
        f"{arguments.out}: trained on {summary['normals']} normals and {summary['anomalies']} "
        f"anomalies in {summary['steps']} steps, {summary['seconds']:.0f} s; "
        f"{summary['held_out']} held-out normals support alpha >= {summary['smallest_alpha']:.3g}"
    )
    print("training normals that look least normal (score):")
    for name, value in strangers[:5]:
        print(f"  {name} ({value:.1f})")
    return {"model": str(arguments.out), "least_normal": strangers, **summary}, 0


def _normals(arguments: Fit) -> tuple[ImageSource, list[str] | None]:
    """The images to learn from, and the group of each where a pattern is given."""
    from anomem.data.listing import groups_by_pattern
    from anomem.data.sources import open_images

    source = open_images(arguments.normal)
    return source, groups_by_pattern(source.names, arguments.group) if arguments.group else None


def _extend(arguments: Fit, start: Path) -> Result:
    """Learn a new kind of normal, from a model."""
    from anomem.presets import default
    from anomem.saved import load

    if arguments.framed() != default() or arguments.anomalies or arguments.region:
        raise ValueError(
            f"{start} keeps its choices and its region; give normal images and no choice with "
            "--from, and anomalies to anomem adapt."
        )
    source, groups = _normals(arguments)
    model = load(start, device=arguments.device)
    with progress_bars() as progress:
        model.extend(source, groups=groups, progress=progress)
    model.save(arguments.out)
    held_out = len(model.held_out_scores())
    print(f"{arguments.out}: {len(source)} new normals; {held_out} held-out normals of all kinds")
    return {"model": str(arguments.out), "normals": len(source), "held_out": held_out}, 0


def adapt(arguments: Adapt) -> Result:
    """Improve a detector with labelled images, in seconds."""
    from anomem.checkpoint import check_writable
    from anomem.data.joined import JoinedSource
    from anomem.data.sources import open_images
    from anomem.saved import load

    check_writable(arguments.out)
    given = [(arguments.anomalies, 1), (arguments.normal, 0), (arguments.forget, -1)]
    if arguments.depth == "encoder":
        given.remove((arguments.normal, 0))
    sources = [(open_images(paths), label) for paths, label in given if paths is not None]
    if not sources:
        raise ValueError("there is nothing to adapt to; give --anomalies, --normal or --forget.")
    label = [label for source, label in sources for _ in range(len(source))]
    model = load(arguments.model, device=arguments.device)
    with progress_bars() as progress:
        model.adapt(
            JoinedSource([source for source, _ in sources]),
            label,
            depth=arguments.depth,
            normal=arguments.normal if arguments.depth == "encoder" else None,
            progress=progress,
        )
    model.save(arguments.out)
    labels = model.reserve_.labelled.label.tolist()
    print(f"{arguments.out}: {labels.count(1)} anomalies and {labels.count(0)} normals labelled")
    return {
        "model": str(arguments.out),
        "anomalies": labels.count(1),
        "normals": labels.count(0),
    }, 0


def score(arguments: Score) -> Result:
    """Score images into a table, a row each; unreadable ones get a row with their error."""
    from anomem.data.sources import open_images
    from anomem.saved import load
    from anomem.table import check_table, score_table, write_table

    check_table(arguments.out)
    source = open_images([str(path) for path in arguments.images])
    model = load(arguments.model, device=arguments.device)
    with progress_bars() as progress:
        table = score_table(model, source, rule=arguments.rule, progress=progress)
        write_table(table, arguments.out)
        if arguments.heatmaps is not None:
            _write_heat_maps(model, table, arguments.heatmaps, progress)
    errors = [error for error in table["error"].to_pylist() if error]
    anomalous = sum(table["prediction"].drop_null().to_pylist())
    print(f"{arguments.out}: {len(table)} images, {anomalous} called anomalous")
    for error in errors:
        print(f"anomem: {error}", file=sys.stderr)
    result = {
        "table": str(arguments.out),
        "images": len(table),
        "anomalous": anomalous,
        "errors": len(errors),
    }
    return result, 1 if errors else 0


def evaluate(arguments: Evaluate) -> Result:
    """Measure a detector on labelled images."""
    from anomem.evaluation.metrics import detection_metrics
    from anomem.saved import load

    model = load(arguments.model, device=arguments.device)
    with progress_bars() as progress:
        normal = model.decision_function(arguments.normal, progress=progress)
        anomalous = model.decision_function(arguments.anomalies, progress=progress)
    threshold = model.threshold(arguments.rule)
    result: dict[str, Any] = detection_metrics(normal, anomalous, threshold)
    result |= {
        "threshold": threshold,
        "false_alarm_rate": float((normal > threshold).mean()),
        "detection_rate": float((anomalous > threshold).mean()),
        "normals": len(normal),
        "anomalies": len(anomalous),
    }
    if arguments.masks is not None:
        result["places"] = _places(model, arguments, arguments.masks)
    for name, value in result.items():
        if name != "places":
            print(f"{name:<18} {value:.4g}")
    for name, metrics in result.get("places", {}).items():
        print(f"{name}: " + ", ".join(f"{what} {value:.3f}" for what, value in metrics.items()))
    return result, 0


def _places(model: AnoMem, arguments: Evaluate, masks: Path) -> dict[str, dict[str, float]]:
    """Metrics of the heat maps: over all images, of the mean map, and of each kind of anomaly."""
    from anomem.data.listing import list_images
    from anomem.evaluation.localisation import localise

    folder = Path(arguments.anomalies)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; masks are found by paths below one.")
    with progress_bars() as progress:
        found = localise(
            lambda image: model.explain(image).heat,
            list_images(arguments.normal),
            list_images(folder),
            folder,
            masks,
            partial(progress, "heat maps"),
        )
    return {"heat maps": found.all, "mean map": found.mean_map, **found.by_kind}


def prototypes(arguments: Prototypes) -> Result:
    """Show what the memory believes normal to be, on a page to browse."""
    from anomem.data.framing import frame
    from anomem.data.sources import open_images
    from anomem.gallery import gallery
    from anomem.report.gallery import Recalled, write_gallery
    from anomem.saved import load

    source = open_images(arguments.images)
    model = load(arguments.model, device=arguments.device)
    shown = [Recalled.of(path, model.explain(path)) for path in arguments.explain]
    frames = frame(source, model.framing_).frames
    with progress_bars() as progress:
        scales = gallery(
            model.network_, frames, model.framing_.shape, progress=partial(progress, "places")
        )
    page = write_gallery(scales, frames, arguments.out, title=str(arguments.model), explained=shown)
    print(page)
    for scale in scales:
        print(
            f"{scale.name}: {len(scale.usage)} prototypes, {scale.dead} recalled most by no place, "
            f"the others as {scale.in_use:.0f} of equal share"
        )
    result = {
        s.name: {"prototypes": len(s.usage), "dead": s.dead, "in_use": s.in_use} for s in scales
    }
    return {"page": str(page), **result}, 0


def info(arguments: Info) -> Result:
    """Show what a saved model is."""
    from anomem.checkpoint import load_description

    description = load_description(arguments.model)
    size = sum(file.stat().st_size for file in arguments.model.iterdir())
    for part in ("shape", "summary", "config"):
        _print_nested(part, description[part], 0)
    print(f"size: {size / 2**20:.1f} MiB")
    return {**description, "bytes": size}, 0


def _write_heat_maps(model: AnoMem, table: Any, folder: Path, progress: Any) -> None:
    from anomem.report.heat import save_heat
    from anomem.table import heat_map_files

    readable = [
        path
        for path, error in zip(table["path"].to_pylist(), table["error"].to_pylist(), strict=True)
        if not error
    ]
    for done, (path, file) in enumerate(heat_map_files(readable, folder), start=1):
        save_heat(model.explain(path).heat, file)
        progress("heat maps", done, len(readable))


def _print_nested(name: str, value: Any, depth: int) -> None:
    if isinstance(value, dict):
        print(f"{'  ' * depth}{name}:")
        for key, part in value.items():
            _print_nested(key, part, depth + 1)
    else:
        print(f"{'  ' * depth}{name}: {value}")

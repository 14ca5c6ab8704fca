"""One thin function a command: what is asked for, run, and shown in tables and figures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomem.arguments import Common
from anomem.bench.arguments import (
    AblationArguments,
    Bench,
    CrossTypeArguments,
    DataArguments,
    LinearArguments,
    MergeArguments,
    OneVsAllArguments,
    OodArguments,
    PrototypesArguments,
)

if TYPE_CHECKING:
    from anomem.data.named import Parts
    from anomem.evaluation.methods import Method
    from anomem.evaluation.runner import BenchProtocol

Result = tuple[dict[str, Any], int]


def one_vs_all(arguments: OneVsAllArguments) -> Result:
    """Compare methods, each class of a data set normal in turn."""
    from anomem.evaluation.methods import methods_named
    from anomem.evaluation.one_vs_all import OneVsAll

    if not 0 <= arguments.contamination < 1:
        raise ValueError(
            f"contamination is {arguments.contamination}; give a share from 0 to below 1."
        )
    gammas, methods = _shares(arguments.gammas), methods_named(_words(arguments.methods))
    name, parts = _data(arguments)
    protocol = OneVsAll(
        name,
        parts,
        classes=_words(arguments.classes),
        gammas=gammas,
        draws=arguments.draws,
        anomaly_classes=arguments.anomaly_classes,
        on=arguments.on,
        contamination=arguments.contamination,
        most_normals=arguments.most_normals,
        most_tested=arguments.most_tested,
    )
    return _run(protocol, methods, arguments)


def ood(arguments: OodArguments) -> Result:
    """Compare methods, a whole data set normal and others out of distribution."""
    from anomem.data.named import load_named
    from anomem.evaluation.methods import methods_named
    from anomem.evaluation.ood import Ood

    methods = methods_named(_words(arguments.methods))
    others = {}
    for word in _words(arguments.against):
        name, path = _place(word, None)
        others[name] = load_named(name, path).test.images
    if not others:
        raise ValueError("against is empty; give other data sets, as svhn:PATH.")
    name, parts = _data(arguments)
    protocol = Ood(
        name,
        parts,
        others,
        draws=arguments.draws,
        most_normals=arguments.most_normals,
        most_tested=arguments.most_tested,
    )
    return _run(protocol, methods, arguments)


def cross_type(arguments: CrossTypeArguments) -> Result:
    """Compare methods, one kind of attack or defect never seen in training, each in turn."""
    from anomem.evaluation.cross_type import CrossType
    from anomem.evaluation.methods import methods_named

    gammas, methods = _shares(arguments.gammas), methods_named(_words(arguments.methods))
    name, parts = _data(arguments)
    protocol = CrossType(
        name,
        parts,
        gammas=gammas,
        draws=arguments.draws,
        kinds=_words(arguments.kinds),
        most_normals=arguments.most_normals,
        most_tested=arguments.most_tested,
    )
    return _run(protocol, methods, arguments)


def linear(arguments: LinearArguments) -> Result:
    """Classify by a linear layer on what methods have learnt without labels."""
    from anomem.evaluation.linear import Linear
    from anomem.evaluation.methods import methods_named

    methods = methods_named(_words(arguments.methods))
    return _run(_linear(arguments, Linear.name), methods, arguments)


def ablation(arguments: AblationArguments) -> Result:
    """Vary one choice of a preset: a table or figure of the paper."""
    from anomem.evaluation.ablation import ABLATIONS, variants
    from anomem.evaluation.one_vs_all import OneVsAll

    methods = variants(arguments.name, arguments.base)
    title = f"ablation {arguments.name}"
    if ABLATIONS[arguments.name].by == "linear":
        return _run(_linear(arguments, title), methods, arguments)
    gammas = _shares(arguments.gammas)
    name, parts = _data(arguments)
    protocol = OneVsAll(
        name,
        parts,
        classes=_words(arguments.classes),
        gammas=gammas,
        draws=arguments.draws,
        most_normals=arguments.most_normals,
        most_tested=arguments.most_tested,
        name=title,
    )
    return _run(protocol, methods, arguments)


def prototypes(arguments: PrototypesArguments) -> Result:
    """Draw prototypes among test samples by t-SNE (Figure 5 of the paper)."""
    from anomem.data.named import load_named
    from anomem.evaluation.prototypes import prototypes_among_samples
    from anomem.report.prototypes import draw_prototypes

    name, path = _place(arguments.data, arguments.path)
    layout = prototypes_among_samples(
        load_named(name, path),
        arguments.normal,
        preset=arguments.preset,
        seconds=arguments.budget_seconds,
        samples=arguments.samples,
        seed=arguments.seed,
        device=arguments.device,
    )
    draw_prototypes(layout, f"{name}, {arguments.normal} normal", arguments.out)
    print(arguments.out)
    return {"out": str(arguments.out), "prototypes": layout.counts}, 0


def merge(arguments: MergeArguments) -> Result:
    """Join the results of shards, and make their tables and figures."""
    from anomem.evaluation.manifest import join_manifests
    from anomem.evaluation.results import append, merged

    if arguments.out in arguments.folders:
        raise ValueError(f"{arguments.out} is one of the shards; give another folder.")
    target = arguments.out / "runs.jsonl"
    if target.exists():
        raise ValueError(f"{target} exists; give another folder, or delete it.")
    for run in merged([folder / "runs.jsonl" for folder in arguments.folders]):
        append(target, run)
    join_manifests(arguments.folders, arguments.out)
    return _show(arguments.out)


def data(arguments: DataArguments) -> Result:
    """Download a data set whose owner allows it, checked; for others, say where it is."""
    from anomem.data.named.download import download

    download(arguments.name, arguments.out)
    print(f"{arguments.name} is in {arguments.out}")
    return {"out": str(arguments.out)}, 0


PROTOCOLS: dict[str, tuple[type[Common], Callable[[Any], Result]]] = {
    "bench one-vs-all": (OneVsAllArguments, one_vs_all),
    "bench ood": (OodArguments, ood),
    "bench cross-type": (CrossTypeArguments, cross_type),
    "bench linear": (LinearArguments, linear),
    "bench ablation": (AblationArguments, ablation),
    "bench prototypes": (PrototypesArguments, prototypes),
    "bench merge": (MergeArguments, merge),
    "bench data": (DataArguments, data),
}


def _linear(arguments: Bench, title: str) -> BenchProtocol:
    from anomem.evaluation.linear import Linear

    name, parts = _data(arguments)
    return Linear(
        name,
        parts,
        draws=arguments.draws,
        most_normals=arguments.most_normals,
        most_tested=arguments.most_tested,
        name=title,
    )


def _run(protocol: BenchProtocol, methods: Mapping[str, Method], arguments: Bench) -> Result:
    from anomem.evaluation.manifest import note_call
    from anomem.evaluation.runner import Entry, run_protocol

    if arguments.draws < 1 or not arguments.budget_seconds > 0:
        raise ValueError("draws and budget-seconds must be above 0; correct them.")
    entry = Entry(methods, arguments.budget_seconds, arguments.device, _shard(arguments.shard))
    arguments.out.mkdir(parents=True, exist_ok=True)
    note_call(arguments.out, protocol, entry)
    for run in run_protocol(protocol, entry, arguments.out / "runs.jsonl"):
        against = f" against {run.against}" if run.against else ""
        measures = ", ".join(
            f"{name} {100 * value:.1f}"
            for name, value in run.measures.items()
            if not name.endswith(("_quarter", "_half"))
        )
        print(
            f"{run.normal}{against}, gamma {run.gamma:g} ({run.anomaly_classes}), draw {run.draw}: "
            f"{run.method} {measures} in {run.seconds:.0f} s, {run.steps} steps",
            file=sys.stderr,
        )
    return _show(arguments.out)


def _show(out: Path) -> Result:
    """Tables and figures of the results in a folder."""
    from anomem.evaluation.results import as_csv, read
    from anomem.evaluation.tables import csv_table, markdown_table
    from anomem.report.ablation import draw_ablation
    from anomem.report.curves import auroc_against_gamma, auroc_against_seconds

    results = out / "runs.jsonl"
    if not results.exists():
        raise ValueError(f"{results} does not exist, as no run was made; give a smaller shard.")
    runs = read(results)
    table = markdown_table(runs)
    (out / "table.md").write_text(table)
    (out / "table.csv").write_text(csv_table(runs))
    (out / "runs.csv").write_text(as_csv(runs))
    auroc_against_gamma(runs, out / "against-gamma.png")
    auroc_against_seconds(runs, out / "against-seconds.png")
    draw_ablation(runs, out / "against-choice.png")
    print(table)
    return {"out": str(out), "runs": len(runs)}, 0


def _data(arguments: Bench) -> tuple[str, Parts]:
    from anomem.data.named import load_named

    name, path = _place(arguments.data, arguments.path)
    return name, load_named(name, path)


def _place(word: str, path: Path | None) -> tuple[str, Path | None]:
    """Name and place of a data set, given as NAME or NAME:PATH."""
    name, colon, place = word.partition(":")
    return name, Path(place) if colon else path


def _shard(text: str) -> tuple[int, int]:
    part, slash, parts = text.partition("/")
    if not (slash and part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise ValueError(f"shard is {text!r}; give a part and their number, as 2/3.")
    return int(part), int(parts)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(word) for word in _words(text))
    except ValueError:
        shares = (-1.0,)
    if not shares or not all(0 <= share < 1 for share in shares):
        raise ValueError(f"gammas is {text!r}; give numbers from 0 to below 1, as in 0,0.05.")
    return shares

"""Compare methods on sets of images, by the protocols of the paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomem.cli.arguments import Common, Result
from anomem.runtime.printing import tell
from anomem_bench.arguments import (
    AblationArguments,
    Bench,
    CrossTypeArguments,
    DataArguments,
    EachClass,
    FewLabelsArguments,
    LinearArguments,
    MergeArguments,
    OnData,
    OneVsAllArguments,
    OodArguments,
    PrototypesArguments,
    counts_of,
    gammas_of,
    listed,
    name_and_path,
    shard_of,
)

if TYPE_CHECKING:
    from anomem_bench.methods import Method
    from anomem_bench.protocols.one_vs_all import OneVsAll
    from anomem_bench.protocols.ood import Ood
    from anomem_bench.protocols.protocol import BenchProtocol


def one_vs_all(arguments: OneVsAllArguments) -> Result:
    """Compare methods, each class of a data set normal in turn."""
    from anomem_bench.methods import methods_named

    if not 0 <= arguments.contamination < 1:
        raise ValueError(
            f"contamination is {arguments.contamination}; give a share from 0 to below 1."
        )
    methods = methods_named(listed(arguments.methods))
    protocol = replace(
        _one_vs_all(arguments),
        anomaly_classes=arguments.anomaly_classes,
        on=arguments.on,
        contamination=arguments.contamination,
    )
    return _run(protocol, methods, arguments)


def ood(arguments: OodArguments) -> Result:
    """Compare methods, a whole data set normal and others out of distribution."""
    from anomem_bench.datasets import called_of, load_named
    from anomem_bench.methods import methods_named
    from anomem_bench.protocols.ood import Ood

    methods = methods_named(listed(arguments.methods))
    others = {}
    for word in listed(arguments.against):
        name, path = name_and_path(word)
        called = called_of(name, path)
        if called in others:
            raise ValueError(f"{called} is given twice; rename one of their folders.")
        others[called] = load_named(name, path).test.images
    if not others:
        raise ValueError("against is empty; give other data sets, as svhn:PATH.")
    protocol = Ood(**_of_all(arguments), others=others)
    if arguments.outliers:
        protocol = _with_outliers(protocol, arguments)
    return _run(protocol, methods, arguments)


def _with_outliers(protocol: Ood, arguments: OodArguments) -> Ood:
    """Train on half of the classes of a set, and test none of them."""
    from anomem_bench.datasets import called_of, load_named
    from anomem_bench.protocols.ood import half_as_outliers

    name, path = name_and_path(arguments.outliers)
    called = called_of(name, path)
    sets = [(arguments.data, arguments.path), *((word, None) for word in listed(arguments.against))]
    for word, beside in sets:
        other, where = name_and_path(word, beside)
        known_as = called_of(other, where)
        if known_as == protocol.data == called or (where == path and known_as != called):
            raise ValueError(
                f"outliers are of {called}, and {known_as} has the same images; give another set."
            )
    outliers, rest = half_as_outliers(called, load_named(name, path))
    others = {
        f"{k}, other classes" if k == called else k: rest.images if k == called else images
        for k, images in protocol.others.items()
    }
    return replace(protocol, others=others, outliers=outliers)


def cross_type(arguments: CrossTypeArguments) -> Result:
    """Compare methods, one kind of attack or defect never seen in training, each in turn."""
    from anomem_bench.methods import methods_named
    from anomem_bench.protocols.cross_type import CrossType

    gammas, methods = gammas_of(arguments.gammas), methods_named(listed(arguments.methods))
    kinds = listed(arguments.kinds)
    protocol = CrossType(**_of_all(arguments), gammas=gammas, kinds=kinds)
    return _run(protocol, methods, arguments)


def few_labels(arguments: FewLabelsArguments) -> Result:
    """Compare methods that are given a few labelled anomalies with others that are given none."""
    from anomem_bench.methods import methods_named
    from anomem_bench.protocols.few_labels import FewLabels

    labels, methods = counts_of(arguments.labels), methods_named(listed(arguments.methods))
    protocol = FewLabels(**_of_all(arguments), kinds=listed(arguments.kinds), labels=labels)
    if arguments.setting != "both":
        protocol = replace(protocol, settings=(arguments.setting,))
    return _run(protocol, methods, arguments)


def linear(arguments: LinearArguments) -> Result:
    """Classify by a linear layer on what methods have learnt without labels."""
    from anomem_bench.methods import methods_named
    from anomem_bench.protocols.linear import Linear

    methods = methods_named(listed(arguments.methods))
    return _run(Linear(**_of_all(arguments)), methods, arguments)


def ablation(arguments: AblationArguments) -> Result:
    """Vary one choice of a preset: a table or figure of the paper."""
    from anomem_bench.protocols.ablation import ABLATIONS, variants
    from anomem_bench.protocols.linear import Linear

    methods = variants(arguments.name, arguments.base)
    title = f"ablation {arguments.name}"
    if ABLATIONS[arguments.name].by == "linear":
        if arguments.classes or arguments.gammas != "0":
            raise ValueError(
                f"{arguments.name} is measured by linear evaluation of all classes; leave classes "
                "and gammas out."
            )
        return _run(Linear(**_of_all(arguments), name=title), methods, arguments)
    return _run(replace(_one_vs_all(arguments), name=title), methods, arguments)


def prototypes(arguments: PrototypesArguments) -> Result:
    """Draw prototypes among test samples by t-SNE (Figure 5 of the paper)."""
    from anomem import AnoMem
    from anomem.config.presets import resolve
    from anomem.runtime.files import try_folder, write_text
    from anomem_bench.figures.prototypes import draw_prototypes
    from anomem_bench.manifest import note_call
    from anomem_bench.methods import until_the_clock_ends
    from anomem_bench.protocols.one_vs_all import OneVsAll
    from anomem_bench.protocols.prototypes import KINDS, prototypes_among_samples
    from anomem_bench.split import Caps, Cell

    try_folder(arguments.out)
    classes, caps = (arguments.normal,), Caps(tested=arguments.samples)
    protocol = OneVsAll(**_data(arguments), classes=classes, caps=caps)
    protocol.cells()  # tells whether there is such a class
    split = protocol.split(Cell(arguments.normal, 0.0, "all", arguments.seed))
    config = until_the_clock_ends(resolve(arguments.preset))
    stage1 = replace(config.stage1, max_seconds=arguments.budget_seconds)
    model = AnoMem(
        replace(config, stage1=stage1), device=arguments.device, seed=arguments.seed
    ).fit(split.normals)
    layout = prototypes_among_samples(model, split)
    out = arguments.out
    title = f"{protocol.data}, {arguments.normal} normal"
    note_call(out, protocol="prototypes", data=title, seeds=[arguments.seed],
              preset=arguments.preset, budget_seconds=arguments.budget_seconds)  # fmt: skip
    draw_prototypes(layout, title, out / "prototypes.png")
    table = layout.to_csv(index=False, float_format="%.3f", lineterminator="\n")
    write_text(out / "prototypes.csv", table)
    tell(str(out / "prototypes.png"))
    counts = layout[layout["kind"] == KINDS[-1]]["scale"].value_counts(sort=False).tolist()
    return {"out": str(out), "prototypes": counts}, 0


def merge(arguments: MergeArguments) -> Result:
    """Join the results of shards, and make their tables and figures."""
    from anomem.runtime.files import try_folder
    from anomem_bench.manifest import join_manifests
    from anomem_bench.results import append, merged

    try_folder(arguments.out)
    if arguments.out in arguments.folders:
        raise ValueError(f"{arguments.out} is one of the shards; give another folder.")
    target = arguments.out / "runs.jsonl"
    if target.exists():
        raise ValueError(f"{target} exists; give another folder, or delete it.")
    # A shard of few cells may be empty.
    files = [f for folder in arguments.folders if (f := folder / "runs.jsonl").exists()]
    for run in merged(files):
        append(target, run)
    join_manifests(arguments.folders, arguments.out)
    return _show(arguments.out)


def data(arguments: DataArguments) -> Result:
    """Download a data set whose owner allows it, checked; for others, say where it is."""
    from anomem_bench.datasets.download import download

    download(arguments.name, arguments.out)
    tell(f"{arguments.name} is in {arguments.out}")
    return {"out": str(arguments.out)}, 0


PROTOCOLS: dict[str, tuple[type[Common], Callable[[Any], Result]]] = {
    "one-vs-all": (OneVsAllArguments, one_vs_all),
    "ood": (OodArguments, ood),
    "cross-type": (CrossTypeArguments, cross_type),
    "few-labels": (FewLabelsArguments, few_labels),
    "linear": (LinearArguments, linear),
    "ablation": (AblationArguments, ablation),
    "prototypes": (PrototypesArguments, prototypes),
    "merge": (MergeArguments, merge),
    "data": (DataArguments, data),
}


def _one_vs_all(arguments: EachClass) -> OneVsAll:
    from anomem_bench.protocols.one_vs_all import OneVsAll

    gammas, classes = gammas_of(arguments.gammas), listed(arguments.classes)
    return OneVsAll(**_of_all(arguments), classes=classes, gammas=gammas)


def _of_all(arguments: Bench) -> dict[str, Any]:
    """What every protocol takes."""
    from anomem_bench.split import Caps

    caps = Caps(arguments.most_normals, arguments.most_tested)
    return {**_data(arguments), "draws": arguments.draws, "caps": caps}


def _data(arguments: OnData) -> dict[str, Any]:
    """The data set, and what it is called in results."""
    from anomem_bench.datasets import called_of, load_named

    name, path = name_and_path(arguments.data, arguments.path)
    return {"data": called_of(name, path), "parts": load_named(name, path)}


def _run(protocol: BenchProtocol, methods: Mapping[str, Method], arguments: Bench) -> Result:
    from anomem.runtime.device import make_fabric
    from anomem.runtime.files import try_folder
    from anomem_bench.manifest import note_call
    from anomem_bench.runner import Entry, run_protocol

    if arguments.draws < 1 or not arguments.budget_seconds > 0:
        raise ValueError("draws and budget-seconds must be above 0; correct them.")
    if arguments.clock == "processor" and make_fabric(arguments.device).device.type != "cpu":
        raise ValueError("clock processor counts nothing of a GPU; add --device cpu.")
    try_folder(arguments.out)
    entry = Entry(
        methods,
        arguments.budget_seconds,
        arguments.device,
        shard_of(arguments.shard),
        arguments.clock,
    )
    note_call(
        arguments.out,
        protocol=protocol.name,
        data=protocol.title,
        seeds=sorted({cell.draw for cell in protocol.cells()}),
        methods={name: method.digest for name, method in methods.items()},
        budget_seconds=entry.budget,
        clock=entry.clock,
        shard=arguments.shard,
        **protocol.details,
    )
    for run in run_protocol(protocol, entry, arguments.out / "runs.jsonl"):
        against = f" against {run.against}" if run.against else ""
        measures = ", ".join(
            f"{name} {100 * value:.1f}"
            for name, value in run.measures.items()
            if not name.endswith(("_quarter", "_half"))
        )
        tell(
            f"{run.normal}{against}, gamma {run.gamma:g} ({run.anomaly_classes}), draw {run.draw}: "
            f"{run.method} {measures} in {run.seconds:.0f} s, {run.steps} steps",
            error=True,
        )
    return _show(arguments.out)


def _show(out: Path) -> Result:
    """Tables and figures of the results in a folder."""
    from anomem.runtime.files import write_text
    from anomem_bench.figures.curves import (
        auroc_against_choices,
        auroc_against_gamma,
        auroc_against_seconds,
    )
    from anomem_bench.results import as_csv, read
    from anomem_bench.tables import csv_table, markdown_table, significance_table

    results = out / "runs.jsonl"
    if not results.exists():
        tell(f"{out}: no run; the shard is empty, or no method could be trained.", error=True)
        return {"out": str(out), "runs": 0}, 1
    runs = read(results)
    table = markdown_table(runs)
    write_text(out / "table.md", table)
    write_text(out / "table.csv", csv_table(runs))
    if sure := significance_table(runs):
        write_text(out / "significance.csv", sure)
    write_text(out / "runs.csv", as_csv(runs))
    auroc_against_gamma(runs, out / "against-gamma.png")
    auroc_against_seconds(runs, out / "against-seconds.png")
    auroc_against_choices(runs, out / "against-choice.png")
    for line in table.splitlines():
        tell(line)
    return {"out": str(out), "runs": len(runs)}, 0

"""Tables of the results of a benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean

from scipy.stats import rankdata

from anomem.evaluation.results import (
    Cells,
    Mean,
    Measure,
    Run,
    Setting,
    by_setting,
    mean_auroc,
    normals_of,
)


def markdown_table(runs: Iterable[Run]) -> str:
    """A Markdown table for each setting: rows methods, columns normal classes and their mean.

    Rows are sorted by the mean and the best of each column is bold. A method without a run of
    every class has no mean and no rank. Ranks are taken among the others, in each pair of a normal
    class and a draw that all of them have.
    """
    settings = by_setting(runs).items()
    return "\n\n".join(_table(setting, methods) for setting, methods in settings) + "\n"


def _table(setting: Setting, methods: Mapping[str, Cells]) -> str:
    normals = normals_of(methods)
    means = {method: mean_auroc(cells, normals) for method, cells in methods.items()}
    columns = {
        name: _column({m: _percent(mean_auroc(cells, [name])) for m, cells in methods.items()})
        for name in normals
    }
    columns["mean"] = _column({m: _percent(mean) for m, mean in means.items()})
    whole = {m: methods[m] for m, mean in means.items() if mean}
    columns["rank"] = _column(_mean_ranks(whole), best=min)
    early: dict[str, Measure] = {"1/4": "auroc_quarter", "1/2": "auroc_half"}
    for name, measure in early.items():
        early_means = {m: mean_auroc(cells, normals, measure) for m, cells in methods.items()}
        columns[name] = _column(
            {m: _percent(mean and Mean(mean.value, None)) for m, mean in early_means.items()}
        )
    order = sorted(methods, key=lambda m: (-mean.value if (mean := means[m]) else 1.0, m))
    rows = [["method", *columns], ["---", *["---:"] * len(columns)]]
    rows += [[m, *(column.get(m, "") for column in columns.values())] for m in order]
    return "\n".join([_caption(setting, methods), "", *(f"| {' | '.join(r)} |" for r in rows)])


def _caption(setting: Setting, methods: Mapping[str, Cells]) -> str:
    draws = Counter((method, name) for method, cells in methods.items() for name, _ in cells)
    least, most = min(draws.values()), max(draws.values())
    count = f"{most}" if least == most else f"{least} to {most}"
    return (
        f"**{setting.data}, {setting.protocol}, {setting.title}.** AUROC in %, mean ± standard "
        f"deviation over draws (n = {count}), {setting.budget:g} s a fit. Rank: mean over normal "
        "classes and draws, 1 is best. 1/4, 1/2: the mean on the way through the same fits."
    )


def _percent(mean: Mean | None) -> Mean | None:
    return mean and Mean(100 * mean.value, None if mean.std is None else 100 * mean.std)


def _column(
    values: Mapping[str, Mean | None], best: Callable[[Iterable[float]], float] = max
) -> dict[str, str]:
    """Texts of the methods that have a value; bold are all that read as the best does."""
    given = {method: mean for method, mean in values.items() if mean}
    top = f"{best(mean.value for mean in given.values()):.1f}" if given else ""
    texts = {}
    for method, mean in given.items():
        text = f"{mean.value:.1f}"
        bold = f"**{text}**" if text == top else text
        texts[method] = bold if mean.std is None else f"{bold} ± {mean.std:.1f}"
    return texts


def _mean_ranks(methods: Mapping[str, Cells]) -> dict[str, Mean | None]:
    """Mean rank by method over the cells that all of them have, ties sharing their ranks."""
    shared = set.intersection(*(set(cells) for cells in methods.values())) if methods else set()
    ranks = [
        rankdata([-cells[cell].auroc for cells in methods.values()]) for cell in sorted(shared)
    ]
    return {
        method: Mean(float(fmean(rank[place] for rank in ranks)), None) if ranks else None
        for place, method in enumerate(methods)
    }

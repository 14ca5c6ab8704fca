"""The commands ``anomem bench``: methods compared on one data set, with tables and figures."""

from __future__ import annotations

import sys
from typing import Any

from anomem.arguments import OneVsAll


def one_vs_all(arguments: OneVsAll) -> tuple[dict[str, Any], int]:
    """Compare methods, each class of a data set normal in turn."""
    from anomem.evaluation.one_vs_all import Plan, run_plan
    from anomem.evaluation.results import as_csv, read
    from anomem.evaluation.tables import markdown_table
    from anomem.report.curves import auroc_against_gamma, auroc_against_seconds

    if arguments.draws < 1 or not arguments.budget_seconds > 0:
        raise ValueError("draws and budget-seconds must be above 0; correct them.")
    if not 0 <= arguments.contamination < 1:
        raise ValueError(
            f"contamination is {arguments.contamination}; give a share from 0 to below 1."
        )
    plan = Plan(
        data=arguments.data,
        path=arguments.path,
        classes=_words(arguments.classes),
        gammas=_shares(arguments.gammas),
        draws=arguments.draws,
        anomaly_classes=arguments.anomaly_classes,
        methods=_words(arguments.methods),
        budget=arguments.budget_seconds,
        on=arguments.on,
        contamination=arguments.contamination,
        device=arguments.device,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / "runs.jsonl"
    for run in run_plan(plan, results):
        print(
            f"{run.normal}, gamma {run.gamma:g} ({run.anomaly_classes}), draw {run.draw}: "
            f"{run.method} {100 * run.auroc:.1f} in {run.seconds:.0f} s, {run.steps} steps",
            file=sys.stderr,
        )
    runs = read(results)
    table = markdown_table(runs)
    (arguments.out / "table.md").write_text(table)
    (arguments.out / "runs.csv").write_text(as_csv(runs))
    auroc_against_gamma(runs, arguments.out / "auroc-gamma.png")
    auroc_against_seconds(runs, arguments.out / "auroc-seconds.png")
    print(table)
    return {"out": str(arguments.out), "runs": len(runs)}, 0


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

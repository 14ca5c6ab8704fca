from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from anomem_bench.figures.curves import (
    auroc_against_choices,
    auroc_against_gamma,
    auroc_against_seconds,
    lines_against_choices,
    lines_against_gamma,
    lines_against_seconds,
)
from anomem_bench.results import Run

ALL = "digits, one-vs-all, 60 s, mean of 2 columns\nanomalies of all other classes"
ONE = "digits, one-vs-all, 60 s, mean of 2 columns\nanomalies of one other class"


@pytest.fixture
def one_run(one_run: Run) -> Run:
    """A run without labels, of a minute."""
    return replace(one_run, gamma=0.0, budget=60.0)


def some_runs(one_run: Run, *methods: str) -> list[Run]:
    """Two classes; a draw at gamma 0, and three at 0.05 with anomalies of all and of one class."""
    rng = np.random.default_rng(0)
    kinds: list[tuple[float, Literal["all", "one"], int]]
    kinds = [(0.0, "all", 1), (0.05, "all", 3), (0.05, "one", 3)]
    return [
        replace(
            one_run,
            method=method,
            normal=normal,
            gamma=gamma,
            anomaly_classes=kind,
            draw=draw,
            measures={
                "auroc": float(rng.uniform(0.8, 1.0)),
                "auroc_half": float(rng.uniform(0.7, 0.8)),
                "auroc_quarter": float(rng.uniform(0.6, 0.7)),
            },
        )
        for gamma, kind, draws in kinds
        for method in methods
        for normal in ("zero", "one")
        for draw in range(draws)
    ]


def slow_point(runs: list[Run], **wanted: object) -> tuple[float, float]:
    """Mean over draws and classes, and the deviation over draws of the mean over classes."""
    chosen = [run for run in runs if all(getattr(run, k) == v for k, v in wanted.items())]
    of_draw = [
        sum(run.measures["auroc"] for run in chosen if run.draw == draw) / 2
        for draw in sorted({run.draw for run in chosen})
    ]
    mean = sum(of_draw) / len(of_draw)
    if len(of_draw) == 1:
        return mean, np.nan
    return mean, (sum((value - mean) ** 2 for value in of_draw) / (len(of_draw) - 1)) ** 0.5


def test_lines_against_gamma_are_means_over_classes_and_draws(one_run: Run) -> None:
    runs = some_runs(one_run, "scratch", "peer")
    panels = lines_against_gamma(runs)
    assert list(panels) == [ALL, ONE]
    for title, kind in ((ALL, "all"), (ONE, "one")):
        assert set(panels[title]["method"]) == {"scratch", "peer"}
        for method, points in panels[title].groupby("method"):
            (start, end) = points[["x", "mean", "std"]].to_numpy()
            at_zero = slow_point(runs, method=method, gamma=0.0)
            assert start == pytest.approx((0.0, *at_zero), nan_ok=True)
            expected = slow_point(runs, method=method, gamma=0.05, anomaly_classes=kind)
            assert end == pytest.approx((0.05, *expected))


def test_all_points_against_gamma_are_of_the_same_classes(one_run: Run) -> None:
    runs = [
        *some_runs(one_run, "scratch", "peer"),
        replace(one_run, normal="two", measures={"auroc": 0.1}),
    ]
    for title, lines in lines_against_gamma(runs[:-1]).items():
        pd.testing.assert_frame_equal(lines_against_gamma(runs)[title], lines)
    without = [run for run in runs if (run.method, run.normal) != ("peer", "one") or not run.gamma]
    points = lines_against_gamma(without)[ALL]["method"].value_counts()
    assert points.to_dict() == {"scratch": 2, "peer": 1}


def test_lines_against_seconds_are_at_a_quarter_half_and_whole_budget(one_run: Run) -> None:
    runs = some_runs(one_run, "scratch")
    panels = lines_against_seconds(runs)
    assert [title.splitlines()[1] for title in panels] == [
        "gamma 0, no labelled anomaly",
        "gamma 0.05, anomalies of all other classes",
        "gamma 0.05, anomalies of one other class",
    ]
    points = next(iter(panels.values()))
    at_zero = [run for run in runs if run.gamma == 0]
    assert list(points["x"]) == [15, 30, 60]
    assert list(points["mean"]) == pytest.approx(
        [
            np.mean([run.measures[f"auroc{suffix}"] for run in at_zero])
            for suffix in ("_quarter", "_half", "")
        ]
    )


def test_choices_whose_values_are_numbers_have_curves(one_run: Run, tmp_path: Path) -> None:
    runs = [
        replace(one_run, method=f"scratch, last memory {size}", measures={"auroc": size / 100})
        for size in (64, 16)
    ]
    (curve,) = lines_against_choices([*runs, one_run]).items()
    assert curve[0] == "scratch, last memory"
    assert curve[1][["x", "mean"]].to_numpy().tolist() == [[16, 0.16], [64, 0.64]]
    auroc_against_choices(runs, tmp_path / "choices.png")
    assert (tmp_path / "choices.png").is_file()
    auroc_against_choices([one_run], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_budgets_have_panels_of_their_own(one_run: Run) -> None:
    runs = [one_run, replace(one_run, budget=120.0)]
    assert len(lines_against_gamma(runs)) == len(lines_against_seconds(runs)) == 2


def test_pictures_grow_with_their_panels_and_show_each_method(one_run: Run, tmp_path: Path) -> None:
    runs = some_runs(one_run, "scratch", "pretrained", "paper-small", "peer")
    sizes, colours = {}, {}
    for name, draw in (("gamma", auroc_against_gamma), ("seconds", auroc_against_seconds)):
        for count, part in ((1, [one_run]), (4, runs)):
            file = tmp_path / "new" / f"{name}-{count}.png"
            draw(part, file)
            with Image.open(file) as picture:
                sizes[name, count] = picture.size
                assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
                many = picture.convert("RGB").getcolors(picture.width * picture.height)
            assert many is not None
            colours[name, count] = {colour for _, colour in many}
    vermilion, blue, green = (0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2), (0x00, 0x9E, 0x73)
    for name in ("gamma", "seconds"):
        assert sizes[name, 4][0] > sizes[name, 1][0]
        assert {vermilion, blue, green} <= colours[name, 4]
        assert vermilion in colours[name, 1] and blue not in colours[name, 1]


def test_nothing_to_draw_is_told(tmp_path: Path) -> None:
    for draw in (auroc_against_gamma, auroc_against_seconds):
        with pytest.raises(ValueError, match=r"^there is no run to draw; run a benchmark first\.$"):
            draw([], tmp_path / "curves.png")


def test_classes_that_no_two_gammas_share_give_no_line(one_run: Run, tmp_path: Path) -> None:
    runs = [one_run, replace(one_run, normal="one", gamma=0.05)]
    assert [len(lines) for lines in lines_against_gamma(runs).values()] == [0]
    auroc_against_gamma(runs, tmp_path / "gamma.png")

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from lightning_fabric.loggers.csv_logs import CSVLogger

from anomem import AnoMem, Config
from anomem.runtime.loggers import Picture

Digits = dict[str, npt.NDArray[np.uint8]]


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


class Shown(CSVLogger):
    """A logger of Lightning that takes pictures too, as some do."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.pictures: list[tuple[int, Picture]] = []

    def log_image(self, key: str, images: list[Any], step: int) -> None:
        assert key == "heat"
        self.pictures.append((step, images[0]))


@pytest.fixture(scope="module")
def trained(
    hasty: Config, digits: Digits, tmp_path_factory: pytest.TempPathFactory
) -> tuple[AnoMem, Path, Shown]:
    folder = tmp_path_factory.mktemp("logs")
    shown, file = Shown(folder / "shown"), folder / "training.csv"
    config = replace(hasty, stage1=replace(hasty.stage1, min_steps=25, max_steps=25))
    model = AnoMem(config, device="cpu", log=[f"csv:{file}", shown])
    return model.fit(digits["train"], anomalies=digits["anomalous"][:3]), file, shown


def test_a_row_each_twenty_steps_and_at_the_end(trained: tuple[AnoMem, Path, Shown]) -> None:
    model, file, _ = trained
    found = rows(file)
    assert [row["step"] for row in found] == ["20", "25"]
    assert float(found[-1]["loss"]) == model.summary_["loss"]
    rates = [float(row["learning_rate"]) for row in found]
    assert rates == sorted(rates, reverse=True) and rates[-1] < rates[0] / 10
    for number, scale in enumerate(model.summary_["scales"], 1):
        assert all(float(found[-1][f"scale_{number}/{name}"]) == scale[name] for name in scale)


def test_pictures_are_of_the_same_images_over_time(trained: tuple[AnoMem, Path, Shown]) -> None:
    """Two held-out normals and two labelled anomalies, 16 x 16, each beside its heat."""
    pictures = trained[2].pictures
    assert [step for step, _ in pictures] == [20, 25]
    (_, first), *_, (_, last) = pictures
    assert first.shape == (4 * 16 * 8, 2 * 16 * 8, 3) and first.dtype == np.uint8
    images, heat = slice(None, 16 * 8), slice(16 * 8, None)
    np.testing.assert_array_equal(first[:, images], last[:, images])
    assert (first[:, heat] != last[:, heat]).any()
    covered = (last[:, heat].astype(int) - last[:, images])[..., 0].reshape(4, -1).mean(axis=1)
    assert covered[2:].min() > covered[:2].max()  # anomalies are redder


def test_looking_changes_no_score(trained: tuple[AnoMem, Path, Shown], digits: Digits) -> None:
    model = trained[0]
    alone = AnoMem(model.config, device="cpu").fit(
        digits["train"], anomalies=digits["anomalous"][:3]
    )
    for images in (digits["normal"], digits["anomalous"]):
        np.testing.assert_array_equal(
            alone.decision_function(images), model.decision_function(images)
        )


def test_an_interrupted_training_goes_on_in_its_file(
    hasty: Config, digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomem.training.checkpoint._LEAST_SECONDS", 0)
    monkeypatch.setattr("anomem.training.checkpoint._SHARE_OF_TIME", 1e9)  # after every step
    config = replace(hasty, stage1=replace(hasty.stage1, min_steps=25, max_steps=25))
    model = AnoMem(config, device="cpu", log=f"csv:{tmp_path}/log.csv")

    def stop(stage: str, done: int, _: int) -> None:
        if (stage, done) == ("stage 1", 22):
            raise KeyboardInterrupt

    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        model.fit(digits["train"], checkpoint=checkpoint, progress=stop)
    before = rows(tmp_path / "log.csv")
    assert [row["step"] for row in before] == ["20"]
    first = list[int]()
    model.fit(
        digits["train"],
        checkpoint=checkpoint,
        progress=lambda stage, done, _: first.append(done) if stage == "stage 1" else None,
    )
    assert first[0] == 22
    after = rows(tmp_path / "log.csv")
    assert [row["step"] for row in after] == ["20", "25"]
    same = [name for name in before[0] if name != "seconds"]
    assert [[r[n] for n in same] for r in after[:1]] == [[r[n] for n in same] for r in before]


def test_a_log_that_fails_ends_no_fit(hasty: Config, digits: Digits, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    model = AnoMem(hasty, device="cpu", log=f"csv:{tmp_path}/file/log.csv")
    with pytest.warns(UserWarning, match=r"the log csv:.* cannot be opened .*; the fit goes on"):
        model.fit(digits["train"])


@pytest.mark.parametrize("log", ["tensorbord:runs", "csv:", "runs"])
def test_an_unknown_log_is_refused_before_the_work(log: str, hasty: Config) -> None:
    with pytest.raises(ValueError, match=r"give tensorboard:FOLDER, wandb:PROJECT, mlflow:URI or"):
        AnoMem(hasty, log=log).fit("nowhere")

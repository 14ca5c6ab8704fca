from pathlib import Path

import numpy as np
import pytest

from anomem.runtime.loggers import check_logs, open_log

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)


def tell(log: str) -> None:
    """A training of 40 steps."""
    check_logs([log])
    logger = open_log(log, 0)
    for step in (20, 40):
        logger.log_metrics({"loss": 1 / step, "scale_1/in_use": step}, step)
        if hasattr(logger, "log_image"):
            logger.log_image("heat", [PICTURE], step=step)
    logger.finalize("success")


def test_tensorboard_keeps_figures_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs anomem[log]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tell(f"tensorboard:{tmp_path}/runs")
    events = EventAccumulator(str(tmp_path / "runs"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("scale_1/in_use")] == [(20, 20), (40, 40)]
    assert [e.step for e in events.Images("heat")] == [20, 40]
    assert (events.Images("heat")[0].width, events.Images("heat")[0].height) == (48, 32)


@pytest.mark.slow  # it takes long to load
@pytest.mark.filterwarnings("ignore")  # of SQLAlchemy and others, of one another
def test_mlflow_keeps_figures_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="needs anomem[log]")
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)  # where pictures go beside a database
    tell(f"mlflow:sqlite:///{tmp_path}/mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("anomem")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "scale_1/in_use")
    assert [(each.step, each.value) for each in history] == [(20, 20), (40, 40)]
    assert len(list(tmp_path.rglob("heat*.png"))) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_keeps_figures_and_pictures_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="needs anomem[log]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    tell("wandb:parts")
    wandb.teardown()  # its process writes on after the end of a run
    (file,) = tmp_path.rglob("run-*.wandb")
    assert b"scale_1/in_use" in file.read_bytes()
    assert len(list(tmp_path.rglob("heat*.png"))) == 2

"""Fits of streamed normals, beside fits of the same normals in memory."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from anomem import AnoMem, Config
from anomem.config import EncoderChoices, ImageChoices, MemoryChoices


class PowerCut(Exception):
    """Ends a fit on the way."""


def auroc(model: AnoMem, digits: dict[str, npt.NDArray[np.uint8]]) -> float:
    normal, anomalous = (model.decision_function(digits[k]) for k in ("normal", "anomalous"))
    label = np.repeat([0, 1], [len(normal), len(anomalous)])
    return float(roc_auc_score(label, np.concatenate([normal, anomalous])))


def test_a_streamed_fit_is_as_good(
    folders: dict[str, Path], digits: dict[str, npt.NDArray[np.uint8]], model: AnoMem
) -> None:
    """The one that was read is fitted on the same digits, in memory."""
    streamed = AnoMem(model.config_, device="cpu").fit_stream(folders["train"])
    assert streamed.summary_["normals"] == model.summary_["normals"] == 101
    assert streamed.summary_["held_out"] == model.summary_["held_out"] == 19
    assert min(auroc(streamed, digits), auroc(model, digits)) > 0.95


def test_a_streamed_fit_goes_on_where_it_was_cut_off(
    folders: dict[str, Path],
    digits: dict[str, npt.NDArray[np.uint8]],
    hasty: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = AnoMem(hasty, device="cpu").fit_stream(folders["train"])
    checkpoint = tmp_path / "checkpoint"
    monkeypatch.setattr("anomem.training.checkpoint._LEAST_SECONDS", 0.0)
    monkeypatch.setattr("anomem.training.checkpoint._SHARE_OF_TIME", 1e9)

    def cut(*_: object) -> None:
        if checkpoint.exists():
            raise PowerCut

    resumed = AnoMem(hasty, device="cpu")
    with pytest.raises(PowerCut):
        resumed.fit_stream(folders["train"], checkpoint=checkpoint, progress=cut)
    resumed.fit_stream(folders["train"], checkpoint=checkpoint)
    scores = whole.decision_function(digits["anomalous"])
    assert np.array_equal(resumed.decision_function(digits["anomalous"]), scores)


def test_of_a_stream_memories_of_places_see_the_sample_and_say_so(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomem.detector.streamed._SAMPLE", 40)
    config = Config(
        images=ImageChoices(size=32),
        encoder=EncoderChoices(name="resnet10t", width=8, stem_stride=2, frozen=True),
        memory=MemoryChoices(prototypes="places", sizes=(64, 16)),
    )
    model = AnoMem(config, device="cpu").fit_stream(folders["train"])
    assert model.summary_["normals"] <= 40 and model.summary_["steps"] == 0
    named = {origin.image for origin in model.origins_}
    assert named <= {str(file) for file in folders["train"].iterdir()} and len(named) <= 40


def test_images_that_cannot_be_read_are_left_out_and_told(
    folders: dict[str, Path], hasty: Config, tmp_path: Path
) -> None:
    shutil.copytree(folders["train"], tmp_path / "good")
    (tmp_path / "good" / "000.png").write_bytes(b"not an image")
    with pytest.warns(UserWarning, match=r"1 images could not be read and were left out, as .*000"):
        model = AnoMem(hasty, device="cpu").fit_stream(
            tmp_path / "good", anomalies=folders["anomalous"]
        )
    assert model.summary_["anomalies"] == len(list(folders["anomalous"].iterdir()))


def test_what_cannot_be_streamed_is_said(
    folders: dict[str, Path], digits: dict[str, npt.NDArray[np.uint8]], tiny: Config
) -> None:
    with pytest.raises(ValueError, match="only files, URLs and Parquet files are streamed"):
        AnoMem(tiny).fit_stream(digits["train"])
    shared = next(folders["train"].iterdir())
    with pytest.raises(ValueError, match="is among the normals and among the anomalies"):
        AnoMem(tiny).fit_stream(folders["train"], anomalies=shared)
    tiles = Config(images=ImageChoices(framing="tile", size=(16, 16)))
    with pytest.raises(ValueError, match="tiles are not streamed"):
        AnoMem(tiles).fit_stream(folders["train"])

"""A detector as it is kept on the Hugging Face Hub, in a folder of this machine."""

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from huggingface_hub import ModelCard
from safetensors.torch import save_file

from anomem import AnoMem, load
from anomem.config.mapping import changed
from anomem.config.presets import pretrained
from anomem.integrations.hub import OnHub
from anomem.model.encoder import Encoder
from anomem.runtime.untrusted import ModelError

Digits = dict[str, npt.NDArray[np.uint8]]


def test_a_saved_detector_comes_back(
    model: AnoMem, digits: Digits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    OnHub(model).save_pretrained(tmp_path / "zeros")
    again = OnHub.from_pretrained(tmp_path / "zeros", device="cpu").detector
    scores = model.decision_function(digits["anomalous"])
    for loaded in (again, load(tmp_path / "zeros", device="cpu")):
        np.testing.assert_array_equal(loaded.decision_function(digits["anomalous"]), scores)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_card_tells_what_the_training_was(model: AnoMem, tmp_path: Path) -> None:
    told = {"license": "cc-by-4.0", "data": "Handwritten zeros of 16 pixels."}
    OnHub(model).save_pretrained(tmp_path, model_card_kwargs=told)
    card = ModelCard.load(tmp_path / "README.md")
    assert "library_name: anomem" in str(card)
    assert "license: cc-by-4.0" in str(card)
    summary = model.summary_
    for words in (
        "Handwritten zeros of 16 pixels.",
        f"| normal images | {summary['normals']} |",
        f"| training | {summary['steps']} steps",
        f"By {summary['held_out']} held-out normals: at alpha",
        "of new normals will be called anomalous",
        "cc-by-4.0.",
    ):
        assert words in card.text, words
    # A card that a person may have written on stays.
    OnHub(model).save_pretrained(tmp_path)
    assert "Handwritten zeros" in (tmp_path / "README.md").read_text()


def test_what_is_published_names_files_without_their_folders(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    small = {
        "images__size": 32,
        "memory__sizes": (8, 8),
        "encoder__name": "resnet10t",
        "encoder__width": 8,
        "encoder__weights": None,
    }
    weights = tmp_path / "weights.safetensors"
    encoder = Encoder(changed(pretrained(), small).encoder, 1, channels_last=False)
    save_file(encoder.backbone.state_dict(), weights)
    config = changed(pretrained(), small | {"encoder__weights": str(weights)})
    detector = AnoMem(config, device="cpu").fit(folders["train"])
    assert str(folders["train"]) in detector.origins_[0].image
    OnHub(detector).save_pretrained(tmp_path / "zeros")
    again = OnHub.from_pretrained(tmp_path / "zeros", device="cpu").detector
    names = {file.name for file in folders["train"].iterdir()}
    assert {origin.image for origin in again.origins_} | set(again.held_out_names()) <= names
    assert set(again.summary_["left_out"]) <= names
    assert again.config_.encoder.weights == weights.name
    odd = folders["anomalous"] / "lot0-000.png"
    assert again.explain(odd).score == detector.explain(odd).score
    card = (tmp_path / "zeros/README.md").read_text()
    for words in (
        "| training | prototypes chosen among places of the normals, ",
        "By 120 normals, each held out in turn: at alpha",
        "names, without folders, of the files of held-out images and of those that prototypes are",
        "The encoder has published weights",
    ):
        assert words in card, words


def test_a_card_says_what_is_not_known(model: AnoMem) -> None:
    card = OnHub(model).generate_model_card()
    assert "license: unknown" in str(card)
    assert "None is stated" in card.text and "not described" in card.text


def test_what_cannot_be_kept_is_told(model: AnoMem, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="the detector is of type str; give an AnoMem"):
        OnHub("zeros")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a card has no licence; give license and data"):
        OnHub(model).save_pretrained(tmp_path, model_card_kwargs={"licence": "mit"})


@pytest.mark.parametrize("name", ["somebody/zeros", "./zeros", "models/of/zeros"])
def test_a_name_that_cannot_be_fetched_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    wanted = f"{name} is no folder here and cannot be fetched from the Hugging Face Hub"
    with pytest.raises(ModelError, match=wanted):
        OnHub.from_pretrained(name, cache_dir=tmp_path)

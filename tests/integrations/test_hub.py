"""A detector as it is kept on the Hugging Face Hub, in a folder of this machine."""

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from huggingface_hub import ModelCard

from anomem import AnoMem, load
from anomem.integrations.hub import OnHub
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
        f"By {summary['held_out']} normals",
        "of new normals will be called anomalous",
        "cc-by-4.0.",
    ):
        assert words in card.text, words
    # A card that a person may have written on stays.
    OnHub(model).save_pretrained(tmp_path)
    assert "Handwritten zeros" in (tmp_path / "README.md").read_text()


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

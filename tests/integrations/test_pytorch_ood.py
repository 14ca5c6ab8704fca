"""The detector among those of pytorch-ood."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from anomem import AnoMem, Config

pytest.importorskip("pytorch_ood", reason="needs anomem[ood]")
from pytorch_ood.api import Detector, RequiresFittingException, Task
from pytorch_ood.metrics import OODMetrics
from pytorch_ood.utils import GridSearch

from anomem.integrations.pytorch_ood import ContrastedMemory

Digits = dict[str, npt.NDArray[np.uint8]]


def loader(normal: npt.NDArray[np.uint8], outliers: npt.NDArray[np.uint8]) -> DataLoader[Any]:
    """Batches of floats, with the labels of pytorch-ood: outliers are below 0."""
    images = torch.from_numpy(np.concatenate([normal, outliers])).float().div(255)[:, None]
    label = torch.repeat_interleave(
        torch.tensor([3, -1]), torch.tensor([len(normal), len(outliers)])
    )
    return DataLoader(TensorDataset(images, label), batch_size=32)


def test_scores_are_those_of_the_detector(model: AnoMem, digits: Digits) -> None:
    detector = ContrastedMemory(model).to("cpu")
    assert isinstance(detector, Detector) and detector.info.tasks == {Task.CLASSIFICATION}
    test, metrics, scores = loader(digits["normal"], digits["anomalous"]), OODMetrics(), []
    for images, label in test:
        scores.append(detector(images))
        metrics.update(scores[-1], label)
    assert metrics.compute()["AUROC"] > 0.9
    images = np.concatenate([digits["normal"], digits["anomalous"]])
    np.testing.assert_allclose(torch.cat(scores), model.decision_function(images), atol=1e-3)


def test_outliers_of_the_loader_are_learnt(hasty: Config, digits: Digits) -> None:
    detector = ContrastedMemory(AnoMem(hasty, device="cpu"))
    with pytest.raises(RequiresFittingException):
        detector(torch.zeros(1, 1, 16, 16))
    detector.fit(loader(digits["train"][:30], digits["anomalous"][:3]))
    assert detector.detector.summary_["anomalies"] == 3
    assert detector(torch.zeros(2, 1, 16, 16)).shape == (2,)


def test_a_search_of_pytorch_ood_changes_choices(hasty: Config, digits: Digits) -> None:
    detector = ContrastedMemory(AnoMem(hasty, device="cpu"))
    search = GridSearch(
        detector,
        loader(digits["train"][:30], digits["anomalous"][:0]),
        loader(digits["normal"], digits["anomalous"]),
        {"config__memory__beta": [0.01, 20.0]},
    )
    best = search.run()
    assert detector.get_hyperparameters() == best
    assert len({result["score"] for result in search.results_}) == 2


PIXELS = torch.zeros(2, 1, 16, 16)


@pytest.mark.parametrize(
    ("batches", "told"),
    [
        ([], "the loader is empty; give batches"),
        ([PIXELS], "a batch is of type Tensor of shape 2 x 1 x 16 x 16; give pairs"),
        ([(PIXELS,)], "a batch is of type tuple; give pairs"),
        ([(PIXELS.numpy(), torch.zeros(2))], "the images are of type ndarray; give a tensor"),
        ([(PIXELS, [0, 0])], "the labels are of type list; give a tensor"),
    ],
)
def test_what_is_no_loader_is_told(batches: Any, told: str, hasty: Config) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        ContrastedMemory(AnoMem(hasty, device="cpu")).fit(batches)


def test_what_is_no_batch_is_told(model: AnoMem) -> None:
    for x, shape in ((PIXELS.numpy(), "ndarray"), (PIXELS[0], "Tensor of shape 1 x 16 x 16")):
        with pytest.raises(TypeError, match=f"of type {shape}; give a tensor .B, C, H, W"):
            ContrastedMemory(model)(x)

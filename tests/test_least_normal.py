import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem import AnoMem, Config
from anomem.data.prepare import PreparedImages
from anomem.data.shape import batch_to_shape
from anomem.fitting import Chosen
from anomem.least_normal import least_normal


def test_strangers_among_the_normals_are_listed(
    model: AnoMem, digits: dict[str, npt.NDArray[np.uint8]]
) -> None:
    """Three digits that are not zeros, at places 5, 25 and 45 of the normals."""
    images = digits["normal"].copy()
    images[[5, 25, 45]] = digits["anomalous"][:3]
    prepared = PreparedImages(batch_to_shape(images[..., None], model.shape_))
    names = [f"image {index}" for index in range(len(images))]
    listed = least_normal(
        model.network_, model.detector_, Chosen(prepared, torch.arange(len(images))), names
    )
    assert {"image 5", "image 25", "image 45"} < {name for name, _ in listed}
    scores = [float(score) for _, score in listed]
    assert len(listed) == 10 and scores == sorted(scores, reverse=True)


def test_fit_lists_training_images_by_name(
    hasty: Config, digits: dict[str, npt.NDArray[np.uint8]]
) -> None:
    listed = AnoMem(hasty, device="cpu").fit(digits["train"]).summary_["least_normal"]
    scores = AnoMem(hasty, device="cpu").fit(digits["train"]).decision_function(digits["train"])
    for name, score in listed:
        assert scores[int(str(name).removeprefix("image "))] == pytest.approx(score, abs=2e-3)

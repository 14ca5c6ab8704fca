import numpy as np
import pytest
import torch

from anomem import AnoMem
from anomem.data.prepare import PreparedImages
from anomem.fitting import Chosen, TrainingImages, make_fabric
from anomem.presets import changed, default


def test_chosen_images_are_taken_by_their_own_numbers() -> None:
    images = PreparedImages(torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1))
    chosen = Chosen(images, torch.tensor([7, 3, 5]))
    assert chosen.take(torch.tensor([2, 0])).flatten().tolist() == [5, 7]


def test_spread_is_even_and_bounded() -> None:
    images = PreparedImages(torch.zeros(500, 1, 1, 1, dtype=torch.uint8))
    everything = Chosen(images, torch.arange(500))
    assert everything.spread(500) is everything
    kept = everything.spread(100).indices
    assert len(set(kept.tolist())) == 100 and kept[0] == 0 and kept[-1] == 499
    assert set(kept.diff().tolist()) <= {5, 6}


def test_normals_are_split_among_themselves() -> None:
    images = PreparedImages(torch.zeros(6, 1, 1, 1, dtype=torch.uint8))
    label = np.array([1, 0, 0, 1, 0, 0])
    parts = TrainingImages.of(images, label, (np.array([0, 3]), np.array([1, 2])))
    assert parts.normals.indices.tolist() == [1, 5]
    assert parts.held_out.indices.tolist() == [2, 4]
    assert parts.anomalies.indices.tolist() == [0, 3]


@pytest.mark.parametrize("device", ["gpu", "cuda:x"])
def test_unknown_device(device: str) -> None:
    with pytest.raises(ValueError, match="give auto, cpu, cuda, cuda:1 or mps"):
        make_fabric(device)


def test_encoder_that_does_not_take_the_size_is_told_before_training() -> None:
    config = changed(
        default(),
        {
            "encoder__name": "swin_tiny_patch4_window7_224",
            "encoder__width": None,
            "encoder__stem_stride": None,
            "encoder__scales": (2, 3),
            "images__size": (64, 64),
        },
    )
    images = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3)).astype(np.uint8)
    with pytest.raises(ValueError, match="does not take images of 64 x 64 pixels"):
        AnoMem(config, device="cpu").fit(images)

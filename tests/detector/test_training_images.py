import numpy as np
import torch

from anomem.detector.identity import Identities
from anomem.detector.training_images import TrainingImages
from anomem.images.image_set import Chosen
from anomem.images.prepare import PreparedImages


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


def test_normals_are_split_by_index() -> None:
    images = PreparedImages(torch.zeros(6, 1, 1, 1, dtype=torch.uint8))
    label = np.array([1, 0, 0, 1, 0, 0])
    split = (np.array([1, 5]), np.array([2, 4]))
    known = Identities.numbered(6)
    parts = TrainingImages.of(images, torch.arange(6), label, split, known)
    assert parts.held_out_known.names == ["image 2", "image 4"]
    assert parts.normals_digest.tolist() == known.digest[[1, 5]].tolist()
    assert parts.normals.indices.tolist() == [1, 5]
    assert parts.held_out.indices.tolist() == [2, 4]
    assert parts.anomalies.indices.tolist() == [0, 3]
    assert parts.held_out_image.tolist() == [0, 1]


def test_all_frames_of_an_image_are_on_one_side() -> None:
    frames = PreparedImages(torch.zeros(7, 1, 1, 1, dtype=torch.uint8))
    image = torch.tensor([0, 0, 1, 2, 2, 2, 3])
    split = (np.array([1]), np.array([0, 2]))
    parts = TrainingImages.of(frames, image, np.array([0, 0, 0, 1]), split, Identities.numbered(4))
    assert parts.normals.indices.tolist() == [2]
    assert parts.held_out.indices.tolist() == [0, 1, 3, 4, 5]
    assert parts.held_out_image.tolist() == [0, 0, 1, 1, 1]
    assert parts.anomalies.indices.tolist() == [6]

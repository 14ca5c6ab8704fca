"""Places of labelled normals, beside a slow and obvious loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from anomem.config import Config, EncoderChoices, MemoryChoices
from anomem.images.prepare import PreparedImages
from anomem.model.network import MultiScaleMemory
from anomem.model.place_memory import Places
from anomem.model.recall import allowing, deviating_places, no_places, without_allowed

CONFIG = Config(
    encoder=EncoderChoices(name="resnet10t", width=16, stem_stride=2, frozen=True),
    memory=MemoryChoices(prototypes="places", sizes=(40, 20)),
)


@pytest.fixture(scope="module")
def network() -> MultiScaleMemory:
    """Memories of some places of a flower."""
    torch.manual_seed(0)
    network = MultiScaleMemory(CONFIG).eval()
    with torch.inference_mode():
        maps = network(crops([200, 230]) / 255)
        for memory, features in zip(network.place_memories(), maps, strict=True):
            values = memory.comparable(features.permute(0, 2, 3, 1).flatten(0, 2))
            memory.fill(Places(values, torch.zeros(len(values), 2).long()), seed=0)
    return network


def crops(rows: list[int]) -> torch.Tensor:
    photograph = load_sample_image("flower.jpg")
    return torch.from_numpy(np.stack([photograph[r : r + 32, 250:282] for r in rows])).movedim(3, 1)


@torch.inference_mode()
def test_of_each_image_the_places_that_deviate_most(network: MultiScaleMemory) -> None:
    """Of all its frames; of a small map a sixth, repeated up to thirty."""
    frames, image = crops([10, 60, 110]), torch.tensor([0, 1, 1])
    found = deviating_places(network, PreparedImages(frames), image)
    assert found.shape == (2, 30, sum(network.widths)) and found.dtype == torch.float16
    parts = found.split(network.widths, dim=2)
    memories = network.place_memories()
    for memory, maps, part in zip(memories, network(frames / 255), parts, strict=True):
        for number in range(2):
            most: list[tuple[float, torch.Tensor]] = []
            for one in maps[image == number]:
                places = memory.comparable(one.flatten(1).T)
                distances = [
                    min(float((place - p).norm()) for p in memory.prototypes.float())
                    for place in places
                ]
                order = np.argsort(distances)[::-1][: min(30, len(places) // 6)]
                most += [(distances[index], places[index]) for index in order]
            most.sort(key=lambda pair: -pair[0])
            expected = torch.stack([place for _, place in (most * 30)[:30]])
            torch.testing.assert_close(part[number].float(), expected, atol=2e-3, rtol=2e-3)


@torch.inference_mode()
def test_what_is_allowed_is_recalled_and_then_forgotten(network: MultiScaleMemory) -> None:
    frames = crops([10, 110])
    places = deviating_places(network, PreparedImages(frames), torch.arange(2))
    wider = allowing(network, places)
    assert allowing(wider, places) is wider
    before, after = (
        each.scale_scores(each.deviation_maps(frames / 255)) for each in (network, wider)
    )
    assert (after < before).all()
    again = without_allowed(wider)
    for one, other in zip(again.place_memories(), network.place_memories(), strict=True):
        assert torch.equal(one.prototypes, other.prototypes)
        assert torch.equal(one.origin, other.origin)
    assert without_allowed(network) is network


def test_a_memory_recalls_so_many_at_most(network: MultiScaleMemory) -> None:
    many = torch.randn(200, 30, sum(network.widths)).half()
    assert [memory.allowed for memory in allowing(network, many).place_memories()] == [4096, 4096]


def test_learnt_memories_keep_no_places() -> None:
    learnt = MultiScaleMemory(Config())
    assert no_places(learnt).shape[:2] == (0, 0)
    places = deviating_places(learnt, PreparedImages(crops([10, 60])), torch.arange(2))
    assert places.shape == (2, 0, sum(learnt.widths))
    assert allowing(learnt, places) is learnt

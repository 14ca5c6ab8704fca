"""Prototypes that are places of normal images."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from anomem.config import Config, EncoderChoices, MemoryChoices
from anomem.images.image_set import Chosen
from anomem.model.features import extract
from anomem.model.network import MultiScaleMemory
from anomem.training.prototypes import choose_prototypes, with_kind


class Frames:
    """Images in memory."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: Tensor) -> Tensor:
        return self.pixels[indices]


def frames(seed: int, count: int = 12) -> Chosen:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    pixels = torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear")
    return Chosen.of(Frames((255 * pixels).byte()))


@pytest.fixture(scope="module")
def network() -> MultiScaleMemory:
    torch.manual_seed(0)
    encoder = EncoderChoices(name="resnet10t", width=8, stem_stride=2, frozen=True)
    memory = MemoryChoices(prototypes="places", sizes=(40, 12))
    made = MultiScaleMemory(Config(encoder=encoder, memory=memory)).eval()
    choose_prototypes(made, frames(1), frames(2), seed=0)
    return made


def distances(network: MultiScaleMemory, images: Chosen) -> list[Tensor]:
    with torch.no_grad():
        maps = network.deviation_maps(images.all().float() / 255)
    return [each.norm(dim=1) for each in maps]


def test_every_prototype_is_a_place_of_a_normal(network: MultiScaleMemory) -> None:
    with torch.no_grad():
        maps = network(frames(1).all().float() / 255)
    for features, memory in zip(maps, network.place_memories(), strict=True):
        places = memory.comparable(features.permute(0, 2, 3, 1)).flatten(0, 2).half().float()
        gaps = torch.cdist(memory.prototypes.float(), places).amin(dim=1)
        assert gaps.max() < 1e-2 * places.norm(dim=1).mean()


def test_every_prototype_is_known_by_its_frame_and_place(network: MultiScaleMemory) -> None:
    wider, _ = with_kind(network, frames(3), (40, 12), seed=0)
    images = torch.cat([frames(1).all(), frames(3).all()]).float() / 255
    with torch.no_grad():
        maps = wider(images)
    first = max(int(memory.origin[:, 0].max()) for memory in network.place_memories()) + 1
    for features, memory in zip(maps, wider.place_memories(), strict=True):
        frame, place = memory.origin.unbind(dim=1)
        # The frames of the new kind are numbered behind the last of which there is a prototype.
        new = frame >= first
        at = features.flatten(2)[frame + new * (12 - first), :, place]
        gaps = (memory.comparable(at) - memory.prototypes.float()).norm(dim=1)
        assert gaps.max() < 1e-2 * memory.prototypes.float().norm(dim=1).mean()


def test_a_kind_that_is_known_costs_nothing(network: MultiScaleMemory) -> None:
    again, _ = with_kind(network, frames(1), (40, 12), seed=0)
    assert [len(memory.prototypes) for memory in again.place_memories()] == [40, 12]


def test_the_mean_relative_distance_of_held_out_normals_is_one(network: MultiScaleMemory) -> None:
    with torch.no_grad():
        relative = network.relative_distances(network.deviation_maps(frames(2).all().float() / 255))
    assert [float(each.mean()) for each in relative] == pytest.approx([1, 1], rel=1e-4)


def test_a_further_kind_brings_prototypes_of_its_own_and_no_place_farther(
    network: MultiScaleMemory,
) -> None:
    other = frames(3)
    before = distances(network, other), distances(network, frames(2))
    wider, _ = with_kind(network, other, (40, 12), seed=0)
    after = distances(wider, other), distances(wider, frames(2))
    assert [len(m.prototypes) for m in network.place_memories()] == [40, 12]
    for memory, most, places in zip(wider.place_memories(), (40, 12), after[0], strict=True):
        assert most < len(memory.prototypes) <= 2 * most
        assert places.max() <= 1.002 * memory.radius
    assert after[0][0].max() < before[0][0].max()
    for old, new in zip(before[1], after[1], strict=True):
        # Those that are far from all prototypes are compared with all.
        far = old.flatten(1).topk(8).indices
        assert (new.flatten(1) <= old.flatten(1) + 1e-4).gather(1, far).all()


def test_activations_beyond_half_precision_stay_finite(network: MultiScaleMemory) -> None:
    """As transformers have some."""
    wild = copy.deepcopy(network)
    with torch.no_grad():
        wild.encoder.std.mul_(1e-7)
    choose_prototypes(wild, frames(1), frames(2), seed=0)
    features = extract(wild, frames(3).all())
    for values in (*wild.state_dict().values(), features.scores, features.pooled):
        assert values.isfinite().all()
    assert max(float(memory.prototypes.max()) for memory in wild.place_memories()) == 65504

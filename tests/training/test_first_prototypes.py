from dataclasses import replace

import pytest
import torch
from digit_images import Digits
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.functional import normalize

from anomem.config import Config, EncoderChoices, MemoryChoices, Stage1Choices
from anomem.model.network import MultiScaleMemory
from anomem.training.first_prototypes import begin_at_normals

CONFIG = Config(
    encoder=EncoderChoices(name="resnet10t", width=16, stem_stride=1),
    memory=MemoryChoices(sizes=(32, 16), beta=20.0, start="normals"),
    stage1=Stage1Choices(batch=24),
)


class Stream(Digits):
    """The same, step by step."""

    def begin(self, step: int) -> None:
        """Nothing to get ready."""

    def at(self, step: int) -> Tensor:
        return self.images[torch.arange(24 * step, 24 * step + 24) % len(self.images)]


def begun(normals: Digits, config: Config = CONFIG, seed: int = 5) -> MultiScaleMemory:
    torch.manual_seed(0)
    network = MultiScaleMemory(config, channels=1)
    fabric = Fabric(accelerator="cpu", devices=1)
    begin_at_normals(network, normals, config, fabric=fabric, seed=seed)
    return network


def places_of(network: MultiScaleMemory, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        maps = network.train()(images / 255)
    return [normalize(each.permute(0, 2, 3, 1).flatten(0, 2), dim=1) for each in maps]


@pytest.mark.parametrize("normals", [Digits(1), Stream(1)], ids=["set", "stream"])
def test_prototypes_lie_among_the_features_and_are_recalled(normals: Digits) -> None:
    network = begun(normals)
    torch.manual_seed(0)
    gaussian = MultiScaleMemory(CONFIG, channels=1)
    for memory, other, places in zip(
        network.hopfield_memories(),
        gaussian.hopfield_memories(),
        places_of(network, normals.images),
        strict=True,
    ):
        prototypes = memory.prototypes.detach()
        torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(len(prototypes)))
        far = (places @ prototypes.T).max(dim=1).values
        with torch.no_grad():
            assert far.median() > (places @ other.prototypes.T).max(dim=1).values.median() + 0.3
            in_use = [len(each.recalled(places).unique()) for each in (memory, other)]
        assert in_use[0] > in_use[1]


def test_they_lie_farther_apart_than_features_drawn_at_random() -> None:
    network = begun(Digits(1))
    chosen = network.hopfield_memories()[0].prototypes.detach()
    places = places_of(network, Digits(1).images)[0]
    drawn = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(0))[:32]]
    nearest = [torch.cdist(each, each).fill_diagonal_(9).amin(dim=1) for each in (chosen, drawn)]
    assert nearest[0].mean() > 1.2 * nearest[1].mean()


def test_the_seed_decides_and_more_prototypes_than_places_of_512_views_are_found() -> None:
    first, again, other = (begun(Digits(1), seed=seed) for seed in (5, 5, 6))
    for one, two, three in zip(
        *(network.hopfield_memories() for network in (first, again, other)), strict=True
    ):
        assert torch.equal(one.prototypes, two.prototypes)
        assert not torch.equal(one.prototypes, three.prototypes)
    many = replace(CONFIG, memory=replace(CONFIG.memory, sizes=(16, 600)))
    last = begun(Digits(1), many).hopfield_memories()[1].prototypes
    assert len(last.detach().unique(dim=0)) == 600


def test_raw_retrieval_begins_at_features_as_they_are() -> None:
    raw = replace(CONFIG, memory=replace(CONFIG.memory, unit_norm=False))
    norms = begun(Digits(1), raw).hopfield_memories()[0].prototypes.detach().norm(dim=1)
    assert (norms - 1).abs().min() > 0.01 and norms.std() > 0.01

"""Where learnt prototypes begin: features of normals, spread by k-means++."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence

import torch
from lightning_fabric import Fabric
from sklearn.cluster import kmeans_plusplus
from threadpoolctl import threadpool_limits
from torch import Tensor

from anomem.config import Config
from anomem.images.image_set import ImageSet, floats_on
from anomem.model.network import MultiScaleMemory
from anomem.training.batches import Drawn, Steps
from anomem.training.draws import Chance, seeded
from anomem.training.ranks import Ranks
from anomem.training.views import random_view

_VIEWS = 512
_PLACES = 8
"""Among which a prototype is chosen, at most."""


@torch.no_grad()
def begin_at_normals(
    network: MultiScaleMemory,
    normals: ImageSet | Steps,
    config: Config,
    *,
    fabric: Fabric,
    seed: int,
) -> None:
    """Take the first prototypes of each memory from features of normals, in place.

    Places of random views of 512 normals, as the untrained network makes them in training mode, of
    which k-means++ (Arthur and Vassilvitskii, SODA 2007) chooses some that lie far apart. Those of
    a Gaussian lie far from all features, where a wide network recalls the mean of all of them, or
    one alone (docs/explain/collapse.md).

    Args:
        network: Untrained; left in training mode.
        normals: Training normals, or batches of them step by step; drawn again where they are few.
        config: Choices of the batch and of the views.
        fabric: Device and precision; of several processes the first one's normals count.
        seed: Of the draws.
    """
    ranks = Ranks.of(fabric)
    batch = ranks.even(min(config.stage1.batch, len(normals)))
    drawn = (
        normals if isinstance(normals, Steps) else Drawn(normals, batch, seed, fabric.device, ranks)
    )
    chance = Chance(seeded(seed, 0, fabric.device), ranks)
    memories = network.hopfield_memories()
    sizes = [len(memory.prototypes) for memory in memories]
    network.train()
    found = list(_places_of_views(network, drawn, config, fabric, chance, sizes))
    for scale, (memory, size) in enumerate(zip(memories, sizes, strict=True)):
        places = memory.comparable(torch.cat([each[scale] for each in found]))
        some = torch.randperm(len(places), generator=seeded(seed, scale))[: _PLACES * size]
        # In float32 every distance is taken from a new copy in float64.
        candidates = places[some.to(places.device)].double().cpu().numpy()
        # Threads that wait for each other in small products took up to thirty times as long.
        with threadpool_limits(1, user_api="blas"):
            chosen, _ = kmeans_plusplus(candidates, size, random_state=seed % 2**32)
        first = torch.from_numpy(chosen).to(memory.prototypes)
        memory.prototypes.copy_(fabric.broadcast(first))


def _places_of_views(
    network: MultiScaleMemory,
    normals: Drawn | Steps,
    config: Config,
    fabric: Fabric,
    chance: Chance,
    sizes: Sequence[int],
) -> Iterator[list[Tensor]]:
    """Features (M, C_s) of each scale, of a batch at a time, until there are enough."""
    views, step, counts = 0, 0, [0] * len(sizes)
    while views < _VIEWS or any(map(operator.lt, counts, sizes)):
        images = floats_on(fabric.device, normals.at(step))
        with fabric.autocast():
            maps = network(random_view(images, config.views, chance))
        places = [each.permute(0, 2, 3, 1).flatten(0, 2).float() for each in maps]
        yield places
        views, step = views + len(images), step + 1
        counts = [count + len(each) for count, each in zip(counts, places, strict=True)]

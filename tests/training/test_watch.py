import math

import pytest
import torch
from torch import Tensor, nn

from anomem.config import LossChoices
from anomem.model.memory import HopfieldMemory
from anomem.training.collapse import ScaleFigures
from anomem.training.losses import scale_losses
from anomem.training.watch import Watch


def looked_at(
    memory: HopfieldMemory, first: Tensor, second: Tensor, soft_class: float = 0.0
) -> ScaleFigures:
    """Figures of maps (B, C, H, W) of two views, all of them of normals."""
    choices = LossChoices(sampling_ratios=(1.0,), soft_class=soft_class)
    losses = scale_losses([first], [second], len(first), [memory], choices, torch.Generator())
    watch = Watch([memory], soft_class)
    watch.look(0, losses, len(first), len(first))
    return watch.figures()[0]


def test_figures_are_those_of_a_slow_obvious_count() -> None:
    memory, maps = HopfieldMemory(6, 3, beta=7.0), torch.randn(4, 3, 2, 2)
    figures = looked_at(memory, maps, maps + 0.1)
    prototypes = nn.functional.normalize(memory.prototypes.detach(), dim=1)
    entropies, nearest, recollected = [], set(), []
    for image in maps:
        for place in image.flatten(1).T:
            query = place / place.norm()
            weights = (7.0 * prototypes @ query).softmax(dim=0)
            entropies.append(-sum(float(w) * math.log(w) for w in weights))
            nearest.add(int(weights.argmax()))
            recalled = weights @ prototypes
            recollected.append(recalled / recalled.norm())
    assert figures.perplexity == pytest.approx(math.exp(sum(entropies) / 16), rel=1e-4)
    assert figures.in_use == len(nearest) and figures.prototypes == 6
    centre = torch.stack(recollected).mean(dim=0)
    spread = [float((each - centre).square().sum()) for each in recollected]
    assert figures.variance == pytest.approx(sum(spread) / 16, rel=1e-4)
    assert figures.chance == pytest.approx(math.log(7)) and figures.least == 0


def test_the_contrast_lies_at_chance_where_all_is_alike_and_at_its_least_where_it_is_learnt() -> (
    None
):
    memory = HopfieldMemory(4, 4, beta=50.0)
    memory.prototypes.data.copy_(torch.eye(4))
    alike = torch.ones(4, 4, 1, 1)
    figures = looked_at(memory, alike, alike)
    assert figures.contrast == pytest.approx(figures.chance, abs=1e-5) and figures.variance < 1e-6
    apart = torch.eye(4)[..., None, None]
    assert looked_at(memory, apart, apart).learnt > 0.99
    # All normals of one class, told from the anomalies that fill the rest of the batch.
    choices = LossChoices(sampling_ratios=(1.0,), soft_class=3.0)
    maps = torch.cat([apart[:1].repeat(3, 1, 1, 1), apart[1:].repeat(3, 1, 1, 1)])
    watch = Watch([memory], 3.0)
    watch.look(0, scale_losses([maps], [maps], 3, [memory], choices, torch.Generator()), 12, 3)
    figures = watch.figures()[0]
    assert figures.least == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75 / 4))
    assert figures.least < figures.contrast < figures.least + 0.1 < figures.chance


def test_figures_are_of_the_last_twenty_steps_that_were_looked_at() -> None:
    memory = HopfieldMemory(4, 4, beta=50.0)
    choices, watch = LossChoices(sampling_ratios=(1.0,)), Watch([memory], 0.0)
    assert watch.figures() == []
    alike, apart = torch.ones(4, 4, 1, 1), torch.eye(4)[..., None, None]
    for step in range(200):
        maps = alike if step < 100 else apart
        losses = scale_losses([maps], [maps], 4, [memory], choices, torch.Generator())
        watch.look(step, losses, 4, 4)
    late = watch.figures()[0].contrast
    watch.look(201, [], 4, 4)  # not looked at
    watch.look(205, losses, 4, 0)  # no normal
    assert watch.figures()[0].contrast == late
    assert late == pytest.approx(looked_at(memory, apart, apart).contrast)


def test_recollections_that_are_nothing_do_not_vary() -> None:
    memory = HopfieldMemory(4, 4, beta=50.0, unit_norm=False)
    memory.prototypes.data.zero_()
    assert looked_at(memory, torch.randn(4, 4, 1, 1), torch.randn(4, 4, 1, 1)).variance == 0

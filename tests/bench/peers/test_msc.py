import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize

from anomem import Config
from anomem.config import EncoderChoices
from anomem.config.mapping import changed
from anomem.model.encoder import Encoder
from anomem_bench.peers.msc import MSC, freeze_to_first_map, mean_shifted_loss
from anomem_bench.peers.neighbours import Neighbours

Digits = dict[str, npt.NDArray[np.uint8]]


def slow_loss(features: Tensor, centre: list[float]) -> float:
    """Of two views, image by image."""
    count = len(features) // 2
    shifted = []
    for row in features.tolist():
        length = math.sqrt(sum(value**2 for value in row))
        shifted.append([value / length - c for value, c in zip(row, centre, strict=True)])

    def likeness(i: int, j: int) -> float:
        one, other = shifted[i], shifted[j]
        product = sum(a * b for a, b in zip(one, other, strict=True))
        norms = math.sqrt(sum(a * a for a in one)) * math.sqrt(sum(b * b for b in other))
        return math.exp(product / norms / 0.25)

    contrast, angular = 0.0, 0.0
    for i in range(2 * count):
        others = sum(likeness(i, j) for j in range(2 * count) if j != i)
        contrast -= math.log(likeness(i, (i + count) % (2 * count)) / others)
        angular += sum(value**2 for value in shifted[i])
    return contrast / (2 * count) + angular / count


def test_loss_contrasts_about_the_centre_and_stays_near_it() -> None:
    generator = torch.Generator().manual_seed(0)
    features = 5 * torch.rand(10, 6, generator=generator)
    centre = normalize(torch.rand(6, generator=generator), dim=0)
    loss = float(mean_shifted_loss(features, centre))
    assert loss == pytest.approx(slow_loss(features, centre.tolist()), rel=1e-4)


def test_centre_is_the_direction_of_the_mean_before_the_training(
    hasty: Config, digits: Digits
) -> None:
    model, still = MSC(hasty, device="cpu"), Neighbours(hasty, device="cpu")
    model.fit(digits["train"])
    still.fit(digits["train"])
    mean = still.normal_.double().mean(dim=0)
    torch.testing.assert_close(model.centre_.double(), mean / mean.norm(), atol=1e-5, rtol=0)


def test_without_a_training_it_is_the_nearest_neighbours(hasty: Config, digits: Digits) -> None:
    none = changed(hasty, {"stage1__learning_rate": 1e-12})
    one, other = (
        peer(none, device="cpu").fit(digits["train"]).decision_function(digits["anomalous"])
        for peer in (MSC, Neighbours)
    )
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_first_layers_and_statistics_of_batches_stay(hasty: Config, digits: Digits) -> None:
    model, still = MSC(hasty, device="cpu"), Neighbours(hasty, device="cpu")
    before = still.fit(digits["train"]).network_.encoder.backbone.state_dict()
    after = model.fit(digits["train"]).network_.encoder.backbone.state_dict()
    changed_ones = {name for name in after if not torch.equal(before[name], after[name])}
    assert {name.partition(".")[0] for name in changed_ones} == {"layer3", "layer4"}
    assert not any("running" in name for name in changed_ones)


def test_a_frozen_encoder_is_trained_too(hasty: Config, digits: Digits) -> None:
    frozen = changed(hasty, {"encoder__frozen": True, "memory__prototypes": "places"})
    model = MSC(frozen, device="cpu").fit(digits["train"][:20])
    assert any(parameter.requires_grad for parameter in model.network_.parameters())


@pytest.mark.parametrize(
    ("name", "frozen"),
    [("resnet18", {"conv1", "bn1", "layer1", "layer2"}),
     ("tf_efficientnet_lite0", {"conv_stem", "bn1", "blocks.0", "blocks.1", "blocks.2"})],
)  # fmt: skip
def test_layers_before_the_first_map_are_frozen(name: str, frozen: set[str]) -> None:
    encoder = Encoder(EncoderChoices(name=name))
    freeze_to_first_map(encoder)
    still = {n for n, p in encoder.backbone.named_parameters() if not p.requires_grad}
    assert all(any(n.startswith(f"{layer}.") for layer in frozen) for n in still)
    assert all(any(n.startswith(f"{layer}.") for n in still) for layer in frozen)


def test_other_digits_score_higher(tiny: Config, digits: Digits) -> None:
    model = MSC(tiny, device="cpu").fit(digits["train"][:60])
    normal, other = (model.decision_function(digits[k]) for k in ("normal", "anomalous"))
    label = np.repeat([0, 1], [len(normal), len(other)])
    assert roc_auc_score(label, np.concatenate([normal, other])) > 0.8

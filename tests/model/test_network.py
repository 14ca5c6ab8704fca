from statistics import fmean, pstdev

import pytest
import torch
from torch.nn import functional

from anomem.config import (
    Config,
    EncoderChoices,
    LossChoices,
    MemoryChoices,
    PseudoChoices,
    ScoreChoices,
)
from anomem.model.network import MultiScaleMemory
from anomem.model.one_class import one_class_scores


def network_of(
    *,
    unit_norm: bool = True,
    scales: tuple[int, ...] = (3, 4),
    kind_weight: float = 0.5,
    mahalanobis: bool = True,
) -> MultiScaleMemory:
    torch.manual_seed(0)
    return MultiScaleMemory(
        Config(
            encoder=EncoderChoices(width=4, stem_stride=1, scales=scales),
            memory=MemoryChoices(sizes=(6, 5, 4)[: len(scales)], unit_norm=unit_norm),
            loss=LossChoices(sampling_ratios=(1.0,) * len(scales), kind_weight=kind_weight),
            pseudo=PseudoChoices(kinds=("rotate90", "rotate180")),
            score=ScoreChoices(mahalanobis=mahalanobis),
        )
    )


@pytest.mark.parametrize("unit_norm", [True, False])
def test_deviation_is_taken_place_by_place(unit_norm: bool) -> None:
    network = network_of(unit_norm=unit_norm).eval()
    images = torch.rand(2, 3, 16, 20)
    maps, deviations = network(images), network.deviation_maps(images)
    for features, deviation, memory in zip(maps, deviations, network.scale_memories(), strict=True):
        assert deviation.shape == features.shape
        for b, i, j in torch.cartesian_prod(*(torch.arange(n) for n in features[:, 0].shape)):
            z = features[b, :, i, j]
            expected = memory.comparable(z) - memory(z)
            torch.testing.assert_close(deviation[b, :, i, j], expected, atol=1e-5, rtol=1e-4)


def test_one_memory_a_scale() -> None:
    network = network_of(scales=(2, 3, 4))
    sizes = [tuple(memory.prototypes.shape) for memory in network.scale_memories()]
    assert sizes == [(6, 8), (5, 16), (4, 32)]


@pytest.mark.parametrize("mahalanobis", [True, False])
def test_deviations_are_pooled_to_their_mean_and_for_mahalanobis_their_spread(
    mahalanobis: bool,
) -> None:
    network = network_of(mahalanobis=mahalanobis)
    deviations = [torch.randn(2, 16, 3, 5), torch.randn(2, 32, 1, 1)]
    pools = network.pooled(deviations)
    assert tuple(pool.shape[1] for pool in pools) == network.pooled_widths
    values = [float(deviations[0][1, 2, i, j]) for i in range(3) for j in range(5)]
    assert float(pools[0][1, 2]) == pytest.approx(fmean(values), abs=1e-5)
    if mahalanobis:
        assert float(pools[0][1, 16 + 2]) == pytest.approx(pstdev(values), abs=1e-5)
        assert (pools[1][:, 32:] == 0).all()


def test_memories_of_places_pool_where_they_deviate_most_too() -> None:
    torch.manual_seed(0)
    network = MultiScaleMemory(
        Config(
            encoder=EncoderChoices(width=4, stem_stride=1, frozen=True),
            memory=MemoryChoices(prototypes="places", sizes=(6, 5)),
        )
    )
    deviations = [
        torch.randn(2, width, side, side)
        for width, side in zip(network.widths, (4, 2), strict=True)
    ]
    pools = network.pooled(deviations)
    assert tuple(pool.shape[1] for pool in pools) == network.pooled_widths
    fine, coarse = (each.norm(dim=1, keepdim=True) for each in deviations)
    far = fine + 2 * functional.interpolate(coarse, (4, 4), mode="bilinear")
    for image in range(2):
        places = far[image, 0].flatten().topk(10).indices.tolist()
        expected = fmean(float(deviations[0][image, 2, p // 4, p % 4]) for p in places)
        assert float(pools[0][image, 2 * network.widths[0] + 2]) == pytest.approx(
            expected, abs=1e-5
        )


def test_repeating_the_places_leaves_the_score() -> None:
    deviation = torch.randn(2, 4, 3, 5)
    tiled = deviation.repeat(1, 1, 2, 3)
    torch.testing.assert_close(one_class_scores([deviation]), one_class_scores([tiled]))
    network = network_of()
    torch.testing.assert_close(network.pooled([deviation]), network.pooled([tiled]))


def test_evidence_is_the_log_odds_of_an_anomaly_against_a_normal() -> None:
    network = network_of().eval().requires_grad_(False)
    maps = network(torch.rand(3, 3, 16, 16))
    evidence = network.evidence_of(maps)
    assert evidence.shape == (3, 2)
    for s, (features, head) in enumerate(zip(maps, network.kind_heads, strict=True)):
        for b in range(3):
            shares = head(features[b].mean(dim=(1, 2))).softmax(dim=0)
            assert len(shares) == 4
            expected = float(shares[1].log() - shares[0].log())
            assert float(evidence[b, s]) == pytest.approx(expected, abs=1e-4)


def test_without_heads_of_the_kinds_there_is_no_evidence() -> None:
    network = network_of(kind_weight=0.0).eval()
    assert len(network.kind_heads) == 0
    assert network.evidence_of(network(torch.rand(3, 3, 16, 16))).tolist() == [[0.0] * 2] * 3

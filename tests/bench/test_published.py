import pytest

from anomem_bench.published import PAPER, counterpart, namesake, published


@pytest.mark.parametrize(
    ("protocol", "data", "gamma", "method", "figures"),
    [
        ("one-vs-all", "cifar10", 0.05, PAPER, {"mean": 97.1}),
        ("one-vs-all", "cifar10, at most 99 normals", 0.05, "Elsa", {"mean": 85.7}),
        ("ood", "cifar10", 0.0, "CSI", {"svhn": 99.8, "lsun": 97.5, "cifar100": 89.2}),
        ("cross-type", "wmca", 0.0, "DeepSAD", {"all kinds": 71.2}),
        ("cross-type", "wmca", 0.05, "DeepSAD",
         {"print": 79.9, "replay": 80.3, "paper mask": 81.8, "flexible mask": 83.4}),
        ("ablation memory-linear", "cifar100", 0.0, "memory", {"mean": 84.1}),
        ("ablation memory", "cifar10", 0.0, "neither", {"mean": 88.1}),
    ],
)  # fmt: skip
def test_published_figures_are_found(
    protocol: str, data: str, gamma: float, method: str, figures: dict[str, float]
) -> None:
    assert published(protocol, data, gamma).loc[method].to_dict() == figures


@pytest.mark.parametrize(
    ("protocol", "data", "gamma"),
    [
        ("one-vs-all", "cifar100", 0.02),
        ("one-vs-all", "digits", 0.0),
        ("one-vs-all", "cifar10, 5% of the normals anomalous", 0.0),
        ("linear", "cifar10", 0.0),
        ("cross-type", "mvtec_ad bottle", 0.0),
        ("ablation memory", "cifar10", 0.05),
        ("ablation backbone", "cifar10", 0.0),
    ],
)
def test_where_there_are_none(protocol: str, data: str, gamma: float) -> None:
    assert published(protocol, data, gamma).empty


def test_ours_are_compared_with_their_namesakes() -> None:
    assert counterpart("scratch") == PAPER
    assert counterpart("simclr-mahalanobis") == "SSD"
    assert counterpart("paper-small, memory only") == "memory only"
    assert counterpart("balanced-energy") == "PEBAL" and namesake("PEBAL") == "balanced-energy"
    assert namesake("MemAE, unheard of") == ""
    assert counterpart("pretrained") == counterpart("paper-small") == ""

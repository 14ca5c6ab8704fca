import pytest

from anomem.evaluation.published import error_reduction, published


def test_error_reduction_is_the_share_of_errors_that_are_gone() -> None:
    assert error_reduction(90.0, 95.0) == 0.5
    assert error_reduction(90.0, 80.0) == -1.0


@pytest.mark.parametrize(
    ("protocol", "data", "gamma", "method", "columns", "figure"),
    [
        ("one-vs-all", "cifar10", 0.05, "default", ["cat"], 97.1),
        ("one-vs-all", "cifar10, at most 99 normals", 0.05, "elsa", ["cat"], 85.7),
        ("one-vs-all", "cifar100", 0.02, "default", ["fish"], None),
        ("one-vs-all", "digits", 0.0, "default", ["one"], None),
        ("ood", "cifar10", 0.0, "csi", ["lsun", "svhn, re-encoded", "svhn"], (97.5 + 99.8) / 2),
        ("ood", "cifar10", 0.0, "csi", ["lsun", "digits"], None),
        ("cross-type", "wmca", 0.0, "deepsad", ["all kinds"], 71.2),
        ("linear", "cifar10", 0.0, "default", [""], None),
        ("ablation memory-linear", "cifar100", 0.0, "paper, memory", [""], 84.1),
        ("ablation memory", "cifar10", 0.0, "default, neither", ["cat"], 88.1),
        ("ablation memory", "cifar10", 0.05, "default, neither", ["cat"], None),
    ],
)
def test_published_figures_are_found(
    protocol: str, data: str, gamma: float, method: str, columns: list[str], figure: float | None
) -> None:
    assert published(protocol, data, gamma, method, columns) == figure

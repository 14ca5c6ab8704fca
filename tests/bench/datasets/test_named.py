from pathlib import Path

import numpy as np
import pytest

from anomem_bench.datasets import NAMED, called_of, load_named

SHARED = Path(__file__).parents[4] / "shared" / "data"


def test_unknown_names_and_missing_places_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'cifar11' is no data set .* give one of: cifar10, cif"):
        load_named("cifar11", tmp_path)
    with pytest.raises(ValueError, match=r"svhn needs a path; give it as svhn:PATH"):
        load_named("svhn", None)


def test_a_layout_is_called_by_its_place_too() -> None:
    assert called_of("cifar10", Path("some/where")) == "cifar10"
    assert called_of("mvtec_ad", Path("mvtec/bottle")) == "mvtec_ad bottle"
    assert called_of("parquet", Path("some/faces.parquet")) == "parquet faces"


def test_elpv_comes_from_its_package() -> None:
    parts = load_named("elpv", None)
    assert parts.train is not None
    assert len(parts.train) + len(parts.test) == 2624
    assert parts.test.images[0].shape == (300, 300, 1)
    trained, tested = (np.bincount(part.label) / len(part) for part in (parts.train, parts.test))
    np.testing.assert_allclose(trained, tested, atol=0.002)
    assert parts.test.classes[0] == "functional" and len(parts.test.classes) == 4


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real images are not beside the repository")
@pytest.mark.parametrize(
    ("name", "path", "trained", "tested", "classes"),
    [
        ("cifar10", "cifar10", 50_000, 10_000, 10),
        ("cifar100", "ood/cifar100_test2000.parquet", 0, 2000, 20),
        ("svhn", "ood/svhn_crops.parquet", 0, 1040, 10),
        ("lsun", "ood/lsun_bedroom2000.parquet", 0, 2000, 1),
        ("mvtec_ad", "magnetic_tile", 714, 630, 6),
        ("mvtec_ad", "mvtec/bottle", 209, 83, 4),
        ("cub200", "cub10", 300, 243, 10),
        ("parquet", "pneumoniamnist", 4708, 624, 2),
        ("folder", "magnetic_tile", 714, 630, 6),
    ],
)
def test_real_sets_are_read(name: str, path: str, trained: int, tested: int, classes: int) -> None:
    parts = load_named(name, SHARED / path)
    assert (0 if parts.train is None else len(parts.train), len(parts.test)) == (trained, tested)
    assert len(parts.test.classes) == classes and name in NAMED
    assert parts.test.images[len(parts.test) - 1].ndim == 3

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomem.data.named import load_named
from anomem.evaluation.prototypes import prototypes_among_samples
from anomem.report.prototypes import draw_prototypes


def test_prototypes_lie_among_samples(digits_as_cifar10: Path, tmp_path: Path) -> None:
    layout = prototypes_among_samples(
        load_named("cifar10", digits_as_cifar10),
        "airplane", preset="default", seconds=1.0, samples=20, seed=0, device="cpu",
    )  # fmt: skip
    assert layout.counts == [512, 256]
    for points, kinds in zip(layout.points, layout.kinds, strict=True):
        assert points.shape == (len(kinds), 2) and np.isfinite(points).all()
        assert (kinds == 0).sum() == (kinds == 1).sum() > 20
    draw_prototypes(layout, "digits", tmp_path / "new" / "prototypes.png")
    with Image.open(tmp_path / "new" / "prototypes.png") as picture:
        assert picture.width > picture.height


def test_an_unknown_class_is_told(digits_as_cifar10: Path) -> None:
    with pytest.raises(ValueError, match="there is no class 'cow'"):
        prototypes_among_samples(
            load_named("cifar10", digits_as_cifar10),
            "cow", preset="default", seconds=1.0, samples=20, seed=0, device="cpu",
        )  # fmt: skip

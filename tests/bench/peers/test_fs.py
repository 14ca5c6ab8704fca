import math

import numpy as np
import pytest
import torch
from ood_digits import KNOWN, STRANGE, as_floats, fitted, some_digits
from torch import Tensor, nn

from anomem import Config
from anomem_bench.peers.fs import FS, first_singular_vector


@pytest.fixture(scope="module")
def fs(hasty: Config) -> FS:
    model = fitted(FS, hasty)
    assert isinstance(model, FS)
    return model


def axes_of(model: FS) -> Tensor:
    axes = model.head("axes")
    assert isinstance(axes, nn.Linear)
    return axes.weight


@torch.inference_mode()
def features(model: FS, kinds: tuple[int, ...], count: int) -> list[list[float]]:
    """Of so many images of each digit, image by image."""
    images, _ = some_digits(kinds, slice(0, count))
    return [model.network_(as_floats(images[i : i + 1]))[0].tolist() for i in range(len(images))]


def cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return abs(product) / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))


@torch.inference_mode()
def test_logits_are_ten_absolute_cosines(fs: FS) -> None:
    rows = features(fs, STRANGE, 2)
    axes = axes_of(fs).tolist()
    for row, logits in zip(rows, fs.logits(torch.tensor(rows)), strict=True):
        assert logits.tolist() == pytest.approx([10 * cosine(row, axis) for axis in axes], rel=1e-4)


def test_axes_are_at_right_angles_and_are_not_trained(fs: FS) -> None:
    axes = axes_of(fs)
    torch.testing.assert_close(axes @ axes.T, torch.eye(3), atol=1e-5, rtol=0)
    assert not axes.requires_grad


def test_first_singular_vector_is_that_of_the_whole_decomposition() -> None:
    rows = torch.rand(30, 5, generator=torch.Generator().manual_seed(0)) + torch.arange(5)
    _, _, right = torch.linalg.svd(rows)
    assert abs(float(first_singular_vector(rows) @ right[0])) == pytest.approx(1, abs=1e-5)


@torch.inference_mode()
def test_score_is_the_angle_to_the_nearest_class(fs: FS) -> None:
    rows = features(fs, KNOWN, 20)
    axes = [np.linalg.svd(np.array(rows[k : k + 20]))[2][0].tolist() for k in (0, 20, 40)]
    shown, _ = some_digits(STRANGE, slice(0, 2))
    scores = fs.score(as_floats(shown))["fs"]
    for row, score in zip(features(fs, STRANGE, 2), scores, strict=True):
        nearest = max(min(cosine(row, axis), 1.0) for axis in axes)
        assert float(score) == pytest.approx(math.acos(nearest), abs=2e-3)


@torch.inference_mode()
def test_how_long_features_are_does_not_count(fs: FS) -> None:
    some = torch.tensor(features(fs, STRANGE, 1))
    torch.testing.assert_close(fs.logits(some), fs.logits(5 * some))

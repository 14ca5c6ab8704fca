import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from torch import Tensor

from anomem import Config
from anomem.config import EncoderChoices, Stage1Choices
from anomem.config.mapping import changed
from anomem.images.image_set import to_float
from anomem_bench.peers.reverse_distillation import (
    Student,
    UntrainedTeacher,
    anomaly_map,
    blurred,
    distillation_loss,
)

Digits = dict[str, npt.NDArray[np.uint8]]


def some_maps(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, 4, 8, 6), (2, 6, 4, 3), (2, 8, 2, 2))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))


def test_loss_is_of_whole_maps() -> None:
    taught, made = some_maps(0), some_maps(1)
    total = 0.0
    for one, other in zip(taught, made, strict=True):
        for image in range(2):
            both = one[image].flatten().tolist(), other[image].flatten().tolist()
            total += (1 - cosine(*both)) / 2
    assert float(distillation_loss(taught, made)) == pytest.approx(total, rel=1e-5)


def test_map_is_the_sum_over_scales_of_the_distance_of_each_place() -> None:
    taught, made = some_maps(0), some_maps(1)
    corners = anomaly_map(taught, made, size=(16, 12))[:, ::15, ::11]
    for image in range(2):
        for y in (0, -1):
            for x in (0, -1):
                total = 0.0
                for one, other in zip(taught, made, strict=True):
                    place = one[image, :, y, x].tolist(), other[image, :, y, x].tolist()
                    total += 1 - cosine(*place)
                assert float(corners[image, y, x]) == pytest.approx(total, rel=1e-5)


def test_blur_is_that_of_scipy() -> None:
    maps = torch.rand(2, 128, 128, generator=torch.Generator().manual_seed(0))
    for soft, each in zip(blurred(maps), maps, strict=True):
        expected = gaussian_filter(each.numpy(), sigma=2, mode="mirror")
        np.testing.assert_allclose(soft.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("sides", [((8, 8), (4, 4), (2, 2)), ((7, 5), (4, 3), (2, 2))])
@torch.no_grad()
def test_student_makes_maps_of_the_shapes_of_its_teacher(
    sides: tuple[tuple[int, int], ...],
) -> None:
    maps = [torch.randn(3, width, *side) for width, side in zip((4, 6, 8), sides, strict=True)]
    made = Student((4, 6, 8))(maps)
    assert [each.shape for each in made] == [each.shape for each in maps]
    assert all(float(each.min()) < 0 for each in made)


@torch.no_grad()
def test_all_that_the_student_knows_goes_through_the_bottleneck() -> None:
    student, maps = Student((4, 6, 8)).eval(), some_maps(0)
    for parameter in student.bottleneck.parameters():
        torch.nn.init.zeros_(parameter)
    first, second = (student([scale * each for each in maps]) for scale in (1, 3))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other)


@pytest.fixture(scope="module")
def model(digits: Digits, tiny: Config) -> UntrainedTeacher:
    config = replace(
        tiny,
        encoder=EncoderChoices("resnet10t", width=8, stem_stride=1, scales=(2, 3)),
        stage1=Stage1Choices(min_steps=60, max_steps=60),
    )
    return UntrainedTeacher(config, device="cpu").fit(digits["train"])


def test_the_student_learns_normals_and_fails_at_others(
    model: UntrainedTeacher, digits: Digits
) -> None:
    normal, other = (model.decision_function(digits[k]) for k in ("normal", "anomalous"))
    label = np.repeat([0, 1], [len(normal), len(other)])
    assert roc_auc_score(label, np.concatenate([normal, other])) > 0.9
    images = to_float(torch.from_numpy(digits["normal"])[:, None])
    with torch.inference_mode():
        assert float(distillation_loss(*model.maps(images))) < 0.5


def test_the_teacher_stays_as_it_was(model: UntrainedTeacher, digits: Digits) -> None:
    other = UntrainedTeacher(
        changed(model.config, {"stage1__min_steps": 1, "stage1__max_steps": 1}), device="cpu"
    ).fit(digits["train"])
    torch.testing.assert_close(
        model.network_.encoder.state_dict(), other.network_.encoder.state_dict()
    )


def test_three_maps_are_asked_for(hasty: Config, digits: Digits) -> None:
    one = changed(
        hasty,
        {"encoder__scales": (4,), "memory__sizes": (4,), "loss__sampling_ratios": (1.0,)},
    )
    with pytest.raises(ValueError, match="takes three maps and the encoder gives 2; give two"):
        UntrainedTeacher(one, device="cpu").fit(digits["train"][:8])

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem import AnoMem
from anomem.detector.nearest_places import (
    Place,
    ScalePrototypes,
    find_prototypes,
    most_used_first,
    patch_of,
)
from anomem.images.image_set import tensor_of, to_float
from anomem.images.open import open_images
from anomem.images.resize import to_shape

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture
def scales(model: AnoMem, digits: Digits) -> list[ScalePrototypes]:
    return find_prototypes(model.network_, open_images(digits["train"]), model.framing_.shape)


def places_of(model: AnoMem, image: npt.NDArray[np.uint8], scale: int) -> torch.Tensor:
    """Feature at every place, (H, W, C)."""
    with torch.no_grad():
        frame = tensor_of(to_shape(image[..., None], model.framing_.shape))
        maps = model.network_(to_float(frame[None]))
    return maps[scale][0].permute(1, 2, 0)


def test_usage_counts_the_places_that_recall_a_prototype_most(
    model: AnoMem, digits: Digits
) -> None:
    some = digits["train"][:40]
    scales = find_prototypes(model.network_, open_images(some), model.framing_.shape)
    for index, (scale, memory) in enumerate(
        zip(scales, model.network_.hopfield_memories(), strict=True)
    ):
        prototypes = memory.prototypes.detach()
        used, weight = np.zeros(len(prototypes)), np.zeros(len(prototypes))
        for image in some:
            for z in places_of(model, image, index).flatten(0, 1):
                similarity = torch.stack([torch.cosine_similarity(z, x, dim=0) for x in prototypes])
                used[int(similarity.argmax())] += 1
                weight += torch.softmax(memory.beta * similarity, dim=0).numpy()
        places = len(some) * scale.grid[0] * scale.grid[1]
        np.testing.assert_allclose(scale.usage, used / places)
        np.testing.assert_allclose(scale.weight, weight / places, rtol=1e-4)
        assert scale.usage.sum() == pytest.approx(1) and scale.weight.sum() == pytest.approx(1)


def test_nearest_places_are_of_the_most_alike_images(
    model: AnoMem, digits: Digits, scales: list[ScalePrototypes]
) -> None:
    memory = next(model.network_.scale_memories())
    for number in (0, 7):
        best = []
        for index, image in enumerate(digits["train"]):
            z = places_of(model, image, 0)
            alike = torch.cosine_similarity(z, memory.prototypes[number].detach(), dim=-1)
            row, column = divmod(int(alike.argmax()), alike.shape[1])
            best.append((float(alike.max()), Place(index, row, column)))
        best.sort(key=lambda pair: -pair[0])
        assert scales[0].nearest[number] == [place for _, place in best[:6]]
        np.testing.assert_allclose(
            scales[0].cosine[number], [cosine for cosine, _ in best[:6]], atol=1e-5
        )


def test_batches_are_one_count(
    model: AnoMem, digits: Digits, scales: list[ScalePrototypes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomem.detector.nearest_places._BATCH", 7)
    again = find_prototypes(model.network_, open_images(digits["train"]), model.framing_.shape)
    for one, other in zip(scales, again, strict=True):
        np.testing.assert_allclose(one.usage, other.usage)
        np.testing.assert_allclose(one.cosine, other.cosine, atol=1e-6)


def test_what_is_in_use() -> None:
    usage = np.array([0.5, 0.0, 0.25, 0.25])
    weight = np.array([0.4, 0.1, 0.2, 0.3])
    scale = ScalePrototypes(
        "scale_1", (1, 1), usage, weight, np.zeros((4, 0), np.float32), [[]] * 4
    )
    assert scale.dead == 1
    assert scale.in_use == pytest.approx(2**1.5)
    assert list(most_used_first(scale)) == [0, 3, 2, 1]


def test_a_patch_is_the_cell_and_what_is_around_it() -> None:
    image = np.arange(64).reshape(8, 8, 1)
    np.testing.assert_array_equal(patch_of(image, Place(0, 1, 2), (4, 4), 0), image[2:4, 4:6])
    np.testing.assert_array_equal(patch_of(image, Place(0, 1, 2), (4, 4)), image[0:6, 2:8])
    np.testing.assert_array_equal(patch_of(image, Place(0, 0, 3), (4, 4)), image[0:4, 4:8])
    assert patch_of(image, Place(0, 15, 15), (16, 16), 0).shape == (1, 1, 1)


def test_unreadable_images_are_left_out(
    model: AnoMem, folders: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.png").touch()
    good, shape = sorted(folders["train"].iterdir())[:5], model.framing_.shape
    mixed = find_prototypes(model.network_, open_images([tmp_path / "bad.png", *good]), shape)
    alone = find_prototypes(model.network_, open_images(good), shape)
    np.testing.assert_allclose(mixed[0].usage, alone[0].usage)
    assert mixed[0].nearest[0][0].image == alone[0].nearest[0][0].image + 1
    with pytest.raises(ValueError, match="the file is empty"):
        find_prototypes(model.network_, open_images(tmp_path / "bad.png"), shape)

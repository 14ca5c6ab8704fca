import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy.spatial.distance import cdist
from skimage import data

from anomem.cli.demo_images import SIZE, DemoImages, demo_images, thumbnail_auroc

KINDS = ("object", "style", "local")


@pytest.fixture(scope="module")
def demo() -> DemoImages:
    return demo_images()


@pytest.fixture(scope="module")
def brick() -> np.ndarray:
    return np.asarray(data.brick())


def test_shapes_and_types(demo: DemoImages) -> None:
    assert demo.train.shape == (176, SIZE, SIZE)
    assert demo.normal.shape == (80, SIZE, SIZE)
    assert demo.train.dtype == demo.normal.dtype == np.uint8
    assert tuple(demo.anomalies) == tuple(demo.masks) == KINDS
    for kind in KINDS:
        assert demo.anomalies[kind].shape == demo.masks[kind].shape == (60, SIZE, SIZE)
        assert demo.anomalies[kind].dtype == np.uint8
        assert demo.masks[kind].dtype == bool


def test_the_same_seed_gives_the_same_images(demo: DemoImages) -> None:
    again, other = demo_images(0), demo_images(1)
    assert np.array_equal(demo.train, again.train)
    assert np.array_equal(demo.normal, again.normal)
    assert not np.array_equal(demo.train, other.train)
    for kind in KINDS:
        assert np.array_equal(demo.anomalies[kind], again.anomalies[kind])
        assert np.array_equal(demo.masks[kind], again.masks[kind])
        assert not np.array_equal(demo.anomalies[kind], other.anomalies[kind])


def _positions(crops: np.ndarray, photograph: np.ndarray) -> list[tuple[int, int]]:
    """Row and column of the photograph that each crop was cut from."""
    windows = sliding_window_view(photograph, (SIZE, SIZE))
    found: dict[bytes, list[tuple[int, int]]] = {}
    for top in range(windows.shape[0]):
        for left in range(windows.shape[1]):
            found.setdefault(windows[top, left, 0].tobytes(), []).append((top, left))
    positions = []
    for crop in crops:
        (position,) = [at for at in found[crop[0].tobytes()] if (windows[at] == crop).all()]
        positions.append(position)
    return positions


def test_no_two_normal_crops_share_a_pixel(demo: DemoImages, brick: np.ndarray) -> None:
    taken = np.zeros(brick.shape, dtype=int)
    for top, left in _positions(np.concatenate([demo.train, demo.normal]), brick):
        taken[top : top + SIZE, left : left + SIZE] += 1
    assert taken.max() == 1


@pytest.fixture(scope="module")
def dealt() -> list[tuple[np.ndarray, np.ndarray]]:
    """How unlike what is trained on held-out and test normals are, for 40 seeds."""
    found = []
    for seed in range(40):
        images = demo_images(seed)
        held_out, trained_on = images.train[:44], images.train[44:]
        found.append((_unlike(held_out, trained_on), _unlike(images.normal, trained_on)))
    return found


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_false_alarms_are_what_is_promised(
    alpha: float, dealt: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    exceeded = int(alpha * 45)  # held-out normals that may lie on the line or above it
    rates = [(normal > np.sort(held_out)[-exceeded]).mean() for held_out, normal in dealt]
    error = np.std(rates) / np.sqrt(len(rates))
    assert abs(np.mean(rates) - exceeded / 45) < 3 * error


def _unlike(images: np.ndarray, trained_on: np.ndarray) -> np.ndarray:
    """Distance to the nearest image trained on."""
    flat = (x.reshape(len(x), -1).astype(float) for x in (images, trained_on))
    return cdist(*flat).min(axis=1)


def test_object_anomalies_are_as_bright_and_contrasted_as_brick(
    demo: DemoImages, brick: np.ndarray
) -> None:
    objects = demo.anomalies["object"]
    assert objects.mean() == pytest.approx(brick.mean(), abs=4)
    assert objects.std() == pytest.approx(brick.std(), abs=4)


def test_object_and_style_anomalies_fill_the_image(demo: DemoImages) -> None:
    assert demo.masks["object"].all()
    assert demo.masks["style"].all()


def test_local_anomalies_differ_from_a_brick_crop_in_their_mask_only(
    demo: DemoImages, brick: np.ndarray
) -> None:
    windows = sliding_window_view(brick, (SIZE, SIZE))
    for image, mask in zip(demo.anomalies["local"], demo.masks["local"], strict=True):
        assert not mask[0].any()
        (top, left), *others = np.argwhere((windows[:, :, 0] == image[0]).all(axis=-1))
        differs = image != windows[top, left]
        assert not others
        assert not (differs & ~mask).any()
        assert (differs & mask).sum() > 0.8 * mask.sum()


def test_local_patches_are_small_and_whole(demo: DemoImages) -> None:
    for mask in demo.masks["local"]:
        rows, columns = np.nonzero(mask)
        assert 6 <= np.ptp(rows) + 1 <= 14
        assert 6 <= np.ptp(columns) + 1 <= 14
        assert rows.min() > 0 and rows.max() < SIZE - 1
        assert columns.min() > 0 and columns.max() < SIZE - 1


def test_local_patches_keep_the_brightness_of_the_place_they_cover(demo: DemoImages) -> None:
    inside = [
        image[m].mean()
        for image, m in zip(demo.anomalies["local"], demo.masks["local"], strict=True)
    ]
    assert np.mean(inside) == pytest.approx(demo.normal.mean(), abs=8)


@pytest.mark.parametrize("seed", range(3))
def test_thumbnails_solve_neither_style_nor_local_anomalies(seed: int) -> None:
    auroc = thumbnail_auroc(demo_images(seed))
    assert tuple(auroc) == KINDS
    assert 0.4 < auroc["style"] < 0.65
    assert 0.4 < auroc["local"] < 0.65
    assert auroc["object"] > 0.9

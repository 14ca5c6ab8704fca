import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from skimage import data

from anomem.data.demo import SIZE, TEST_ROWS, DemoImages, demo_images, thumbnail_auroc

KINDS = ("object", "style", "local")


@pytest.fixture(scope="module")
def demo() -> DemoImages:
    return demo_images()


@pytest.fixture(scope="module")
def brick() -> np.ndarray:
    return np.asarray(data.brick())


def _rows_by_pixels(photograph: np.ndarray) -> dict[bytes, set[int]]:
    """The rows of the photograph in which each run of 64 pixels is found."""
    found: dict[bytes, set[int]] = {}
    for row, runs in enumerate(sliding_window_view(photograph, SIZE, axis=1)):
        for run in runs:
            found.setdefault(run.tobytes(), set()).add(row)
    return found


def _rows_of(crops: np.ndarray, found: dict[bytes, set[int]]) -> set[int]:
    """Every row of the photograph that any row of any crop could have been cut from."""
    return set().union(*(found[line.tobytes()] for crop in crops for line in crop))


def test_shapes_and_types(demo: DemoImages) -> None:
    assert demo.train.shape == (800, SIZE, SIZE)
    assert demo.normal.shape == (200, SIZE, SIZE)
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


def test_training_and_test_crops_share_no_row_of_the_photograph(
    demo: DemoImages, brick: np.ndarray
) -> None:
    found = _rows_by_pixels(brick)
    train, test = _rows_of(demo.train, found), _rows_of(demo.normal, found)
    assert train.isdisjoint(TEST_ROWS)
    assert test <= set(TEST_ROWS)
    assert min(train) < min(test) and max(train) > max(test)


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
    windows = sliding_window_view(brick[TEST_ROWS.start : TEST_ROWS.stop], (SIZE, SIZE))
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
        assert 9 <= np.ptp(rows) + 1 <= 19
        assert 9 <= np.ptp(columns) + 1 <= 19
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

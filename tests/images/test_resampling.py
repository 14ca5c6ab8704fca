import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage import data
from torch.nn.functional import interpolate

from anomem.images import resampling
from anomem.images.resampling import resampled


@pytest.mark.parametrize("size", [(300, 500), (400, 37), (50, 40)])
@pytest.mark.parametrize("wanted", [(64, 64), (64, 96)])
def test_strips_come_to_what_pytorch_makes_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    monkeypatch.setattr(resampling, "_STRIP", 7 * size[1] * 3)
    image = data.astronaut()[: size[0], : size[1]]
    found = resampled(
        lambda start, stop: image[start:stop], size, first=(0, 0), length=size, wanted=wanted
    )
    whole = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    expected = interpolate(whole, wanted, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-3)


def test_beyond_the_image_its_edge_is_repeated() -> None:
    image = data.astronaut()[:90, :200]
    padded = np.pad(image, ((60, 50), (0, 0), (0, 0)), mode="edge")

    def small(each: npt.NDArray[np.uint8], top: int) -> npt.NDArray[np.float32]:
        return resampled(
            lambda start, stop: each[start:stop],
            each.shape[:2],
            first=(top, 0),
            length=(200, 200),
            wanted=(32, 32),
        )

    np.testing.assert_allclose(small(image, -60), small(padded, 0), atol=1e-3)

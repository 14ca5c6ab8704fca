"""A detector on the blocks of a vision transformer, in all that a user does with one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from skimage import data

from anomem import AnoMem, Config
from anomem.config import EncoderChoices, FramingKind, ImageChoices
from anomem.detector.estimator import load_trained

GRAVEL: npt.NDArray[np.uint8] = data.gravel()
GRASS: npt.NDArray[np.uint8] = data.grass()


def _crops(photograph: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    corners = [(y, x) for y in range(0, 480, 64) for x in range(0, 480, 64)]
    return np.stack([photograph[y : y + 48, x : x + 40] for y, x in corners])


@pytest.mark.parametrize(
    ("size", "framing", "region"),
    [
        (None, "resize", None),
        ((32, 32), "letterbox", "0,0 1,0 1,.8 0,.8"),
        ((32, 32), "tile", None),
    ],
)
def test_whole_life_of_a_saved_detector(
    size: tuple[int, int] | None,
    framing: FramingKind,
    region: str | None,
    hasty: Config,
    tmp_path: Path,
) -> None:
    """Patches of 16 pixels, a table of positions for 160, and frames of two by three patches."""
    stones, grass = _crops(GRAVEL), _crops(GRASS)[:12]
    config = replace(
        hasty,
        images=ImageChoices(size=size, framing=framing),
        encoder=EncoderChoices("test_vit3", scales=(1, 3), frozen=True),
    )
    fitted = AnoMem(config, device="cpu").fit(stones[:30], region=region)
    fitted.save(tmp_path / "model")
    loaded = load_trained(tmp_path / "model", device="cpu")
    scores = loaded.decision_function(grass)
    np.testing.assert_array_equal(scores, fitted.decision_function(grass))
    np.testing.assert_array_equal(scores[3:4], loaded.decision_function(grass[3:4]))
    assert [heat.shape for heat in loaded.heat_maps(grass[:2])] == [(48, 40)] * 2
    why = loaded.explain(grass[0])
    assert {name: maps.shape for name, maps in why.maps.items()} == {
        "scale_1": (48, 40),
        "scale_2": (48, 40),
    }
    loaded.adapt(grass[:4], [1] * 4).extend(stones[30:])
    loaded.save(tmp_path / "model")
    again = load_trained(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(again.decision_function(grass), loaded.decision_function(grass))

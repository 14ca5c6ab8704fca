import numpy as np
import pytest

from anomem import AnoMem
from anomem.presets import changed, default


def test_encoder_that_does_not_take_the_size_is_told_before_training() -> None:
    config = changed(
        default(),
        {
            "encoder__name": "swin_tiny_patch4_window7_224",
            "encoder__width": None,
            "encoder__stem_stride": None,
            "encoder__scales": (2, 3),
            "images__size": (64, 64),
        },
    )
    images = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3)).astype(np.uint8)
    with pytest.raises(ValueError, match="does not take images of 64 x 64 pixels"):
        AnoMem(config, device="cpu").fit(images)

import math
import pickle
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest

from anomem.config import (
    CalibrationChoices,
    Config,
    EncoderChoices,
    ImageChoices,
    LossChoices,
    MemoryChoices,
    PseudoChoices,
    Stage1Choices,
    Stage2Choices,
    ViewChoices,
)
from anomem.config.choices import Choices


def test_a_configuration_is_a_plain_value() -> None:
    config = Config(memory=MemoryChoices(beta=10.0))
    assert pickle.loads(pickle.dumps(config)) == config == replace(config)
    assert hash(config) != hash(Config()) and config != Config()


@pytest.mark.parametrize(
    ("group", "choices", "message"),
    [
        (ImageChoices, {"size": (7, 64)}, "size is .7, 64.; it must be at least 8 x 8 pixels"),
        (EncoderChoices, {"scales": ()}, "increasing indices"),
        (EncoderChoices, {"scales": (4, 3)}, "increasing indices"),
        (EncoderChoices, {"scales": (3, 3)}, "increasing indices"),
        (EncoderChoices, {"scales": (3, 64)}, "from 0 to 63"),
        (EncoderChoices, {"width": 2}, "width is 2; it must be at least 4"),
        (MemoryChoices, {"sizes": ()}, "one positive number a scale"),
        (MemoryChoices, {"sizes": (4, 0)}, "one positive number a scale"),
        (MemoryChoices, {"beta": 0}, "above 0"),
        (MemoryChoices, {"steps": 0}, "at least 1"),
        (LossChoices, {"temperature": 0}, "above 0"),
        (LossChoices, {"soft_class": -1}, "at least 0"),
        (LossChoices, {"repulsion": -1}, "at least 0"),
        (LossChoices, {"repulsion": math.nan}, "at least 0"),
        (LossChoices, {"repulsion": 3}, "it must be 0 where the soft class is 0"),
        (LossChoices, {"sampling_ratios": (0.0, 1.0)}, "in .0, 1., one a scale"),
        (LossChoices, {"sampling_ratios": (0.3, 1.1)}, "in .0, 1., one a scale"),
        (LossChoices, {"sampling_ratios": ()}, "in .0, 1., one a scale"),
        (ViewChoices, {"crop": 0}, "crop"),
        (ViewChoices, {"noise": 1.5}, "noise is 1.5"),
        (PseudoChoices, {"kinds": ("swirl",)}, "from rotate90, rotate180"),
        (Stage1Choices, {"epochs": 0}, "above 0"),
        (Stage1Choices, {"batch": 1}, "at least 2"),
        (Stage1Choices, {"anomaly_share": 0}, "above 0"),
        (Stage1Choices, {"warmup": 1}, "warmup"),
        (Stage2Choices, {"margin": 0}, "above 0"),
        (Stage2Choices, {"prior": 0}, "above 0, at most 1e.06"),
        (CalibrationChoices, {"share": 0.6}, "0.5"),
    ],
)
def test_choice_out_of_range(group: Any, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group(**choices)


def test_no_bound_is_written_where_it_is_not_read() -> None:
    """Bounds of what may be None stand around both, as ``Annotated[float | None, ...]``."""
    for group in Choices.__subclasses__():
        for name, hint in get_type_hints(group, include_extras=True).items():
            assert not any(hasattr(each, "__metadata__") for each in get_args(hint)), name


def test_later_scales_weigh_more() -> None:
    """Lambda of scale s is 2^(s-1), or s (section 3.2 of the paper)."""
    ratios = (1.0, 1.0, 1.0, 1.0)
    assert LossChoices(sampling_ratios=ratios).lambdas == (1, 2, 4, 8)
    assert LossChoices(sampling_ratios=ratios, scale_weights="linear").lambdas == (1, 2, 3, 4)


def test_prototypes_of_places_go_with_nothing_that_is_trained() -> None:
    memory = MemoryChoices(prototypes="places")
    frozen = EncoderChoices(frozen=True)
    assert Config(encoder=frozen, memory=memory).memory.prototypes == "places"
    with pytest.raises(ValueError, match=r"'places' but encoder\.frozen is False; change it"):
        Config(memory=memory)
    with pytest.raises(ValueError, match=r"'places' but loss\.patch_weight is above 0"):
        Config(encoder=frozen, memory=memory, loss=LossChoices(patch_weight=1.0))

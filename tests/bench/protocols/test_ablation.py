import hashlib
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem.images.prepare import PreparedImages
from anomem.images.resize import ImageShape
from anomem.training.optimisation import Clock
from anomem_bench.contender import TrainingSet
from anomem_bench.methods import Method
from anomem_bench.ours import Ours
from anomem_bench.protocols.ablation import ABLATIONS, variants

OTHERS = [name for name in ABLATIONS if name != "backbone"]
SHAPE = ImageShape(1, 32, 32)  # at which each sampling ratio is another number of places


def trained_weights(method: Method, images: PreparedImages) -> str:
    """Digest of the encoder after two steps."""
    stage1 = replace(method.config.stage1, min_steps=2, max_steps=2, batch=8)
    contender = replace(method, config=replace(method.config, stage1=stage1)).new("cpu")
    assert isinstance(contender, Ours)
    for _ in contender.begin(TrainingSet(images, None, SHAPE), Clock()):
        pass
    digest = hashlib.sha256()
    for weights in contender.stage1.trained().encoder.parameters():
        digest.update(weights.detach().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("name", "base"),
    [("backbone", "scratch"), *product(OTHERS, ["scratch", "paper-small"])],
)
def test_each_setting_changes_the_trained_weights(
    name: str, base: str, digits: dict[str, npt.NDArray[np.uint8]]
) -> None:
    large = digits["train"][:24].repeat(2, axis=1).repeat(2, axis=2)
    images = PreparedImages(torch.from_numpy(large[:, None]))
    methods = variants(name, base)
    if name != "backbone":
        methods = {name: _smaller(method) for name, method in methods.items()}
    weights = {trained_weights(method, images) for method in methods.values()}
    assert len(weights) == len(methods) >= 2


def _smaller(method: Method) -> Method:
    """Neither the size of the network is the point nor where its prototypes begin."""
    encoder = replace(method.config.encoder, name="resnet10t", width=4)
    memory = replace(method.config.memory, start="gaussian")
    return replace(method, config=replace(method.config, encoder=encoder, memory=memory))


def test_variants_bear_the_name_of_their_base() -> None:
    methods = variants("memory", "scratch")
    assert list(methods) == [
        "scratch, neither", "scratch, scales only", "scratch, memory only",
        "scratch, memory and scales",
    ]  # fmt: skip
    assert all(method.scores == (name,) for name, method in methods.items())


def test_an_unknown_ablation_is_told() -> None:
    with pytest.raises(ValueError, match="there is no ablation 'magic'; choose from memory"):
        variants("magic", "scratch")

import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem import Config
from anomem.config import EncoderChoices
from anomem.images.image_set import to_float
from anomem.images.prepare import PreparedImages
from anomem.model.encoder import Encoder
from anomem.training.draws import seeded
from anomem_bench.peers.autoencoder import CODE, Decoder, MapNetwork, squared_error
from anomem_bench.peers.memae import MemAE

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.mark.parametrize(
    ("choices", "channels", "widths"),
    [
        (EncoderChoices(width=16, stem_stride=1), 1, [64, 32, 16]),
        (EncoderChoices(width=16, stem_stride=2), 3, [64, 32, 16, 8]),
        (EncoderChoices(width=4, stem_stride=2), 3, [16, 8, 8, 8]),
    ],
)
def test_decoder_mirrors_the_encoder(
    choices: EncoderChoices, channels: int, widths: list[int]
) -> None:
    encoder = Encoder(choices, channels)
    decoder = Decoder(CODE, encoder)
    last = encoder(torch.rand(2, channels, 32, 48))[-1]
    assert decoder(torch.rand(2, CODE, *last.shape[2:])).shape == (2, channels, 32, 48)
    layers = [layer for layer in decoder.layers if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in layers] == [*widths, channels]


def test_building_a_decoder_leaves_the_encoder_as_it_was() -> None:
    encoder = Encoder(EncoderChoices(width=4, stem_stride=2), 1)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    Decoder(CODE, encoder)
    assert encoder.training
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("side", [16, 21])
def test_images_of_any_size_are_decoded_at_their_size(
    side: int, hasty: Config, digits: Digits
) -> None:
    model = MemAE(hasty, device="cpu").fit(digits["train"][:20])
    images = torch.rand(2, 1, side, side)
    with torch.inference_mode():
        code = model.head("code")(model.network_(images))
        assert model.decoded(code, images).shape == images.shape


def test_training_normals_have_mean_0_and_deviation_1(hasty: Config, digits: Digits) -> None:
    model = MemAE(hasty, device="cpu").fit(digits["train"])
    units = model.normalised(to_float(torch.from_numpy(digits["train"])[:, None]))
    assert float(units.mean()) == pytest.approx(0, abs=1e-3)
    assert float(units.std()) == pytest.approx(1, abs=1e-3)


@torch.inference_mode()
def test_features_are_the_mean_of_the_last_map(digits: Digits) -> None:
    network = MapNetwork(Encoder(EncoderChoices(width=4, stem_stride=1), 1), {}).eval()
    images = torch.from_numpy(digits["train"][:3])[:, None]
    maps = network(to_float(images))
    assert maps.shape == (3, 32, 2, 2)
    for b, row in enumerate(network.features(PreparedImages(images))):
        for c in range(32):
            mean = sum(float(maps[b, c, i, j]) for i in range(2) for j in range(2)) / 4
            assert float(row[c]) == pytest.approx(mean, abs=1e-6)


def test_squared_error_is_that_of_each_image() -> None:
    made, wanted = torch.rand(2, 2, 3, 4, 5, generator=seeded(0, 0)).unbind()
    for b, error in enumerate(squared_error(made, wanted)):
        pairs = zip(made[b].flatten().tolist(), wanted[b].flatten().tolist(), strict=True)
        assert float(error) == pytest.approx(sum((x - y) ** 2 for x, y in pairs) / 60, rel=1e-5)

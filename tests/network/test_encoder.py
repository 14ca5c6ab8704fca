from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from anomem import presets
from anomem.config import EncoderChoices
from anomem.network.encoder import Encoder, to_float

SMALL = EncoderChoices(width=4, stem_stride=2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("choices", "widths", "sides"),
    [
        (EncoderChoices("resnet18"), (256, 512), (2, 1)),
        (EncoderChoices("resnet18", stem_stride=1, scales=(2, 3, 4)), (128, 256, 512), (16, 8, 4)),
        (EncoderChoices("resnet50", stem_stride=1), (1024, 2048), (8, 4)),
        (EncoderChoices("efficientnet_b0"), (112, 320), (2, 1)),
        (EncoderChoices("efficientnet_b0", stem_stride=1), (112, 320), (4, 2)),
        (presets.default().encoder, (64, 128), (4, 2)),
    ],
)
def test_maps_of_each_scale(
    choices: EncoderChoices, widths: tuple[int, ...], sides: tuple[int, ...], channels: int
) -> None:
    encoder = Encoder(choices, channels).eval()
    with torch.inference_mode():
        maps = encoder(torch.rand(2, channels, 32, 32))
    assert encoder.widths == widths
    expected = [(2, c, side, side) for c, side in zip(widths, sides, strict=True)]
    assert [tuple(features.shape) for features in maps] == expected


@pytest.mark.parametrize("size", [(33, 47), (17, 64), (8, 8)])
@pytest.mark.parametrize("choices", [SMALL, EncoderChoices("efficientnet_b0", stem_stride=2)])
def test_odd_sizes(choices: EncoderChoices, size: tuple[int, int]) -> None:
    maps = Encoder(choices).eval()(torch.rand(2, 3, *size))
    for features, reduction in zip(maps, (8, 16), strict=True):
        wanted = [-(-side // reduction) for side in size]
        if choices.name == "efficientnet_b0":
            wanted = [-(-side // (2 * reduction)) for side in size]
        assert list(features.shape[2:]) == wanted


def test_images_are_normalised_first() -> None:
    encoder, images = Encoder(SMALL).eval(), torch.rand(2, 3, 16, 16)
    plain = encoder(images)
    encoder.mean.mul_(3.0)
    encoder.std.mul_(2.0)
    for features, moved in zip(plain, encoder(images * 2.0 + 0.5), strict=True):
        torch.testing.assert_close(features, moved, atol=1e-5, rtol=1e-4)


def test_gradient_reaches_every_parameter() -> None:
    encoder = Encoder(SMALL)
    sum(features.square().mean() for features in encoder(torch.rand(4, 3, 32, 32))).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_become_shares_of_their_range(dtype: type[np.unsignedinteger]) -> None:
    most = np.iinfo(dtype).max
    images = torch.from_numpy(np.array([0, most // 5, most], dtype=dtype))
    torch.testing.assert_close(to_float(images), torch.tensor([0.0, 0.2, 1.0]))
    floats = torch.tensor([0.25, 0.5])
    assert to_float(floats) is floats


def save_weights(weights: dict[str, Tensor], file: Path) -> None:
    if file.suffix == ".safetensors":
        save_file(weights, file)
    else:
        torch.save(weights, file)


@pytest.mark.parametrize("name", ["encoder.safetensors", "encoder.pt"])
def test_file_of_weights(tmp_path: Path, name: str) -> None:
    given = Encoder(SMALL).backbone.state_dict()
    save_weights(given, tmp_path / name)
    choices = EncoderChoices(width=4, stem_stride=2, weights=str(tmp_path / name))
    torch.testing.assert_close(Encoder(choices).backbone.state_dict(), given)
    bare = Encoder(choices, initialise=False).backbone.state_dict()
    assert not torch.equal(bare["conv1.weight"], given["conv1.weight"])


def test_first_layer_of_another_shape_is_left_out(tmp_path: Path) -> None:
    given = Encoder(EncoderChoices(width=4)).backbone.state_dict()
    save_weights(given, tmp_path / "w.pt")
    own = Encoder(EncoderChoices(width=4, stem_stride=2, weights=str(tmp_path / "w.pt")))
    weights = own.backbone.state_dict()
    assert weights["conv1.weight"].shape != given["conv1.weight"].shape
    assert torch.equal(weights["layer4.0.conv1.weight"], given["layer4.0.conv1.weight"])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (EncoderChoices("resnet81"), "encoder 'resnet81' .* cannot be built .*Unknown model"),
        (EncoderChoices("resnet18", scales=(3, 9)), r"scales \(3, 9\) cannot be built"),
        (EncoderChoices("efficientnet_b0", width=16), "'channels'"),
        (EncoderChoices("convnext_atto", stem_stride=1, scales=(2, 3)), "no stem that can"),
        (EncoderChoices(width=4, weights="nowhere.pt"), "nowhere.pt: no such file"),
    ],
)
def test_encoder_that_does_not_exist(choices: EncoderChoices, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Encoder(choices)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_file_that_is_no_weights(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    choices = EncoderChoices(width=4, weights=str(tmp_path / name))
    with pytest.raises(ValueError, match="neither safetensors nor a plain state dict") as error:
        Encoder(choices)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "neither safetensors nor a plain state dict"),
        ({"epoch": 3, "state_dict": {"conv1.weight": torch.zeros(3)}}, "105 of 105 tensors"),
        (Encoder(EncoderChoices(width=8)).backbone.state_dict(), "another shape .first: conv1"),
    ],
)
def test_weights_of_something_else(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=message) as error:
        Encoder(EncoderChoices(width=4, stem_stride=2, weights=str(tmp_path / "w.pt")))
    assert "\n" not in str(error.value)

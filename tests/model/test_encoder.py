from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from anomem.config import EncoderChoices, presets
from anomem.images.image_set import to_float
from anomem.model.encoder import Encoder, patch_of, stride_of, synchronise_batch_norms

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
        (presets.scratch().encoder, (64, 128), (4, 2)),
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


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (EncoderChoices("resnet81"), "encoder 'resnet81' .* cannot be built .*Unknown model"),
        (EncoderChoices("resnet18", scales=(3, 9)), r"scales \(3, 9\) cannot be built"),
        (EncoderChoices("efficientnet_b0", width=16), "'channels'"),
        (EncoderChoices("convnext_atto", stem_stride=1, scales=(2, 3)), "no stem that can"),
        (EncoderChoices("test_vit", width=16), "encoder.width is 16, which vision transformers as"),
        (EncoderChoices("test_vit", stem_stride=2), "encoder.stem_stride is 2, which vision tran"),
        (EncoderChoices("test_vit", scales=(3, 6)), r"scales \(3, 6\) cannot be built"),
    ],
)
def test_encoder_that_does_not_exist(choices: EncoderChoices, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Encoder(choices)
    assert "\n" not in str(error.value)


def test_pretrained_encoder_is_given_pixels_as_it_was_trained_with() -> None:
    images = torch.rand(5, 3, 32, 32)
    for channels, mean in ((3, [0.485, 0.456, 0.406]), (1, [0.449])):
        encoder = Encoder(EncoderChoices(width=4), channels)
        encoder.pretrained = True
        encoder.normalise_by(images[:, :channels])
        torch.testing.assert_close(encoder.mean.flatten(), torch.tensor(mean))


@pytest.mark.parametrize("name", ["resnet18", "test_efficientnet"])
def test_synchronised_batch_norms_compute_what_they_computed(name: str) -> None:
    encoder = Encoder(EncoderChoices(name, scales=(2, 3))).eval()
    images = torch.rand(2, 3, 32, 32)
    before = encoder(images)
    synchronise_batch_norms(encoder)
    assert any(isinstance(each, nn.SyncBatchNorm) for each in encoder.modules())
    for one, other in zip(before, encoder(images), strict=True):
        torch.testing.assert_close(one, other)


def test_frozen_encoder_does_not_train() -> None:
    encoder = Encoder(EncoderChoices(width=4, frozen=True)).train()
    assert not encoder.training and not encoder.backbone.bn1.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("scales", [(0, 2), (2, 3)])
def test_every_map_has_a_finer_one_where_the_model_has(scales: tuple[int, ...]) -> None:
    encoder = Encoder(EncoderChoices(width=4, stem_stride=2, scales=scales)).eval()
    images = torch.rand(2, 3, 32, 32)
    every = encoder.every_map(images)
    assert encoder.finer == (scales[0] > 0) and len(every) == 2 + encoder.finer
    for one, other in zip(every[-2:], encoder(images), strict=True):
        torch.testing.assert_close(one, other)
    if encoder.finer:
        assert [tuple(maps.shape[2:]) for maps in every] == [(16, 16), (8, 8), (4, 4)]


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("mambaout_femto", 192),
        ("swin_tiny_patch4_window7_224", 224),
        ("swin_tiny_patch4_window7_224", 384),
        ("swinv2_cr_tiny_384", 384),
        ("vit_tiny_patch16_224", 224),
        ("vit_small_patch14_reg4_dinov2", 112),
        ("vit_small_patch16_dinov3", 128),
        ("convnext_atto", 160),
        ("tf_efficientnet_lite0", 96),
    ],
)
def test_maps_have_their_axes_whatever_the_layout_of_the_model(name: str, side: int) -> None:
    """What changes in a corner of an image changes in that corner of its maps.

    Four of these have as many places in a row as channels on their first map.
    """
    torch.manual_seed(0)
    encoder = Encoder(EncoderChoices(name, scales=(0, 1))).eval()
    if name.startswith("swin_") and side != 224:
        encoder.backbone = timm.create_model(
            name, features_only=True, out_indices=(0, 1), img_size=side
        ).eval()
    images = torch.rand(1, 3, side, 2 * side if name == "convnext_atto" else side)
    changed = images.clone()
    changed[..., : side // 8, -side // 8 :] = 1 - changed[..., : side // 8, -side // 8 :]
    with torch.inference_mode():
        before, after = encoder(images), encoder(changed)
    assert [maps.shape[1] for maps in before] == list(encoder.widths)
    for one, other in zip(before, after, strict=True):
        change = (one - other).abs().mean(dim=1)[0]
        height, width = change.shape
        row, column = divmod(int(change.argmax()), width)
        assert row < height / 4 and column >= width * 3 / 4


@pytest.mark.parametrize(
    "choices",
    [
        EncoderChoices(name="resnet10t", width=16, stem_stride=2),
        EncoderChoices(name="resnet18", stem_stride=1),
        EncoderChoices(name="resnet18", scales=(0, 1)),
        EncoderChoices(name="tf_efficientnet_lite0"),
        EncoderChoices(name="tf_efficientnet_lite0", stem_stride=1, scales=(2, 3, 4)),
    ],
)
def test_stride_is_that_of_the_map_of_the_first_scale(choices: EncoderChoices) -> None:
    maps = Encoder(choices).eval()(torch.rand(1, 3, 96, 64))
    assert stride_of(choices) == 96 // maps[0].shape[2] == 64 // maps[0].shape[3]


@pytest.mark.parametrize(
    ("name", "channels", "width", "patch"),
    [
        ("vit_small_patch14_dinov2", 3, 384, 14),
        ("vit_small_patch16_dinov3", 1, 384, 16),
        ("vit_base_patch16_siglip_224.v2_webli", 1, 768, 16),
    ],
)
def test_transformers_take_images_of_whole_patches(
    name: str, channels: int, width: int, patch: int
) -> None:
    choices = EncoderChoices(name, scales=(1, 2))
    assert patch_of(choices) == patch
    with torch.device("meta"):  # Of shapes alone, which takes no weights.
        encoder = Encoder(choices, channels).eval()
        for rows, columns in ((4, 6), (37, 3)):
            maps = encoder.every_map(torch.empty(2, channels, rows * patch, columns * patch))
            assert [tuple(each.shape) for each in maps] == 3 * [(2, width, rows, columns)]


def test_convolutions_take_images_of_any_size() -> None:
    assert patch_of(EncoderChoices("tf_efficientnet_lite0")) == 1


def test_scales_of_a_transformer_are_its_blocks() -> None:
    torch.manual_seed(0)
    whole: Any = timm.create_model("test_vit", img_size=(48, 32)).eval()
    encoder = Encoder(EncoderChoices("test_vit", scales=(1, 3))).eval()
    encoder.normalise_by(images := torch.rand(2, 3, 48, 32))
    own = encoder.backbone.model
    own.load_state_dict(whole.state_dict() | {"pos_embed": own.pos_embed}, strict=False)
    tokens = own._pos_embed(whole.patch_embed((images - encoder.mean) / encoder.std))
    found = iter(encoder.every_map(images))
    for number, block in enumerate(whole.blocks[:4]):
        tokens = block(tokens)
        if number != 2:
            places = tokens[:, 1:].reshape(2, 3, 2, 64).permute(0, 3, 1, 2)
            torch.testing.assert_close(next(found), places)

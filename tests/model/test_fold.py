import copy
import pickle

import pytest
import timm
import torch
from torch import nn

from anomem.config import EncoderChoices
from anomem.model.encoder import Encoder
from anomem.model.fold import folded


def noisy(backbone: nn.Module) -> nn.Module:
    """Whose batch norms do something, as those of a trained backbone."""
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.running_mean, layer.bias):
                assert values is not None
                nn.init.normal_(values, std=0.3)
            for values in (layer.running_var, layer.weight):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
    return backbone.eval()


def batch_norms(network: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


@pytest.mark.parametrize(
    "name",
    ["resnet10t", "tf_efficientnet_lite0", "mobilenetv3_small_050", "resnetv2_50", "vgg11_bn"],
)
@torch.inference_mode()
def test_maps_of_a_folded_backbone_are_the_same(name: str) -> None:
    with torch.inference_mode(False):
        backbone = noisy(timm.create_model(name, features_only=True, pretrained=False))
    images = torch.rand(2, 3, 64, 64)
    other = folded(backbone, images)
    for maps, same in zip(backbone(images), other(images), strict=True):
        torch.testing.assert_close(maps, same, rtol=1e-3, atol=1e-4 * float(maps.std()))


def test_no_batch_norm_is_left_in_networks_of_common_order() -> None:
    for name in ("resnet10t", "tf_efficientnet_lite0"):
        backbone = noisy(timm.create_model(name, features_only=True, pretrained=False))
        assert batch_norms(backbone)
        assert not batch_norms(folded(backbone, torch.rand(1, 3, 64, 64)))


def test_a_backbone_is_left_as_it_is_where_order_misleads() -> None:
    class Shared(nn.Module):
        """Uses the output of a convolution before its batch norm, too."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            maps = self.conv(images)
            return [maps, self.norm(maps)]

    backbone = noisy(Shared())
    assert folded(backbone, torch.rand(1, 3, 16, 16)) is backbone


def test_nothing_is_copied_where_there_is_no_batch_norm() -> None:
    backbone = timm.create_model("convnext_atto", features_only=True, pretrained=False).eval()
    assert folded(backbone, torch.rand(1, 3, 64, 64)) is backbone


def test_a_copy_of_an_encoder_is_no_larger_for_what_was_folded() -> None:
    encoder = Encoder(EncoderChoices(name="resnet10t", frozen=True, scales=(3, 4))).eval()
    before = len(pickle.dumps(encoder))
    with torch.inference_mode():
        encoder(torch.rand(1, 3, 64, 64))
    assert len(pickle.dumps(encoder)) == before


def test_a_frozen_encoder_takes_weights_that_are_loaded_later() -> None:
    choices = EncoderChoices(name="resnet10t", frozen=True, scales=(3, 4))
    first, second = (Encoder(choices).eval() for _ in range(2))
    noisy(second.backbone)
    images = torch.rand(2, 3, 64, 64)
    expected = second(images)  # with gradients, so that nothing is folded
    with torch.inference_mode():
        first(images)
        first.load_state_dict(second.state_dict())
        found = copy.deepcopy(first)(images)
    assert set(first.state_dict()) == set(second.state_dict())
    for maps, same in zip(expected, found, strict=True):
        torch.testing.assert_close(maps, same, rtol=1e-3, atol=1e-4 * float(maps.std()))

"""Batch norms as part of the convolutions before them, for encoders that are not trained."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_SAME = 1e-3
"""Of the standard deviation of a map: how far rounding may take it at most."""


@torch.no_grad()
def folded(backbone: nn.Module, images: Tensor) -> nn.Module:
    """Give a backbone that makes the same feature maps without its batch norms.

    What a batch norm does in evaluation is a factor and an addition a channel, which the weights of
    the convolution before it take in (Jacob et al., CVPR 2018, section 3.2). On a CPU, where a
    batch norm reads and writes each map once more, that leaves some two thirds of the time.

    Which convolution is before a batch norm is told by the order in which layers were made; so the
    result is compared with the backbone.

    Args:
        backbone: In evaluation mode, with a list of maps as its result; left as it is.
        images: (B, C, H, W), at least one as it is given, on which both are compared.

    Returns:
        A copy, whose maps differ by rounding alone; the backbone itself where there is none.

    Example:
        >>> class Stem(nn.Sequential):
        ...     def forward(self, images):
        ...         return [super().forward(images)]
        >>> stem = Stem(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> folded(stem, torch.rand(1, 3, 8, 8))
        Stem(
          (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
          (1): Identity()
          (2): ReLU()
        )
    """
    other = copy.deepcopy(backbone)
    found = [_fold_children(parent) for parent in list(other.modules())]
    if not any(found):
        return backbone
    pairs = zip(backbone(images[:1]), other(images[:1]), strict=True)
    return other if all(_same(*pair) for pair in pairs) else backbone


def _fold_children(parent: nn.Module) -> bool:
    """Fold each batch norm among the layers of a module that a convolution is before, in place."""
    before: nn.Module | None = None
    found = False
    for name, layer in list(parent.named_children()):
        if (
            isinstance(layer, nn.BatchNorm2d)
            and layer.running_mean is not None
            and layer.running_var is not None
            and isinstance(before, nn.Conv2d)
            and before.out_channels == layer.num_features
        ):
            before.weight, before.bias = fuse_conv_bn_weights(
                before.weight,
                before.bias,
                layer.running_mean,
                layer.running_var,
                layer.eps,
                layer.weight,
                layer.bias,
            )
            # timm's batch norms hold the activation too.
            setattr(parent, name, getattr(layer, "act", nn.Identity()))
            found = True
        if not isinstance(layer, nn.Identity):
            before = layer
        while isinstance(before, nn.Sequential) and len(before):
            before = before[-1]
    return found


def _same(maps: Tensor, others: Tensor) -> bool:
    return bool((maps - others).abs().max() <= _SAME * maps.std())

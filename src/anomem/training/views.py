"""Random views of a batch of images, made on the device the images are on."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from anomem.config import ViewChoices

_LUMA = (0.299, 0.587, 0.114)


def random_view(images: Tensor, choices: ViewChoices, generator: torch.Generator) -> Tensor:
    """One random view of each image: crop, flip, colour jitter, blur, noise.

    Args:
        images: (B, C, H, W), floats in [0, 1].
        choices: Strength of each change.
        generator: On the device of the images.

    Returns:
        (B, C, H, W), floats in [0, 1].
    """
    view = _crop_and_flip(images, choices, generator)
    view = _jitter(view, choices, generator)
    if choices.blur > 0:
        amount = choices.blur * _uniform(images, generator, 0.0, 1.0)
        view = torch.lerp(view, _binomial_blur(view), amount)
    if choices.noise > 0:
        sigma = choices.noise * _uniform(images, generator, 0.0, 1.0)
        noise = torch.empty_like(view).normal_(generator=generator)
        view = torch.addcmul(view, sigma, noise)
    return view.clamp_(0, 1)


def _uniform(images: Tensor, generator: torch.Generator, low: float, high: float) -> Tensor:
    """One draw an image, (B, 1, 1, 1)."""
    draw = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
    return low + (high - low) * draw


def _crop_and_flip(images: Tensor, choices: ViewChoices, generator: torch.Generator) -> Tensor:
    side = _uniform(images, generator, choices.crop, 1.0).flatten().sqrt()
    aspect = _uniform(images, generator, -math.log(4 / 3), math.log(4 / 3)).flatten().exp().sqrt()
    aspect = aspect.clamp(side, 1 / side)
    width, height = side * aspect, side / aspect
    centre_x = (1 - width) * _uniform(images, generator, -1.0, 1.0).flatten()
    centre_y = (1 - height) * _uniform(images, generator, -1.0, 1.0).flatten()
    if choices.flip:
        width = width * (_uniform(images, generator, -1.0, 1.0).flatten() >= 0).float().mul(2).sub(
            1
        )
    return resampled(images, width, height, centre_x, centre_y, padding="border")


def resampled(
    images: Tensor, width: Tensor, height: Tensor, x: Tensor, y: Tensor, *, padding: str
) -> Tensor:
    """A window of each image, brought to the size of the image.

    Args:
        images: (B, C, H, W).
        width: Of each window, as a share of the image's, (B,); negative values flip.
        height: The same for the height.
        x: Centre of each window, (B,), from -1 (left) to 1 (right).
        y: The same from top to bottom.
        padding: What lies outside of the image, as ``grid_sample`` names it.
    """
    zero = torch.zeros_like(width)
    affine = torch.stack([torch.stack([width, zero, x], 1), torch.stack([zero, height, y], 1)], 1)
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode=padding, align_corners=False)


def _jitter(view: Tensor, choices: ViewChoices, generator: torch.Generator) -> Tensor:
    def factor(strength: float) -> Tensor:
        return _uniform(view, generator, 1 - strength, 1 + strength)

    if choices.saturation > 0 and view.shape[1] == 3:
        luma = torch.tensor(_LUMA, device=view.device).view(1, 3, 1, 1)
        grey = (view * luma).sum(dim=1, keepdim=True)
        view = torch.lerp(grey.expand_as(view), view, factor(choices.saturation))
    if choices.contrast > 0:
        mean = view.mean(dim=(1, 2, 3), keepdim=True)
        view = torch.lerp(mean.expand_as(view), view, factor(choices.contrast))
    if choices.brightness > 0:
        view = view * factor(choices.brightness)
    return view


def _binomial_blur(view: Tensor) -> Tensor:
    """Weights 1, 2, 1 along each axis; slices are ten times faster than a small convolution."""
    padded = functional.pad(view, (1, 1, 1, 1), mode="replicate")
    rows = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16

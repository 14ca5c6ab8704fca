"""Random views of a batch of images, made on the device the images are on."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from anomem.config import ViewChoices
from anomem.training.draws import Chance

_LUMA = (0.299, 0.587, 0.114)
_FIELD = 2**20
"""Places of the noise field where that of an image may begin."""


def random_view(images: Tensor, choices: ViewChoices, chance: Chance) -> Tensor:
    """Make one random view of each image: crop, flip, colour jitter, blur, noise.

    Args:
        images: (B, C, H, W), floats in [0, 1].
        choices: Strength of each change.
        chance: Its generator on the device of the images.

    Returns:
        (B, C, H, W), floats in [0, 1].
    """
    view = _jitter(_crop_and_flip(images, choices, chance), choices, chance)
    if choices.blur > 0:
        amount = choices.blur * _uniform(images, chance, 0.0, 1.0)
        view = torch.addcmul(view * (1 - amount), _binomial_sum(view), amount / 16)
    if choices.noise > 0:
        sigma = choices.noise * _uniform(images, chance, 0.0, 1.0)
        view = torch.addcmul(view, sigma, _noise(view, chance))
    return view.clamp_(0, 1)


def _uniform(images: Tensor, chance: Chance, low: float, high: float) -> Tensor:
    """One draw an image, (B, 1, 1, 1)."""
    return chance.uniform(len(images), low, high).view(-1, 1, 1, 1)


def _noise(images: Tensor, chance: Chance) -> Tensor:
    """Gaussian noise, cut for each image anywhere from one long field.

    Drawing it anew each time would take longer than all other changes of the view.
    """
    length = images[0].numel()
    field = _noise_field(_FIELD + length, images.device)
    starts = chance.integers(len(images), _FIELD)
    return field.unfold(0, length, 1)[starts].view(images.shape)


@lru_cache(maxsize=4)
def _noise_field(length: int, device: torch.device) -> Tensor:
    generator = torch.Generator(device).manual_seed(0)
    return torch.randn(length, generator=generator, device=device)


def _crop_and_flip(images: Tensor, choices: ViewChoices, chance: Chance) -> Tensor:
    count, turn = len(images), math.log(4 / 3)
    side = chance.uniform(count, choices.crop, 1.0).sqrt()
    aspect = chance.uniform(count, -turn, turn).exp().sqrt()
    aspect = aspect.clamp(side, 1 / side)
    width, height = side * aspect, side / aspect
    centre_x = (1 - width) * chance.uniform(count, -1.0, 1.0)
    centre_y = (1 - height) * chance.uniform(count, -1.0, 1.0)
    if choices.flip:
        width = width.copysign(chance.uniform(count, -1.0, 1.0))
    return zoomed(images, width, height, centre_x, centre_y, padding="border")


def zoomed(
    images: Tensor, width: Tensor, height: Tensor, x: Tensor, y: Tensor, *, padding: str
) -> Tensor:
    """Bring a window of each image to the size of the image.

    Args:
        images: (B, C, H, W).
        width: Of each window, as a share of the image's, (B,); negative values flip.
        height: The same for the height.
        x: Centre of each window, (B,), from -1 (left) to 1 (right).
        y: The same from top to bottom.
        padding: What lies outside of the image, as ``grid_sample`` names it.
    """
    columns = torch.outer(width, _centres(images.shape[3], images.device)) + x[:, None]
    rows = torch.outer(height, _centres(images.shape[2], images.device)) + y[:, None]
    size = (len(images), *images.shape[2:])
    grid = torch.stack([columns[:, None].expand(size), rows[:, :, None].expand(size)], 3)
    return functional.grid_sample(images, grid, padding_mode=padding, align_corners=False)


def _centres(count: int, device: torch.device) -> Tensor:
    """Centres of so many pixels side by side, from -1 to 1."""
    return (2 * torch.arange(count, device=device) + 1) / count - 1


def _jitter(view: Tensor, choices: ViewChoices, chance: Chance) -> Tensor:
    """Saturation, contrast and brightness: one linear map of the colours and a shift an image."""

    def factor(strength: float) -> Tensor:
        return _uniform(view, chance, 1 - strength, 1 + strength).squeeze(3)

    channels = view.shape[1]
    grey, unit = _to_grey(channels, view.device)
    mix = torch.lerp(grey, unit, factor(choices.saturation))
    contrast, brightness = factor(choices.contrast), factor(choices.brightness)
    pixels = view.flatten(2)
    mean = (mix @ pixels.mean(dim=2, keepdim=True)).mean(dim=1, keepdim=True)
    shift = brightness * (1 - contrast) * mean
    mapped = torch.baddbmm(shift, brightness * contrast * mix, pixels)
    return mapped.view(view.shape)


@lru_cache(maxsize=4)
def _to_grey(channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Maps of colours to their grey, and to themselves; kept, as bringing them to a GPU waits."""
    luma = torch.tensor(_LUMA if channels == 3 else (1.0,) * channels, device=device)
    return luma.expand(channels, channels), torch.eye(channels, device=device)


def _binomial_sum(view: Tensor) -> Tensor:
    """Weights 1, 2, 1 along each axis, 16 in all.

    Slices are ten times faster than a small convolution.
    """
    padded = functional.pad(view, (1, 1, 1, 1), mode="replicate")
    rows = torch.add(padded[:, :, :-2], padded[:, :, 1:-1], alpha=2).add_(padded[:, :, 2:])
    return torch.add(rows[..., :-2], rows[..., 1:-1], alpha=2).add_(rows[..., 2:])

"""The encoder: any timm backbone as a list of feature maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from typing import Any, Self

import timm
import torch
from timm.layers.norm_act import convert_sync_batchnorm
from timm.models import is_model_in_modules
from torch import Tensor, nn

from anomem.config import EncoderChoices
from anomem.images.image_set import to_float
from anomem.model.fold import folded
from anomem.model.pretrained_weights import load_weights

_REMEMBERED = 2**30
"""Bytes of maps that are kept for a batch that comes again."""
_BLOCK = 16
"""Channels that oneDNN's kernels take at a time: 16 with AVX-512, 8 with AVX2."""
_TRANSFORMERS = ("vision_transformer", "deit", "eva")
"""Modules of timm whose models bring their positions to images of any size."""


class Encoder(nn.Module):
    """Makes feature maps of images at several scales.

    Each block of a vision transformer gives a map, all of one stride: its tokens by their places,
    without those that have none. Its positions are brought to the size of the images.

    Args:
        choices: The backbone and its scales.
        channels: Channels of the images, 1 or 3 (the default).
        initialise: Load the pretrained weights that the choices ask for (the default); False builds
            the bare architecture, to be filled from a saved model.
        channels_last: Keep feature maps with the channels of a place side by side (the default),
            unless a layer is too narrow for that (:func:`narrow_for_channels_last`).

    Raises:
        ValueError: The model, its scales or the file of weights do not fit.

    Attributes:
        widths: Channels of the feature map of each scale.
        every_width: Channels of each map of :meth:`every_map`.
        finer: The model has a feature map before that of the first scale.
        mean: Mean of the image channels, (C, 1, 1), subtracted from every image.
        std: Standard deviation of the image channels, (C, 1, 1).

    Example:
        >>> choices = EncoderChoices(name="resnet10t", width=8, stem_stride=2, scales=(3, 4))
        >>> encoder = Encoder(choices)
        >>> images = torch.rand(2, 3, 32, 48)
        >>> encoder.normalise_by(images)
        >>> [tuple(maps.shape) for maps in encoder(images)]
        [(2, 32, 4, 6), (2, 64, 2, 3)]
        >>> [tuple(maps.shape) for maps in encoder.every_map(images)]
        [(2, 16, 8, 12), (2, 32, 4, 6), (2, 64, 2, 3)]
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        choices: EncoderChoices,
        channels: int = 3,
        *,
        initialise: bool = True,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = _backbone(choices, channels, initialise and choices.pretrained)
        new: set[str] = set()
        if choices.stem_stride is not None:
            before = _shapes(self.backbone)
            _shrink_stem(self.backbone, choices.stem_stride, channels, choices.width)
            new = {name for name, shape in _shapes(self.backbone) if (name, shape) not in before}
        if initialise and choices.weights is not None:
            load_weights(self.backbone, choices.weights, new)
        self.finer = choices.scales[0] > 0
        self.every_width: tuple[int, ...] = tuple(self.backbone.feature_info.channels())
        self.widths = self.every_width[self.finer :]
        self.pretrained = choices.pretrained or choices.weights is not None
        self.frozen = choices.frozen
        self._known: dict[bytes, list[Tensor]] | None = None
        # In a tuple, as it is no further part of the module: its weights are those of the backbone.
        self._folded: tuple[nn.Module] | None = None
        self.register_buffer("mean", torch.full((channels, 1, 1), 0.5))
        self.register_buffer("std", torch.full((channels, 1, 1), 0.25))
        self.channels_last = channels_last and not narrow_for_channels_last(self.backbone)
        self.to(memory_format=self.memory_format)
        if self.frozen:
            self.requires_grad_(False)
            for values in self.halves().values():
                values.copy_(values.half())

    @property
    def memory_format(self) -> torch.memory_format:
        """Tell the order of strides; ``torch.save`` could not write it as an attribute."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def forward(self, images: Tensor) -> list[Tensor]:
        """Make the feature maps, shallow to deep.

        Args:
            images: (B, C, H, W), floats in [0, 1].

        Returns:
            One (B, C_s, H_s, W_s) a scale.
        """
        return self.every_map(images)[int(self.finer) :]

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Keep the maps of each image within, as a frozen encoder gives the same ones again.

        Of images on the CPU, up to 1 GiB of maps; further ones are made anew.
        """
        self._known = {} if self.frozen else None
        try:
            yield
        finally:
            self._known = None

    def every_map(self, images: Tensor) -> list[Tensor]:
        """Make the feature map before that of the first scale, if there is one, and all scales."""
        # Views of a training, which are none of inference, never come again.
        again = torch.is_inference_mode_enabled() and images.device.type == "cpu"
        if self._known is None or not again:
            return self._every_map(images)
        keys = [
            sha1(image.numpy(), usedforsecurity=False).digest() for image in images.contiguous()
        ]
        if all(key in self._known for key in keys):
            found = [self._known[key] for key in keys]
            return [_batch_of(each) for each in zip(*found, strict=True)]
        maps = self._every_map(images)
        of_image = sum(each[0].nbytes for each in maps)
        for key, *own in zip(keys, *maps, strict=True):
            if of_image * (len(self._known) + 1) <= _REMEMBERED:
                self._known[key] = own
        return maps

    def _every_map(self, images: Tensor) -> list[Tensor]:
        images = images.contiguous(memory_format=self.memory_format)
        images = torch.addcdiv(-self.mean / self.std, images, self.std)
        backbone = self.backbone
        if self.frozen and torch.is_inference_mode_enabled() and not images.is_meta:
            if self._folded is None:
                self._folded = (folded(backbone, images).to(memory_format=self.memory_format),)
            (backbone,) = self._folded
        maps: list[Tensor] = backbone(images)
        # Models of timm that say nothing of it have the channels first.
        if getattr(self.backbone, "output_fmt", None) == "NHWC":
            return [features.permute(0, 3, 1, 2) for features in maps]
        return list(maps)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of training, as of any module; a frozen encoder stays as it is."""
        return super().train(mode and not self.frozen)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_folded": None}

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self._folded = None
        return super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._folded = None
        super()._load_from_state_dict(*args, **kwargs)

    def halves(self) -> dict[str, Tensor]:
        """Give the weights that a frozen encoder rounds to half precision, by name.

        A model folder keeps them so, in half the space; norms and biases stay as they are.
        """
        state = self.backbone.state_dict()
        return {name: v for name, v in state.items() if self.frozen and v.dim() > 1}

    @torch.no_grad()
    def normalise_by(self, images: Tensor) -> None:
        """Take mean and standard deviation of the channels from images (N, C, H, W).

        A pretrained encoder takes those that it was trained with in their place.
        """
        if self.pretrained:
            for buffer, name in ((self.mean, "mean"), (self.std, "std")):
                values = torch.tensor(self.backbone.pretrained_cfg[name]).view(-1, 1, 1)
                buffer.copy_(values if len(buffer) == len(values) else values.mean())
            return
        pixels = to_float(images)
        self.mean.copy_(pixels.mean(dim=(0, 2, 3)).view(-1, 1, 1))
        self.std.copy_(pixels.std(dim=(0, 2, 3)).clamp(min=1e-3).view(-1, 1, 1))


def narrow_for_channels_last(network: nn.Module) -> bool:
    """Tell whether a layer of a network must not be trained with the channels of a place together.

    True of an ungrouped 1 x 1 convolution with a stride over 1 and fewer than 16 input channels.
    """
    # For such a layer oneDNN's kernels of the weights' gradient (AVX2 below 8 channels, AVX-512
    # below 16, in float32 and bfloat16) write past their work space: a crash with one thread,
    # wrong gradients with more (uxlfoundation/oneDNN issue 6035).
    return any(
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.groups == 1
        and layer.in_channels < _BLOCK
        for layer in network.modules()
    )


def synchronise_batch_norms(network: nn.Module) -> None:
    """Let every batch norm see the batch of all processes, which it can on GPUs alone.

    By timm's conversion, as some of its batch norms hold the activation too, which PyTorch's own
    drops.
    """
    convert_sync_batchnorm(network)


def stride_of(choices: EncoderChoices) -> int:
    """Give the pixels of an image from one place to the next on the map of the first scale."""
    with torch.device("meta"):
        backbone = _backbone(choices, 3, False)
    stride = int(backbone.feature_info.reduction()[int(choices.scales[0] > 0)])
    if choices.stem_stride is None:
        return stride
    usual = 4 if hasattr(backbone, "maxpool") else int(backbone.conv_stem.stride[0])
    return max(stride * choices.stem_stride // usual, 1)


def patch_of(choices: EncoderChoices) -> int:
    """Give what the sides of images must be multiples of: a transformer's patch in pixels, or 1."""
    return stride_of(choices) if _is_transformer(choices) else 1


def _backbone(choices: EncoderChoices, channels: int, pretrained: bool) -> Any:
    options: dict[str, Any] = {}
    first = choices.scales[0]
    if _is_transformer(choices):
        _refuse_of_transformers(choices, "width", "stem_stride")
        options["dynamic_img_size"] = True
    elif choices.width is not None:
        options["channels"] = tuple(choices.width * 2**stage for stage in range(4))
    with _told(choices):
        return timm.create_model(
            choices.name,
            features_only=True,
            out_indices=(*range(max(first - 1, 0), first), *choices.scales),
            in_chans=channels,
            pretrained=pretrained,
            **options,
        )


def _is_transformer(choices: EncoderChoices) -> bool:
    """Whether it is a vision transformer that takes images of any size."""
    if choices.named_by_timm:
        return is_model_in_modules(choices.name, _TRANSFORMERS)
    with _told(choices), torch.device("meta"):
        model: Any = timm.create_model(choices.name)
    return is_model_in_modules(model.pretrained_cfg["architecture"], _TRANSFORMERS)


def _refuse_of_transformers(choices: EncoderChoices, *names: str) -> None:
    for name in names:
        if (value := getattr(choices, name)) is not None:
            raise ValueError(
                f"encoder.{name} is {value}, which vision transformers as {choices.name!r} do not "
                "have; set it to None, as the preset 'pretrained' does."
            )


@contextmanager
def _told(choices: EncoderChoices) -> Iterator[None]:
    """Say in one sentence why timm does not build a model."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"the published weights of encoder {choices.name!r} cannot be fetched "
            f"({str(error).splitlines()[0]}); give a file as encoder.weights."
        ) from error
    except (RuntimeError, TypeError, ValueError, AssertionError, IndexError) as error:
        raise ValueError(
            f"encoder {choices.name!r} with scales {choices.scales} cannot be built "
            f"({str(error).splitlines()[0]}); choose a model of timm.list_models() that gives "
            "these feature maps."
        ) from error


def _shapes(backbone: nn.Module) -> set[tuple[str, torch.Size]]:
    return {(name, values.shape) for name, values in backbone.state_dict().items()}


def _shrink_stem(backbone: Any, stride: int, channels: int, width: int | None) -> None:
    """Give small images a 3 x 3 stem without max-pooling, as wide as the first stage."""
    if hasattr(backbone, "conv1") and hasattr(backbone, "maxpool"):
        stem = backbone.bn1.num_features
        # A first block without a projection adds what it was given to what it makes of it.
        width = stem if width is None or backbone.layer1[0].downsample is None else width
        backbone.conv1 = _convolution(channels, width, 3, stride)
        backbone.maxpool = nn.Identity()
        if width != stem:
            _narrow_stem(backbone, width)
    elif hasattr(backbone, "conv_stem"):
        backbone.conv_stem.stride = (stride, stride)
    else:
        raise ValueError(
            f"encoder.stem_stride is {stride} but {type(backbone).__name__} has no stem that can "
            "be shrunk; leave it out."
        )


def _narrow_stem(backbone: Any, width: int) -> None:
    """Bring the layers that follow the first convolution to its width."""
    backbone.bn1 = nn.BatchNorm2d(width)
    block = backbone.layer1[0]
    old = block.conv1
    block.conv1 = _convolution(width, old.out_channels, old.kernel_size[0], old.stride[0])
    for index, layer in enumerate(block.downsample or ()):
        if isinstance(layer, nn.Conv2d):
            block.downsample[index] = _convolution(width, layer.out_channels, 1, 1)
    for info in backbone.feature_info.info:
        if info["module"] in ("act1", "conv1", "bn1"):
            info["num_chs"] = width


def _convolution(channels: int, width: int, side: int, stride: int) -> nn.Conv2d:
    made = nn.Conv2d(channels, width, side, stride=stride, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


def _batch_of(maps: Sequence[Tensor]) -> Tensor:
    """Join maps (C, H, W) of several images in the order of memory that they have."""
    if maps[0].stride(0) == 1:
        return torch.stack([each.permute(1, 2, 0) for each in maps]).permute(0, 3, 1, 2)
    return torch.stack(list(maps))

"""What a saved model says of itself, read without its weights, and so without PyTorch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomem.config import LARGEST_SIDE, MOST_STEPS, Config
from anomem.config.mapping import overlaid
from anomem.detector.hold_out import MOST_HELD_OUT
from anomem.exported.folder import cannot_learn, is_exported, read
from anomem.runtime.untrusted import ModelError, one_line, read_json

FORMAT_VERSION = 14
DESCRIPTION = "model.json"
_WEIGHTS = re.compile(r"weights-[0-9a-f]{16}\.safetensors")


@dataclass(frozen=True)
class Described:
    """Holds what a model folder says of itself, every value within its range.

    Attributes:
        config: Every choice; its encoder is one of timm's own.
        channels: Of a frame, 1 or 3.
        height: Of a frame, in pixels.
        width: Of a frame, in pixels.
        seed: Of every random draw.
        summary: Of the training, as it is shown.
        held_out: Of each kind of normal the held-out images and their groups, at least one of each.
        in_turn: Some of them are held out in turn.
        left_out: Names of those that are unlike the others and have left the memory.
    """

    config: Config
    channels: int
    height: int
    width: int
    seed: int
    summary: dict[str, Any]
    held_out: list[tuple[int, int]]
    in_turn: bool
    left_out: list[str]

    @staticmethod
    def of(description: Mapping[str, Any]) -> Described:
        """Check all that a description says.

        Raises:
            ValueError: A part is missing, of another kind or out of range.
        """
        parts = {name: _mapping(description, name) for name in ("config", "shape", "summary")}
        config, shape = overlaid(Config(), parts["config"]), parts["shape"]
        if not config.encoder.named_by_timm:
            raise ValueError(f"encoder {config.encoder.name[:60]!r} is no model of timm's own")
        channels = _whole(shape, "channels", 1, 3)
        if channels == 2:
            raise ValueError("channels is 2; it must be 1 or 3")
        _whole(parts["summary"], "steps", 0, MOST_STEPS)
        held_out = _held_out(parts["summary"])
        most = sum(images for images, _ in held_out)
        return Described(
            config,
            channels,
            _whole(shape, "height", 8, LARGEST_SIDE),
            _whole(shape, "width", 8, LARGEST_SIDE),
            _whole(description, "seed", 0, 2**64 - 1),
            parts["summary"],
            held_out,
            _whole(parts["summary"], "held_out_in_turn", 0, most) > 0,
            _left_out(parts["summary"]),
        )


def load_description(path: Path) -> dict[str, Any]:
    """Read what a model folder says of itself, without its weights.

    Raises:
        ModelError: ``path`` is not a model folder of this format.
    """
    file = path / DESCRIPTION
    if is_exported(path):
        raise cannot_learn(path, read(path))
    if not file.exists():
        raise ModelError(f"{path} is not a saved model (no {DESCRIPTION}); give a model folder.")
    try:
        description = read_json(file)
        version, weights = description["format_version"], description["weights"]
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(file, error) from error
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path} has format version {version!r:.40}, this anomem reads {FORMAT_VERSION}; "
            "use the release that wrote it or fit again."
        )
    if not isinstance(weights, str) or not _WEIGHTS.fullmatch(weights):
        raise ModelError(f"{file} names no valid file of weights; save or fit the model again.")
    assert isinstance(description, dict)
    return description


def damaged(path: Path, error: BaseException) -> ModelError:
    """Make the error of a model, or of a file of one, in one sentence."""
    reason = f"no {error}" if isinstance(error, KeyError) else one_line(error)
    return ModelError(f"{path} is damaged ({reason}); save or fit the model again.")


def _mapping(description: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = description.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r:.40}; it must be a mapping")
    return value


def _held_out(summary: Mapping[str, Any]) -> list[tuple[int, int]]:
    kinds = summary.get("held_out_by_kind")
    if not isinstance(kinds, list) or not kinds:
        raise ValueError(f"held_out_by_kind is {kinds!r:.40}; it must be a list of pairs")
    sizes = []
    for kind in kinds:
        if not isinstance(kind, list) or len(kind) != 2:
            raise ValueError(f"held_out_by_kind has {kind!r:.40}; it must be a list of pairs")
        pair = {"images": kind[0], "groups": kind[1]}
        images = _whole(pair, "images", 1, MOST_HELD_OUT)
        sizes.append((images, _whole(pair, "groups", 1, images)))
    return sizes


def _left_out(summary: Mapping[str, Any]) -> list[str]:
    names = summary.get("left_out")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"left_out is {names!r:.40}; it must be a list of names")
    return names


def _whole(description: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = description.get(name)
    # True and False are numbers to Python.
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {value!r:.40}; it must be a whole number, {least} to {most}")
    return value

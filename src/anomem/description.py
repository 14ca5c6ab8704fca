"""What a saved model says of itself, read without its weights, and so without PyTorch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

FORMAT_VERSION = 2
DESCRIPTION = "model.json"
_WEIGHTS = re.compile(r"weights-[0-9a-f]{16}\.safetensors")


class ModelError(ValueError):
    """A folder or file is not a model or checkpoint that can be read."""


def load_description(path: Path) -> dict[str, Any]:
    """Read what a model folder says of itself, without its weights.

    Raises:
        ModelError: ``path`` is not a model folder of this format.
    """
    file = path / DESCRIPTION
    if not file.is_file():
        raise ModelError(f"{path} is not a saved model (no {DESCRIPTION}); give a model folder.")
    try:
        description = json.loads(file.read_text())
        version, weights = description["format_version"], description["weights"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file} is damaged ({error}); save or fit the model again.") from error
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path} has format version {version}, this anomem reads {FORMAT_VERSION}; "
            "use the release that wrote it or fit again."
        )
    if not isinstance(weights, str) or not _WEIGHTS.fullmatch(weights):
        raise ModelError(f"{file} names no valid file of weights; save or fit the model again.")
    assert isinstance(description, dict)
    return description

"""A detector for use from a folder, saved or exported; of the exported no PyTorch is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomem.exported.detector import ExportedDetector
from anomem.exported.folder import is_exported

if TYPE_CHECKING:
    from anomem.detector.estimator import AnoMem


def load(path: str | Path, *, device: str = "auto") -> AnoMem | ExportedDetector:
    """Load a saved detector, on any device, or an exported one, on the CPU.

    The folder may be anybody's: no code of it is run, nothing that it names outside of it is opened
    or fetched. Of a saved detector, before memory is taken every shape is held against what its
    choices ask for; what the graph of an exported one takes is not bounded.

    Args:
        path: A model folder, or an exported one.
        device: As of :class:`~anomem.AnoMem`, "auto" by default.

    Raises:
        ModelError: The folder is not a whole model of this format, or a number in it is not finite
            or out of its range.
        ValueError: An exported folder is to compute elsewhere than on the CPU.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from anomem import AnoMem, load
        >>> pixels, digit = load_digits(return_X_y=True)
        >>> images = (pixels.reshape(-1, 8, 8) * 15).astype(np.uint8).repeat(2, 1).repeat(2, 2)
        >>> model = AnoMem().set_params(config__stage1__min_steps=5, config__stage1__max_steps=5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.fit(images[digit == 0][:40]).save(folder)
        ...     again = load(folder)
        >>> ones = images[digit == 1][:10]
        >>> bool((model.decision_function(ones) == again.decision_function(ones)).all())
        True
    """
    if is_exported(Path(path)):
        if device not in ("auto", "cpu"):
            raise ValueError(f"device is {device!r}; an exported model computes on the CPU alone.")
        return ExportedDetector(path)
    from anomem.detector.estimator import load_trained

    return load_trained(path, device=device)

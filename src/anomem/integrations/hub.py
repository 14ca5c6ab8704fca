"""A detector on the Hugging Face Hub: a model folder, and a card written from its training."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, snapshot_download
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from anomem.decision.expected_alarms import expected_at
from anomem.decision.threshold import FalseAlarms
from anomem.detector import model_folder
from anomem.detector.detector import Detector, standing
from anomem.detector.estimator import AnoMem
from anomem.detector.load import load
from anomem.detector.model_info import DESCRIPTION
from anomem.runtime.printing import counted, printable
from anomem.runtime.untrusted import ModelError

_FILES = [DESCRIPTION, "weights-*.safetensors"]


class OnHub(ModelHubMixin):
    """Holds a detector that is kept on the Hub, or in a folder as it would be there.

    ``save_pretrained``, ``from_pretrained`` and ``push_to_hub`` are those of ``ModelHubMixin``. The
    folder is a model folder, which ``anomem.load`` and the commands read too, with a card as
    ``README.md``; a card that is there already stays as it is. Images, and a file of weights, are
    named in it without their folders, which say how its owner files them.

    Args:
        detector: A fitted detector.

    Raises:
        TypeError: It is something else.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> pixels, digit = load_digits(return_X_y=True)
        >>> images = (pixels.reshape(-1, 8, 8) * 15).astype(np.uint8).repeat(2, 1).repeat(2, 2)
        >>> short = {"config__stage1__min_steps": 5, "config__stage1__max_steps": 5}
        >>> detector = AnoMem("scratch").set_params(**short).fit(images[digit == 0][:40])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     saved = OnHub(detector).save_pretrained(folder)
        ...     again = OnHub.from_pretrained(folder).detector
        >>> ones = images[digit == 1][:10]
        >>> bool((detector.decision_function(ones) == again.decision_function(ones)).all())
        True
    """

    def __init__(self, detector: AnoMem) -> None:
        if not isinstance(detector, AnoMem):
            raise TypeError(f"the detector is of type {type(detector).__name__}; give an AnoMem.")
        self.detector = detector

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **given: Any) -> OnHub:
        """Load a detector from the Hub, or from a folder; nothing of it is run.

        Args:
            pretrained_model_name_or_path: A repository, "name/model", or a folder.
            given: As of ``ModelHubMixin``, and ``device``, as of ``anomem.load``.

        Raises:
            ModelError: It is neither at hand nor can be fetched, or is no whole model.

        Example:
            >>> path = OnHub(detector).save_pretrained("digits")
            >>> type(OnHub.from_pretrained("digits").detector).__name__
            'AnoMem'
        """
        try:
            return super().from_pretrained(pretrained_model_name_or_path, **given)
        except (LocalEntryNotFoundError, RepositoryNotFoundError, HFValidationError) as error:
            raise ModelError(
                f"{pretrained_model_name_or_path} is no folder here and cannot be fetched from the "
                "Hugging Face Hub; check the name and the connection."
            ) from error

    def generate_model_card(
        self, *, license: str = "unknown", data: str = "", **other: object
    ) -> ModelCard:
        """Write the card of the model.

        Args:
            license: Of the model, as the Hub names it ("cc-by-4.0"); "unknown" unless given. Give
                these as ``model_card_kwargs`` of ``save_pretrained`` and ``push_to_hub``.
            data: What the training images show and where they are from, in words.
            other: Refused.

        Raises:
            TypeError: Something other is given.

        Example:
            >>> card = OnHub(detector).generate_model_card(license="cc0-1.0", data="Digits.")
            >>> card.data.license, "Digits." in card.text
            ('cc0-1.0', True)
        """
        if other:
            raise TypeError(f"a card has no {min(other)}; give license and data.")
        card = ModelCardData(
            library_name="anomem",
            license=license,
            pipeline_tag="image-classification",
            tags=["anomaly-detection"],
        )
        return ModelCard(f"---\n{card.to_yaml()}\n---\n{_card(self.detector, license, data)}")

    def _save_pretrained(self, save_directory: Path) -> None:
        model_folder.save(_without_folders(self.detector.detector()), save_directory)
        # The Hub counts downloads by it, and the mixin misses it aloud.
        (save_directory / "config.json").write_text('{"library_name": "anomem"}\n', "utf-8")

    @classmethod
    def _from_pretrained(cls, *, model_id: str, device: str = "auto", **download: Any) -> OnHub:
        """Load a detector from a folder, or else from the Hub."""
        folder = model_id
        if not os.path.isdir(model_id):
            folder = snapshot_download(model_id, allow_patterns=_FILES, **download)
        detector = load(folder, device=device)
        if not isinstance(detector, AnoMem):
            raise ModelError(f"{model_id} is an exported detector; load it by anomem.load.")
        return cls(detector)


def _without_folders(detector: Detector) -> Detector:
    """The same detector, whose images and file of weights have the names of their files alone."""
    bank = replace(detector.bank, held_out_name=tuple(map(_file_name, detector.bank.held_out_name)))
    encoder = detector.config.encoder
    weights = None if encoder.weights is None else _file_name(encoder.weights)
    return replace(
        detector,
        config=replace(detector.config, encoder=replace(encoder, weights=weights)),
        origins=tuple(replace(each, image=_file_name(each.image)) for each in detector.origins),
        bank=bank,
        summary=detector.summary | standing(bank),
    )


def _file_name(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]


_CARD = """
# Anomalous images, by AnoMem

{data}

The detector learns what is normal from images and scores new ones: higher is more anomalous.

```python
from anomem import load
from anomem.integrations.hub import OnHub

detector = OnHub.from_pretrained("this/repository").detector  # or load("a folder of these files")
scores = detector.decision_function("images/")
verdict = detector.predict("images/", 0.05)  # 1 is anomalous, at most 5% false alarms
```

## What it has learnt from

| | |
|---|---|
{rows}

## False alarms

By {held_out}: {alarms}.
How many anomalies it finds a training does not tell: measure it on your images with
`anomem evaluate`.

## Limits

- It holds for images taken as those it has learnt from: another camera, light or product is an
  anomaly to it.
- What is anomalous is what is unlike them, whether it matters or not.
- The rate of false alarms is an average over draws of the held-out normals, and holds for new
  normals that are like them.
- The files hold no image. They hold what was measured of images, digests of their pixels, and the
  names, without folders, of the files of held-out images{and_others}.

## Licence

{license}
"""


def _card(detector: AnoMem, license: str, data: str) -> str:
    """The text of a card."""
    summary, config, shape = detector.summary_, detector.config_, detector.framing_.shape
    rows = {
        "normal images": summary["normals"],
        "labelled anomalies": summary["labelled_anomalies"],
        "frame": f"{shape.height} x {shape.width} pixels, {shape.channels} channels",
        "encoder": config.encoder.name + (", frozen" if config.encoder.frozen else ""),
        "prototypes a scale": ", ".join(map(str, config.memory.sizes)),
        "training": f"{_training(summary['steps'])}, {summary['seconds']:.1f} s",
        "versions": ", ".join(f"{name} {of}" for name, of in summary["versions"].items()),
    }
    licence = f"{license}." if license != "unknown" else "None is stated: ask who published it."
    if detector.network_.encoder.pretrained:
        has = "has" if config.encoder.frozen else "began with"
        licence += f" The encoder {has} published weights, whose licence holds for it too."
    held_out = detector.calibration()
    normals = counted(len(held_out), "held-out normal")
    if summary["held_out_in_turn"] == len(held_out):
        normals = f"{counted(len(held_out), 'normal')}, each held out in turn"
    alarms = expected_at(FalseAlarms().alpha, held_out.sizes, in_turn=held_out.in_turn)
    return _CARD.format(
        data=data or "What the images show is not described: ask who published it.",
        rows="\n".join(f"| {name} | {printable(str(value))} |" for name, value in rows.items()),
        held_out=normals,
        alarms=alarms,
        and_others=" and of those that prototypes are places of" if detector.origins_ else "",
        license=licence,
    )


def _training(steps: int) -> str:
    return counted(steps, "step") if steps else "prototypes chosen among places of the normals"

"""The detector as a model of anomalib: fitted by its Engine, on its data, exported by its means."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from anomalib import LearningType
from anomalib.data import ImageBatch, InferenceBatch
from anomalib.models.components import AnomalibModule, MemoryBankMixin
from anomalib.pre_processing import PreProcessor
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2 import Resize  # type: ignore[import-untyped]

from anomem.config.mapping import changed, overlaid
from anomem.config.presets import resolve
from anomem.decision.threshold import rule_of
from anomem.detector.estimator import AnoMem, load_trained
from anomem.detector.model_folder import folder_content
from anomem.export.graph import DetectorGraph, heat_of_mask, hottest
from anomem.images.arrays import ArraySource
from anomem.images.combined import choose
from anomem.images.image_set import evenly, tensor_of
from anomem.images.labels import check_labels

_DETECTOR = "anomem_detector"
"""The entry of a checkpoint that holds the files of the detector's model folder."""
_SIDE = 64
"""Of images of a preset that names no size, in pixels."""
_NORMALS = 128
"""Of the fit, the most that the heat of masks is measured on."""


class ContrastedMemory(MemoryBankMixin, AnomalibModule):  # type: ignore[misc]
    """Stands where any model of anomalib would: ``Engine.fit``, ``test``, ``predict``, ``export``.

    One epoch collects the images, at 8 bits, and their end fits a detector. Images that are
    labelled anomalous (``gt_label`` 1; ``ImageBatch`` takes all but 0 for it) are learnt too, of
    memories of places (the preset "pretrained") where ``gt_mask`` marks them. The detector
    normalises by itself, so that the ``PreProcessor`` only resizes. ``pred_score`` is in (0, 1) and
    above 0.5 where the image is anomalous by the rule, as held-out normals have it; ``anomaly_map``
    likewise, above 0.5 where ``pred_mask`` is set. So there is no ``PostProcessor``; with one of
    anomalib's that decides.

    Args:
        preset: Name of a preset, "pretrained" by default.
        choices: Laid over it by group, as in a file of ``anomem fit --config``.
        rule: By which an image is called anomalous, as of ``AnoMem.threshold``: by default at most
            a share 0.05 of normals is.
        seed: Of every random draw, 0 by default.
        components: ``pre_processor``, ``post_processor``, ``evaluator`` and ``visualizer``, as of
            ``AnomalibModule``.

    Attributes:
        detector_: The fitted detector.

    Raises:
        ValueError: There is no such preset, choice or rule, or a value is out of range.

    Example:
        >>> model = ContrastedMemory("scratch", choices={"memory": {"beta": 3.0}})
        >>> model.pre_processor.transform.size
        [64, 64]
    """

    detector_: AnoMem

    def __init__(
        self,
        preset: str = "pretrained",
        choices: dict[str, Any] | None = None,
        rule: str | float = 0.05,
        seed: int = 0,
        **components: Any,
    ) -> None:
        config = overlaid(resolve(preset), choices or {})
        if config.images.framing != "resize":
            raise ValueError("images.framing is not 'resize'; leave it out, anomalib resizes.")
        if components.get("pre_processor", True) is True:
            size = config.images.size or _SIDE
            size = (size, size) if isinstance(size, int) else size
            components["pre_processor"] = self.configure_pre_processor(size)
        rule_of(rule)
        super().__init__(**components)
        self.config, self.rule, self.seed = config, rule, seed
        self.model = ContrastedMemoryModel()
        self._seen: list[_Seen] = []

    @staticmethod
    def configure_pre_processor(image_size: tuple[int, int] | None = None) -> PreProcessor:
        """Only resize, to a height and width in pixels, (224, 224) by default."""
        return _Resizing(Resize(image_size or (224, 224), antialias=True))

    @staticmethod
    def configure_post_processor() -> None:
        """Leave nothing to it: what is decided rests on held-out normals."""

    @staticmethod
    def configure_optimizers() -> None:
        """Leave nothing to Lightning: the detector trains by itself."""

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """Ask for one look at each image, by one process."""
        return {
            "gradient_clip_val": 0,
            "max_epochs": 1,
            "num_sanity_val_steps": 0,
            "devices": 1,
        }

    @property
    def learning_type(self) -> LearningType:
        """Say that no anomaly need be labelled; some may."""
        return LearningType.ONE_CLASS

    def on_train_start(self) -> None:
        """Forget what an earlier fit has seen."""
        self._seen = []
        self._is_fitted = torch.tensor([False], device=self.device)

    def training_step(self, batch: ImageBatch, *_: Any, **__: Any) -> Tensor:
        """Collect the images of a batch.

        Raises:
            ValueError: They are not within [0, 1], or a label is neither 0 nor 1.
        """
        self._seen.append(_Seen.of(batch))
        return torch.zeros((), requires_grad=True, device=self.device)

    def validation_step(self, batch: ImageBatch, *_: Any, **__: Any) -> ImageBatch:
        """Score a batch.

        Raises:
            ValueError: The images are not within [0, 1].
        """
        _check_range(batch.image)
        return batch.update(**self.model(batch.image)._asdict())

    test_step = predict_step = validation_step

    def fit(self) -> None:
        """Fit the detector to the images that were collected.

        Raises:
            NotFittedError: There are none.
            ValueError: As of ``AnoMem.fit``.
        """
        if not self._seen:
            raise NotFittedError("no images were trained on; call Engine.fit, or give ckpt_path.")
        seen, self._seen = _Seen.joined(self._seen), []
        config = changed(
            self.config, {"images__size": seen.pixels.shape[1:3], "images__channels": 3}
        )
        source = ArraySource(seen.pixels)
        if seen.names is not None:
            source.names = seen.names
        odd = seen.label == 1
        # Lightning validates, before which it is fitted, in inference mode.
        with torch.inference_mode(False), torch.enable_grad():
            detector = AnoMem(config, device=str(self.device), seed=self.seed)
            if config.memory.prototypes == "places" and odd.any():
                # A fit would learn from them as this does, but for the masks.
                detector.fit(choose(source, np.flatnonzero(~odd)))
                detector.adapt(seen.pixels[odd], seen.label[odd], masks=[*seen.mask[odd]])
            else:
                detector.fit(source, seen.label)
            self._take(detector)
        normal = seen.pixels[seen.label == 0]
        some = tensor_of(normal[evenly(len(normal), _NORMALS).numpy()]).permute(0, 3, 1, 2)
        assert self.model.graph is not None
        highest = hottest(self.model.graph, some.to(self.device))
        self.model.mask_heat.fill_(heat_of_mask(highest))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the whole detector, as its model folder does."""
        super().on_save_checkpoint(checkpoint)
        if hasattr(self, "detector_"):
            with TemporaryDirectory() as folder:
                self.detector_.save(folder)
                content = folder_content(Path(folder))
            checkpoint[_DETECTOR] = {
                name: torch.frombuffer(bytearray(part), dtype=torch.uint8)
                for name, part in content.items()
            }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Take the detector of a checkpoint, before its weights are read."""
        super().on_load_checkpoint(checkpoint)
        if _DETECTOR in checkpoint:
            with TemporaryDirectory() as folder:
                for name, part in checkpoint[_DETECTOR].items():
                    Path(folder, Path(name).name).write_bytes(part.cpu().numpy().tobytes())
                self._take(load_trained(folder))

    def to_onnx(self, *given: Any, **kwargs: Any) -> Path:
        """Write the graph by the operators of ONNX 18, as those of 14 do not suffice."""
        return super().to_onnx(*given, **{"opset_version": 18, **kwargs})

    def _take(self, detector: AnoMem) -> None:
        """Infer by a detector from now on."""
        self.detector_, self.model.decides = detector, self.post_processor is None
        threshold = detector.threshold(self.rule)
        graph = DetectorGraph(detector.detector(), detector.calibration(), threshold)
        self.model.graph = graph.to(self.device)


@dataclasses.dataclass(frozen=True)
class _Seen:
    """Holds N images of a training.

    Attributes:
        pixels: N x H x W x 3.
        label: (N,), 1 where an image is labelled anomalous.
        mask: N x H x W, True where an anomaly is marked.
        names: Path of each, where all are known.
    """

    pixels: npt.NDArray[np.uint8]
    label: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    names: list[str] | None

    @staticmethod
    def of(batch: ImageBatch) -> _Seen:
        images, label, mask = batch.image, batch.gt_label, batch.gt_mask
        _check_range(images)
        levels = _levels(images).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        given = check_labels(None if label is None else label.cpu().numpy(), len(levels))
        unmarked = np.zeros(levels.shape[:3], dtype=np.bool_)
        marked = unmarked if mask is None else (mask > 0).cpu().numpy().reshape(unmarked.shape)
        return _Seen(levels, given, marked, batch.image_path)

    @staticmethod
    def joined(parts: list[_Seen]) -> _Seen:
        """All of them, in the order of their names, which no shuffling changes."""
        if len({part.pixels.shape[1:] for part in parts}) > 1:
            raise ValueError("images differ in size; give the PreProcessor a Resize of both sides.")
        pixels = np.concatenate([part.pixels for part in parts])
        label = np.concatenate([part.label for part in parts])
        mask = np.concatenate([part.mask for part in parts])
        names = [name for part in parts for name in part.names or ()]
        if len(names) < len(pixels):
            return _Seen(pixels, label, mask, None)
        order = np.argsort(names, kind="stable")
        in_order = [names[index] for index in order]
        return _Seen(pixels[order], label[order], mask[order], in_order)


class _Resizing(PreProcessor):  # type: ignore[misc]
    """Resizes in exports as in the Engine, with antialiasing; anomalib leaves it out of them."""

    def forward(self, batch: Tensor) -> Tensor:
        return self.transform(batch) if self.transform else batch


class ContrastedMemoryModel(nn.Module):
    """Holds what anomalib calls the model: from images in [0, 1] to predictions.

    Attributes:
        graph: Of the fitted detector, or None.
        mask_heat: Heat above which a pixel is marked.
        decides: Give labels and masks; else a post-processor does.
    """

    mask_heat: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.graph: DetectorGraph | None = None
        self.decides = True
        self.register_buffer("mask_heat", torch.tensor(torch.inf))

    def train(self, mode: bool = True) -> ContrastedMemoryModel:  # noqa: ARG002 - of nn.Module
        """Stay in evaluation mode, as nothing here is trained."""
        return super().train(False)

    def forward(self, images: Tensor) -> InferenceBatch:
        """Look at images (N, 3, H, W)."""
        if self.graph is None:
            raise NotFittedError("the model is not fitted; call Engine.fit, or give ckpt_path.")
        found = self.graph(_levels(images) / 255)
        above = found.pred_score - self.graph.threshold
        heat = (found.anomaly_map - self.mask_heat)[:, None]
        return InferenceBatch(
            pred_score=_scaled(above),
            pred_label=above > 0 if self.decides else None,
            anomaly_map=_scaled(heat),
            pred_mask=heat > 0 if self.decides else None,
        )


def _check_range(images: Tensor) -> None:
    low, high = images.amin().item(), images.amax().item()  # NaN if there is any
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(
            f"images range from {low:.3g} to {high:.3g}, not within [0, 1]; give them so, and "
            "leave Normalize out of the PreProcessor, as the detector normalises by itself."
        )


def _levels(images: Tensor) -> Tensor:
    """Images in [0, 1] as the levels of eight bits, still floats."""
    return (images.clamp(0, 1) * 255).round()


def _scaled(above: Tensor) -> Tensor:
    """What lies above a threshold, in standard deviations of normals, on anomalib's scale.

    It keeps the order of everything, as no end of the scale is reached.
    """
    return 0.5 + functional.softsign(above) / 2

"""A detector read from an exported folder: ONNX Runtime in place of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt
from PIL import Image

from anomem.decision.calibrate import Calibration
from anomem.decision.ready import Explained, ReadyDetector
from anomem.decision.scores import Heat, Scores, image_scores, scale_names
from anomem.exported.folder import FRAMES, GRAPH, cannot_learn, read_whole
from anomem.images.errors import ImageError, named
from anomem.images.framing import assembled, boxes
from anomem.images.open import only_image, open_images
from anomem.images.read import ReadFrames, read as read_frames, read_all, widened
from anomem.images.source import ImageSource, SizedSource
from anomem.runtime.progress import StageProgress, stage
from anomem.runtime.threads import threads
from anomem.runtime.untrusted import ModelError, one_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_BILINEAR = Image.Resampling.BILINEAR
_FRAMES = 64
"""Frames that the graph takes at a time,"""
_NUMBERS = 2**19
"""and numbers in them; more are no faster, and of 2**22 memories of places took 3 GiB."""

Outputs = dict[str, npt.NDArray[Any]]


class ExportedDetector(ReadyDetector):
    """Scores, decides and draws heat as the detector that was exported does; it cannot learn.

    Args:
        folder: An exported folder.

    Attributes:
        folder: Its path.
        exported: What the folder says of itself.

    Raises:
        ModelError: The folder is not a whole one of this format.
        ModuleNotFoundError: onnxruntime is missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.exported, graph = read_whole(self.folder)
        self.rule = self.exported.rule
        self._session = _session(graph, self.folder / GRAPH)

    def run(self, frames: npt.NDArray[Any], outputs: Sequence[str]) -> Outputs:
        """Let the graph look at frames, as many at a time as take little memory.

        Args:
            frames: (N, C, H, W), of the type that it takes, N at least 1.
            outputs: Names of :data:`~anomem.exported.folder.OUTPUTS`.

        Returns:
            Each by its name, N rows.
        """
        most = min(max(_NUMBERS // frames[0].size, 1), _FRAMES)
        parts = [
            self._session.run(outputs, {FRAMES: np.ascontiguousarray(frames[at : at + most])})
            for at in range(0, len(frames), most)
        ]
        joined = (np.concatenate(each) for each in zip(*parts, strict=True))
        return dict(zip(outputs, joined, strict=True))

    def score_batches(
        self, X: object, *, progress: StageProgress | None = None
    ) -> Iterator[tuple[range, Scores]]:
        """Score as :meth:`score_images` does, a batch and the indices of its images at a time."""
        source, told = open_images(X), stage(progress, "scoring")
        for part, read in read_all(source, self.exported.framing):
            batch = self._taken(read, source)
            score = np.empty(0, np.float32)
            scales = np.empty((0, self.exported.scales), np.float32)
            if len(batch.images):
                found = self.run(batch.images, ("pred_score", "scale_scores"))
                score, scales = found["pred_score"], found["scale_scores"]
            yield part, image_scores(part, (score, scales), batch.image, _why(batch), source.names)
            if told:
                told(part.stop, len(source))

    def heat_images(
        self, X: object, *, progress: StageProgress | None = None
    ) -> Iterator[Heat | str]:
        """Give heat as :meth:`heat_maps` does, or why an image has none, in a sentence."""
        source, told = SizedSource(open_images(X)), stage(progress, "heat maps")
        for part, read in read_all(source, self.exported.framing, _FRAMES):
            batch = self._taken(read, source)
            maps = np.empty(0)
            if len(batch.images):
                maps = self.run(batch.images, ("anomaly_map",))["anomaly_map"]
            why = _why(batch)
            for index in part:
                own = maps[batch.image == index]
                yield why[index] if index in why else self._heat_of(own, source, index)
                if told:
                    told(index + 1, len(source))

    def explain(self, image: object) -> Explained:
        """Explain one image: a path, a PIL image, or an array H x W x 3 or H x W."""
        framing, source = self.exported.framing, only_image(image)
        pixels = source[0]
        again = source if framing.whole else open_images([pixels])
        batch = self._taken(read_frames(again, [0], framing), source)
        if batch.errors:
            raise batch.errors[0]
        found = self.run(batch.images, ("pred_score", "scale_scores", "anomaly_map"))
        best = int(found["pred_score"].argmax())
        scales = found["scale_scores"][best].tolist()
        return Explained(
            score=float(found["pred_score"][best]),
            frame=boxes(pixels.shape[:2], framing)[best],
            scale_scores=dict(zip(scale_names(len(scales)), scales, strict=True)),
            heat=self._heat(found["anomaly_map"], pixels.shape[:2]),
        )

    def calibration(self) -> Calibration:
        """Give the scores of the held-out normals, on which decisions rest."""
        return self.exported.calibration

    def held_out_names(self) -> Sequence[str]:
        """Name the held-out normals on which decisions rest, in the order of their scores."""
        return self.exported.held_out

    def unseen_anomalies(self) -> npt.NDArray[np.float32]:
        """Give the score of each labelled anomaly (A,) as if it had not been learnt from."""
        return self.exported.unseen_anomalies

    def labelled_anomalies(self) -> tuple[int, int]:
        """Count labelled anomalies, and how many of these the training has learnt from."""
        return len(self.exported.unseen_anomalies), self.exported.learnt

    def fit(self, *_: object, **__: object) -> NoReturn:
        """Refuse to learn: what can is the saved model.

        Raises:
            ModelError: Always.
        """
        raise cannot_learn(self.folder, self.exported)

    adapt = extend = set_aside = forget = fit

    def _taken(self, read: ReadFrames, source: ImageSource) -> ReadFrames:
        """Frames in the type that the graph takes; images whose 16 bits it has no room for fail."""
        if self.exported.dtype == "uint16":
            return replace(read, images=widened(read.images))
        if read.images.dtype == np.uint8:
            return read
        eight = (read.images // 257).astype(np.uint8)
        deep = read.image[(widened(eight) != read.images).any(axis=(1, 2, 3))]
        errors = {
            index: ImageError(
                source.names[index],
                "it has 16 bits, and the exported graph takes 8",
                "convert it to 8 bits, or export the model with images of 16",
            )
            for index in deep.tolist()
        }
        kept = ~np.isin(read.image, deep)
        return ReadFrames(eight[kept], read.image[kept], read.errors | errors)

    def _heat(self, maps: npt.NDArray[np.float32], size: Sequence[int]) -> Heat:
        """The heat map of one image of a height and width, of those of its frames."""
        where = boxes(size, self.exported.framing)
        enlarged = (
            np.asarray(Image.fromarray(each).resize((box.width, box.height), _BILINEAR))
            for box, each in zip(where, maps, strict=True)
        )
        return assembled(zip(where, enlarged, strict=True), size, self.exported.framing.region)

    def _heat_of(
        self, maps: npt.NDArray[np.float32], source: SizedSource, index: int
    ) -> Heat | str:
        try:
            with named(source.names[index]):
                return self._heat(maps, source.size(index))
        except ImageError as error:
            return str(error)


def _why(batch: ReadFrames) -> dict[int, str]:
    """Why images could not be read, by their indices."""
    return {index: str(error) for index, error in batch.errors.items()}


def _session(graph: bytes, file: Path) -> InferenceSession:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        reason = "onnxruntime is not installed; pip install 'anomem[onnx]'."
        raise ModuleNotFoundError(reason, name="onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads(), 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a kind of error for each of its states
        raise ModelError(f"{file} is damaged ({one_line(error)}); export again.") from error

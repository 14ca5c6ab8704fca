"""A graph whose convolutions compute in integers of eight bits, and what that changes."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anomem.evaluation.metrics import auroc
from anomem.exported.detector import ExportedDetector
from anomem.exported.folder import FRAMES
from anomem.images.source import ImageSource

_LEAST = "least"


def quantise(file: Path, batches: Sequence[npt.NDArray[Any]]) -> None:
    """Quantise the later half of a graph's convolutions statically (QDQ), in the same file.

    Weights by channel, activations by the lowest and highest values that some frames reach. The
    earlier half, whose errors all that follows would carry on, memories, scorer and heat stay as
    they are (measured: docs/results/export.md).

    Args:
        file: The graph.
        batches: Frames (N, C, H, W) each, of the type that the graph takes; all that is computed of
            one is kept until its end.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Batches(CalibrationDataReader):  # type: ignore[misc]  # untyped
        left = iter(batches)

        def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
            frames = next(self.left, None)
            return None if frames is None else {FRAMES: np.ascontiguousarray(frames)}

    convolutions = [node.name for node in onnx.load(file).graph.node if node.op_type == "Conv"]
    small = file.with_suffix(".int8.onnx")
    before = logging.root.manager.disable
    logging.disable()  # it tells of a pass that the exporter has made already
    try:
        quantize_static(
            file,
            small,
            Batches(),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=convolutions[len(convolutions) // 2 :],
            per_channel=True,
        )
        keep_from_pools(small)
    finally:
        logging.disable(before)
    os.replace(small, file)


def keep_from_pools(file: Path) -> None:
    """Let averages be taken of numbers and not of their eight bits, in the same file.

    OpenVINO would take them of the bits, and of zeros beside the map as if these were bits too,
    which are other numbers: scores moved by a hundred times their spread.
    """
    import onnx

    model = onnx.load(file)
    nodes = model.graph.node
    for pool in [node for node in nodes if node.op_type == "AveragePool"]:
        pooled = pool.input[0]
        pool.input[0] = f"{pooled}_of_{pool.name}"
        barrier = onnx.helper.make_node("Max", [pooled, _LEAST], [pool.input[0]])
        nodes.insert(list(nodes).index(pool), barrier)
    lowest = np.array(np.finfo(np.float32).min)
    least = onnx.numpy_helper.from_array(lowest, _LEAST)
    model.graph.initializer.append(least)
    onnx.save(model, file)


def change(
    exact: ExportedDetector,
    eight: ExportedDetector,
    normals: ImageSource,
    anomalies: ImageSource | None,
) -> dict[str, Any]:
    """Measure what eight bits change.

    Returns:
        Ready for JSON: ``images``, their number; ``score_median`` and ``score_most``, the change of
        scores in standard deviations of the held-out ones; ``decisions_changed``; and, where there
        are anomalies, ``auroc`` of both.
    """
    scores = [each.decision_function(normals) for each in (exact, eight)]
    told: dict[str, Any] = {}
    if anomalies is not None:
        odd = [each.decision_function(anomalies) for each in (exact, eight)]
        areas = [auroc(*both) for both in zip(scores, odd, strict=True)]
        told = {"auroc": dict(zip(("exact", "int8"), areas, strict=True))}
        scores = [np.concatenate(both) for both in zip(scores, odd, strict=True)]
    moved = np.abs(scores[1] - scores[0]) / exact.exported.calibration.scores.std()
    before, after = (each > exact.exported.threshold for each in scores)
    return {
        "images": len(moved),
        "score_median": float(np.median(moved)),
        "score_most": float(moved.max()),
        "decisions_changed": int((before != after).sum()),
        **told,
    }

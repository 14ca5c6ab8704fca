"""The graph of a detector as a file of ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from anomem.export.graph import DetectorGraph
from anomem.exported.folder import FRAMES, OUTPUTS

_OPSET = 18


def write_graph(graph: DetectorGraph, frames: Tensor, file: Path) -> None:
    """Trace the graph and write it as ONNX, for any number of frames.

    Args:
        graph: In evaluation mode.
        frames: Two or more (N, C, H, W), of the type that the file is to take.
        file: To write.

    Raises:
        ModuleNotFoundError: onnx or onnxscript is missing.
    """
    import onnx_ir
    import onnxscript  # noqa: F401 - or PyTorch says only that a module of its own is missing

    batch = torch.export.Dim("batch")
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        traced = torch.export.export(graph, (frames,), dynamic_shapes=({0: batch},), strict=False)
        program = torch.onnx.export(
            traced,
            (),
            dynamo=True,
            opset_version=_OPSET,
            input_names=[FRAMES],
            output_names=OUTPUTS,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # where in which file of this machine it was computed
    for value in (*program.model.graph.inputs, *program.model.graph.outputs):
        assert value.shape is not None
        value.shape = onnx_ir.Shape(["N", *list(value.shape)[1:]])
    program.save(file)

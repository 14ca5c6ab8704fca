"""An exported folder whose graph scores a frame by its brightness, to hold readers against."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from anomem.decision.calibrate import Calibration
from anomem.exported.folder import FRAMES, GRAPH, OUTPUTS, Dtype, Exported, write
from anomem.images.framing import Framing

HELD_OUT = np.linspace(0, 5, 40)


def write_export(folder: Path, framing: Framing, dtype: Dtype = "uint16", **changed: Any) -> Path:
    """Write a folder that gives ten times the mean of a frame, and its pixels as heat."""
    folder.mkdir()
    onnx.save(_graph(framing, dtype), folder / GRAPH)
    names = tuple(f"normal {index}.png" for index in range(len(HELD_OUT)))
    parts: dict[str, Any] = {
        "calibration": Calibration.of(HELD_OUT),
        "held_out": names,
        "unseen_anomalies": np.array([6.0, 7.0], np.float32),
        "learnt": 1,
        "rule": "0.05",
        "threshold": 4.87,
        "made_of": "tiles (weights-0123456789abcdef.safetensors)",
        "summary": {"left_out": []},
        "config": {},
        "measured": {},
    }
    write(Exported(framing=framing, dtype=dtype, scales=2, **parts | changed), folder)
    return folder


def _graph(framing: Framing, dtype: Dtype) -> onnx.ModelProto:
    shape, kinds = framing.shape, {"uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16}
    size: list[str | int | None] = [shape.height, shape.width]
    score, label, p_value, scales, heat, mask = OUTPUTS
    nodes = [
        helper.make_node("Cast", [FRAMES], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "most"], ["shares"]),
        helper.make_node("ReduceMean", ["shares", "places"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "ten"], [score]),
        helper.make_node("Greater", [score, "threshold"], [label]),
        helper.make_node("Cast", ["mean"], [p_value], to=TensorProto.DOUBLE),
        helper.make_node("Unsqueeze", ["mean", "channels"], ["column"]),
        helper.make_node("Concat", ["column", "column"], [scales], axis=1),
        helper.make_node("ReduceMean", ["shares", "channels"], [heat], keepdims=0),
        helper.make_node("Greater", [heat, "threshold"], [mask]),
    ]
    numbers = {
        "most": np.float32(np.iinfo(dtype).max),
        "ten": np.float32(10),
        "threshold": np.float32(4.87),
        "places": np.array([1, 2, 3]),
        "channels": np.array([1]),
    }
    each: list[list[str | int | None]] = [[], [], [], [2], size, size]
    types = [getattr(TensorProto, t) for t in ("FLOAT", "BOOL", "DOUBLE", "FLOAT", "FLOAT", "BOOL")]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info(FRAMES, kinds[dtype], ["N", shape.channels, *size])],
        list(map(helper.make_tensor_value_info, OUTPUTS, types, (["N", *sides] for sides in each))),
        [onnx.numpy_helper.from_array(np.asarray(n), name) for name, n in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

"""What Triton is told of an exported graph: its ``config.pbtxt``."""

from __future__ import annotations

from anomem.exported.folder import FRAMES, Exported

_BATCH = 16


def config_text(exported: Exported) -> str:
    """Write the configuration of the model, whose name is that of the folder it lies in.

    Args:
        exported: What the exported folder says of itself.
    """
    shape = exported.framing.shape
    sides, frames = f"{shape.height}, {shape.width}", f"TYPE_{exported.dtype.upper()}"
    outputs = ",\n".join(
        f'  {{ name: "{name}" data_type: {kind} {dims} }}'
        for name, kind, dims in (
            ("pred_score", "TYPE_FP32", "dims: [ 1 ] reshape: { shape: [ ] }"),
            ("pred_label", "TYPE_BOOL", "dims: [ 1 ] reshape: { shape: [ ] }"),
            ("p_value", "TYPE_FP64", "dims: [ 1 ] reshape: { shape: [ ] }"),
            ("scale_scores", "TYPE_FP32", f"dims: [ {exported.scales} ]"),
            ("anomaly_map", "TYPE_FP32", f"dims: [ {sides} ]"),
            ("pred_mask", "TYPE_BOOL", f"dims: [ {sides} ]"),
        )
    )
    return f"""backend: "onnxruntime"
max_batch_size: {_BATCH}
dynamic_batching {{ }}
input [
  {{ name: "{FRAMES}" data_type: {frames} dims: [ {shape.channels}, {sides} ] }}
]
output [
{outputs}
]
"""

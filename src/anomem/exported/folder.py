"""What an exported folder says: how images become frames, and what decisions rest on.

A folder holds ``export.json``, the graph ``model.onnx``, the region, if there is one, as
``region.png``, and ``golden/``: images with the outputs expected of them. The graph takes frames
(N, C, H, W) of one shape, N as it likes, and gives :data:`OUTPUTS` for each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from anomem.config import LARGEST_SIDE, FramingKind
from anomem.decision.calibrate import Calibration
from anomem.images.framing import Framing
from anomem.images.masks import read_mask
from anomem.images.resize import ImageShape
from anomem.runtime.files import write_bytes, write_text
from anomem.runtime.untrusted import ModelError, check_regular, one_line, read_json

FORMAT_VERSION = 1
DESCRIPTION = "export.json"
GRAPH = "model.onnx"
GOLDEN = "golden"
TRITON = "config.pbtxt"
_REGION = "region.png"
FILES = (DESCRIPTION, GRAPH, GOLDEN, TRITON, _REGION)
"""Names of all that a folder may hold."""
_MOST_JSON = 2**24
"""Bytes of a description: some hundred thousand for a thousand held-out normals."""
_MOST_SCALES = 64
_TRIES = 3
"""Times that a folder is read before its files are taken for those of several exports."""

FRAMES = "frames"
"""Input of the graph: (N, C, H, W), uint8 or uint16 as :attr:`Exported.dtype` says."""
OUTPUTS = ("pred_score", "pred_label", "p_value", "scale_scores", "anomaly_map", "pred_mask")
"""Outputs of the graph, of each frame: score; whether it is above the threshold of the rule;
p-value; one-class score of each scale (N, S); heat map (N, H, W); where heat is high."""

Dtype = Literal["uint8", "uint16"]


@dataclass(frozen=True)
class Exported:
    """Holds what an exported folder says of itself beside its graph.

    Attributes:
        framing: How images become frames.
        dtype: Of the frames that the graph takes.
        scales: Number of scales, S.
        rule: By which the graph decides, as ``AnoMem.threshold`` takes it.
        threshold: The score above which it calls a frame anomalous.
        calibration: Scores of the held-out normals, as ``AnoMem.calibration`` gives them.
        held_out: Name of each of them.
        unseen_anomalies: Score of each labelled anomaly as if it had not been learnt from.
        learnt: Of these, how many the training has learnt from.
        made_of: The saved model that was exported: its folder and its file of weights.
        config: Every choice of that model.
        summary: What it says of its training.
        measured: What the export has measured: how far golden images differ, and what eight bits
            cost.
        digest: Of all this, graph and region, which :func:`write` takes.
    """

    framing: Framing
    dtype: Dtype
    scales: int
    rule: str
    threshold: float
    calibration: Calibration
    held_out: tuple[str, ...]
    unseen_anomalies: npt.NDArray[np.float32]
    learnt: int
    made_of: str
    config: dict[str, Any]
    summary: dict[str, Any]
    measured: dict[str, Any]
    digest: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give all of it but the region, ready for JSON."""
        calibration, framing = self.calibration, self.framing
        return {
            "format_version": FORMAT_VERSION,
            "made_of": self.made_of,
            "digest": self.digest,
            "framing": {"kind": framing.kind, "reduced": framing.reduced},
            "shape": asdict(framing.shape),
            "dtype": self.dtype,
            "scales": self.scales,
            "rule": self.rule,
            "threshold": self.threshold,
            "calibration": {
                "scores": calibration.scores.tolist(),
                "group": calibration.group.tolist(),
                "kind": calibration.kind.tolist(),
                "in_turn": calibration.in_turn,
                "names": list(self.held_out),
            },
            "labels": {"unseen": self.unseen_anomalies.tolist(), "learnt": self.learnt},
            "measured": self.measured,
            "summary": self.summary,
            "config": self.config,
        }


def is_exported(path: Path) -> bool:
    """Tell whether a folder is an exported one."""
    return (path / DESCRIPTION).exists()


def write(exported: Exported, folder: Path) -> None:
    """Write the description, and the region if there is one, into a folder that has the graph.

    Raises:
        WriteError: They cannot be written.
    """
    region = exported.framing.region
    if region is not None:
        drawn = BytesIO()
        Image.fromarray(region).save(drawn, "png")
        write_bytes(folder / _REGION, drawn.getvalue())
    digest = _digest_of(exported, (folder / GRAPH).read_bytes(), folder)
    text = json.dumps(replace(exported, digest=digest).as_json(), indent=1, allow_nan=False)
    write_text(folder / DESCRIPTION, text)


def read(folder: Path) -> Exported:
    """Read what an exported folder says of itself, every value held against its range.

    Raises:
        ModelError: It is no exported folder of this format, or a part is missing or out of range.
    """
    try:
        found = read_json(folder / DESCRIPTION, _MOST_JSON)
        if not isinstance(found, dict):
            raise ValueError("it must be a mapping")
        version = found.get("format_version")
        if version == FORMAT_VERSION:
            return _checked(found, folder / _REGION)
    except (LookupError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else one_line(error)
        raise ModelError(f"{folder / DESCRIPTION} is damaged ({reason}); export again.") from error
    raise ModelError(
        f"{folder} is an export of format {version!r:.40}, this anomem reads {FORMAT_VERSION}; "
        "export the model again."
    )


def read_whole(folder: Path) -> tuple[Exported, bytes]:
    """Read what an exported folder says of itself, and the graph that it says it of.

    Where the folder is replaced meanwhile, all is of the new one.

    Raises:
        ModelError: As :func:`read`, or the files are not of one export.
    """
    for _ in range(_TRIES):
        exported = read(folder)
        try:
            check_regular(folder / GRAPH)
            graph = (folder / GRAPH).read_bytes()
            if _digest_of(exported, graph, folder) == exported.digest:
                return exported, graph
        except (OSError, ValueError) as error:
            reason = f"{folder / GRAPH} cannot be read ({one_line(error)})"
            raise ModelError(f"{reason}; export again.") from error
    raise ModelError(
        f"{folder / GRAPH} or a file beside it is damaged, or they are of two exports; copy the "
        "folder again as a whole, or export again."
    )


def _digest_of(exported: Exported, graph: bytes, folder: Path) -> str:
    """Digest what a folder says of itself, its graph, and its region, if it has one."""
    region = folder / _REGION
    found = blake2b(region.read_bytes() if region.exists() else b"", digest_size=16)
    found.update(json.dumps(replace(exported, digest="").as_json()).encode())
    found.update(graph)
    return found.hexdigest()


def cannot_learn(folder: Path, exported: Exported) -> ModelError:
    """Make the error of a verb that an exported folder is no model for."""
    return ModelError(
        f"{folder} is an exported model, which scores and cannot learn; give the saved model that "
        f"it was made of: {exported.made_of}."
    )


def _checked(found: Mapping[str, Any], region: Path) -> Exported:
    framing, shape, known = found["framing"], found["shape"], found["calibration"]
    channels = _whole(shape, "channels", 1, 3)
    if channels == 2:
        raise ValueError("channels is 2; it must be 1 or 3")
    height, width = (_whole(shape, side, 8, LARGEST_SIDE) for side in ("height", "width"))
    scores = _numbers(known, "scores")
    unseen = _numbers(found["labels"], "unseen").astype(np.float32)
    group, kind = (_numbers(known, name).astype(np.int64) for name in ("group", "kind"))
    names = known["names"]
    if not len(scores) == len(group) == len(kind) == len(names) > 0:
        raise ValueError("calibration must have a score, group, kind and name of each normal")
    return Exported(
        Framing(
            _one_of(framing, "kind", get_args(FramingKind)),
            ImageShape(channels, height, width),
            read_mask(region) if region.exists() else None,
            _one_of(framing, "reduced", (False, True)),
        ),
        _one_of(found, "dtype", get_args(Dtype)),
        _whole(found, "scales", 1, _MOST_SCALES),
        _of_type(found, "rule", str),
        float(_of_type(found, "threshold", int | float)),
        Calibration(scores, group, kind, _one_of(known, "in_turn", (False, True))),
        tuple(map(str, names)),
        unseen,
        _whole(found["labels"], "learnt", 0, len(unseen)),
        _of_type(found, "made_of", str),
        **{name: _of_type(found, name, dict) for name in ("config", "summary", "measured")},
        digest=_of_type(found, "digest", str),
    )


def _of_type(found: Mapping[str, Any], name: str, kind: Any) -> Any:
    if not isinstance(found[name], kind):
        raise ValueError(f"{name} is {found[name]!r:.40}")
    return found[name]


def _one_of(found: Mapping[str, Any], name: str, values: Sequence[Any]) -> Any:
    if found[name] not in values:
        raise ValueError(f"{name} is {found[name]!r:.40}; it must be one of {values}")
    return found[name]


def _whole(found: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = found[name]
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {value!r:.40}; it must be a whole number, {least} to {most}")
    return value


def _numbers(found: Mapping[str, Any], name: str) -> npt.NDArray[np.float64]:
    values = found[name]
    if not isinstance(values, list) or not all(isinstance(each, int | float) for each in values):
        raise ValueError(f"{name} is {values!r:.40}; it must be a list of numbers")
    return np.array(values, dtype=np.float64)

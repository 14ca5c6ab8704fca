"""One detector on its engines: PyTorch, ONNX Runtime, OpenVINO, and eight bits.

    python benchmarks/deploy.py [--preset pretrained] [--side 224] [--normal DIR --anomalies DIR]

A detector is fitted on two of three normals and exported, exactly and in eight bits, with the
third. Each engine, in a process of its own, is given the same frames: one at a time, then eight at
a time. Each gives score and heat map. Exact engines must decide alike; what eight bits change is
printed. Memory is the peak of the process.
OpenVINO is among benchmarks/requirements.txt.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tyro

_BATCH = 8
_ENGINES = ("torch", "onnxruntime", "openvino", "int8", "openvino int8")

Look = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
"""Gives the scores (N,) of frames (N, C, H, W), and draws their heat maps."""


def engine(name: str, folder: Path, threads: int) -> Look:
    """Start an engine."""
    graph = folder / ("int8" if "int8" in name else "exact") / "model.onnx"
    if name == "torch":
        return _torch(folder / "model", threads)
    if "openvino" in name:
        import openvino

        core = openvino.Core()
        hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(graph), "CPU", hints)
        return lambda frames: compiled(frames)["pred_score"]
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda frames: session.run(None, {"frames": frames})[0]


def _torch(folder: Path, threads: int) -> Look:
    import torch

    from anomem.detector.estimator import load_trained
    from anomem.detector.heat_maps import Unusual
    from anomem.detector.score import score_features
    from anomem.model.features import extract
    from anomem.model.place_maps import place_maps

    torch.set_num_threads(threads)
    detector = load_trained(folder, device="cpu").detector()

    def look(frames: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        images = torch.from_numpy(frames)
        Unusual.of(place_maps(detector.network, images), detector.heat)
        return score_features(detector.scorer, extract(detector.network, images)).numpy()

    return look


def measured(name: str, folder: Path, threads: int, rounds: int) -> dict[str, Any]:
    """Time an engine in this process."""
    start = time.perf_counter()
    frames = np.load(folder / "frames.npy")
    look = engine(name, folder, threads)
    scores = [look(frames[:1])]
    first, times = time.perf_counter() - start, []
    for at in range(1, len(frames)):
        start = time.perf_counter()
        scores.append(look(frames[at : at + 1]))
        times.append(time.perf_counter() - start)
    alone = _peak_mib()
    start = time.perf_counter()
    for at in range(0, rounds * _BATCH, _BATCH):
        look(np.take(frames, range(at, at + _BATCH), axis=0, mode="wrap"))
    rate = rounds * _BATCH / (time.perf_counter() - start)
    half, most = np.quantile(times, (0.5, 0.95)) * 1000
    return {
        "first_s": first,
        "p50_ms": half,
        "p95_ms": most,
        "images_s": rate,
        "peak_mib": alone,
        "scores": np.concatenate(scores).tolist(),
    }


def _peak_mib() -> float:
    """The peak of this program; that of ``getrusage`` may be of the one that it was forked of."""
    told = Path("/proc/self/status").read_text().splitlines()
    (line,) = (each for each in told if each.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _prepare(folder: Path, given: Arguments) -> float:
    """Fit and export, and write the frames; gives the threshold."""
    from anomem import AnoMem
    from anomem.config.presets import resolve
    from anomem.export.export import Wanted, export
    from anomem.images.combined import JoinedSource, choose
    from anomem.images.open import open_images
    from anomem.images.read import read
    from step import crops

    config, side, images = resolve(given.preset), given.side, given.images
    config = replace(config, images=replace(config.images, size=(side, side)))
    if given.preset != "pretrained":
        config = replace(config, stage1=replace(config.stage1, min_steps=20, max_steps=20))
    every = open_images(given.normal or crops(100 + 2 * images, side))
    third = np.arange(len(every)) % 3 == 0
    known, normals = (choose(every, np.flatnonzero(which)) for which in (~third, third))
    model = AnoMem(config, device="cpu").fit(known)
    model.save(folder / "model")
    odd = None if given.anomalies is None else open_images(given.anomalies)
    for name, int8 in (("exact", False), ("int8", True)):
        told = export(model, normals, folder / name, Wanted("0.05", int8, odd))
        print(json.dumps(told))
    shown = normals if odd is None else JoinedSource([odd, normals])
    some = np.linspace(0, len(shown) - 1, images).round().astype(int).tolist()
    np.save(folder / "frames.npy", read(shown, some, model.framing_).images)
    return model.threshold(0.05)


@dataclass(frozen=True)
class Arguments:
    """Says what is measured."""

    preset: str = "pretrained"
    side: int = 224
    """Of the frames, in pixels."""
    images: int = 100
    """Looked at one by one."""
    rounds: int = 20
    """Batches of eight."""
    threads: int = 2
    normal: Path | None = None
    """Folder of normals, and one of anomalies; crops of photographs where they are not given."""
    anomalies: Path | None = None


def main(given: Arguments) -> None:
    """Print a line an engine."""
    images, threads, rounds = given.images, given.threads, given.rounds
    with tempfile.TemporaryDirectory() as name:
        threshold = _prepare(Path(name), given)
        called: dict[str, npt.NDArray[np.bool_]] = {}
        for one in _ENGINES:
            command = [sys.executable, __file__, one, name, str(threads), str(rounds)]
            told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            called[one] = np.array(told.pop("scores")) > threshold
            graph = Path(name, "int8" if "int8" in one else "exact", "model.onnx")
            size = graph.stat().st_size / 2**20
            off = int((called[one] != called["torch"]).sum())
            if "int8" not in one and off:
                raise ValueError(f"{one} decides {off} of {images} images otherwise than torch.")
            figures = ", ".join(f"{what} {value:.3g}" for what, value in told.items())
            print(f"{one}: {figures}, graph {size:.1f} MiB, {off} decisions otherwise", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] in _ENGINES:
        name, made, *counts = sys.argv[1:]
        print(json.dumps(measured(name, Path(made), *map(int, counts))))
    else:
        main(tyro.cli(Arguments))

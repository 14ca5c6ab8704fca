"""Folders that score without PyTorch: written, checked, and refused where they would differ."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image
from small_presets import Fitted, config_of, shown
from squares import Images, crops, scratched

from anomem import AnoMem, Config
from anomem.cli import deploy, use
from anomem.cli.arguments import Export, Score
from anomem.decision.calibrate import Calibration
from anomem.export.eight_bits import change, keep_from_pools, quantise
from anomem.export.export import Wanted, export
from anomem.exported.detector import ExportedDetector
from anomem.exported.folder import GOLDEN, GRAPH, TRITON, read as read_folder, write
from anomem.exported.golden import check
from anomem.images.framing import Framing
from anomem.images.open import open_images
from anomem.images.read import read
from anomem.runtime.untrusted import ModelError
from anomem.service.served import Loaded


@pytest.fixture(scope="module")
def folder(fitted: Fitted, gravel: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a labelled detector of colour images from scratch, by the command line."""
    root = tmp_path_factory.mktemp("exports")
    fitted("scratch", True).save(root / "model")
    (root / "good").mkdir()
    absent = "odd/0.png,anomalous,test", "good/20.png,normal,train"
    rows = ["image,label,split", *absent]
    for number, image in enumerate(shown("scratch", crops(gravel, 40, 20))):
        Image.fromarray(image).save(root / "good" / f"{number}.png")
        rows.append(f"good/{number}.png,normal,test")
    (root / "parts.csv").write_text("\n".join(rows))
    images = str(root / "parts.csv")
    wanted = Export(model=root / "model", out=root / "out", images=images, rule="0.1")
    told, code = deploy.export(wanted)
    assert code == 0 and told["golden"]["images"] == 16 and told["golden"]["score"] <= 1e-4
    return root / "out"


def test_an_exported_folder_scores_and_decides_as_the_model(
    folder: Path, fitted: Fitted, gravel: Images
) -> None:
    model, images = fitted("scratch", True), shown("scratch", crops(gravel, 180, 30))
    exported, within = ExportedDetector(folder), 1e-4 * model.calibration().scores.std()
    scores = model.decision_function(images)
    np.testing.assert_allclose(exported.decision_function(images), scores, atol=within)
    alone = [exported.decision_function(image[None])[0] for image in images[:3]]
    np.testing.assert_allclose(alone, scores[:3], atol=within)
    assert exported.predict(images, 0.1).tolist() == model.predict(images, 0.1).tolist()


def test_an_export_decides_by_its_own_rule_wherever_it_works(folder: Path, tmp_path: Path) -> None:
    """As the graph has decided golden images: in Python, on the command line and in the service."""
    golden = json.loads((folder / GOLDEN / "expected.json").read_text())
    files, anomalous = [str(folder / GOLDEN / name) for name in golden["files"]], golden["label"]
    exported = ExportedDetector(folder)
    assert exported.threshold() == exported.threshold(0.1) < exported.threshold(0.05)
    assert exported.predict(files).tolist() == anomalous
    out = tmp_path / "scores.csv"
    told, _ = use.score(Score(model=folder, images=[str(folder / GOLDEN)], out=str(out)))
    assert told["anomalous"] == sum(anomalous)
    assert told["expected_alarms"]["kinds"][0]["alpha"] == 0.1
    served = Loaded.of(folder, None, "cpu")
    assert (served.rule, served.threshold) == ("0.1", exported.threshold())


def test_the_check_needs_no_pytorch_and_names_the_image_that_differs(
    folder: Path, tmp_path: Path
) -> None:
    lines = (
        "import sys, pathlib",
        "from anomem.exported.golden import check",
        "print(check(pathlib.Path(sys.argv[1])).images, 'torch' in sys.modules)",
    )
    command = [sys.executable, "-c", "\n".join(lines), str(folder)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["16", "False"]
    other = shutil.copytree(folder, tmp_path / "other")
    expected = json.loads((other / GOLDEN / "expected.json").read_text())
    expected["score"][5] += 0.01
    (other / GOLDEN / "expected.json").write_text(json.dumps(expected))
    with pytest.raises(ModelError, match=r"05\.png is told otherwise by the graph: score"):
        check(other)
    shutil.rmtree(other)
    described = read_folder(shutil.copytree(folder, other))
    write(replace(described, calibration=Calibration.of(described.calibration.scores + 1)), other)
    with pytest.raises(ModelError, match=r"\d\d\.png another p-value than its score has; export"):
        check(other)
    with pytest.raises(ModelError, match=r"is no exported folder \(no export\.json\); give one"):
        check(tmp_path)


def test_eight_bits_make_it_smaller_and_what_they_change_is_measured(
    folder: Path, gravel: Images, tmp_path: Path
) -> None:
    exact, small = ExportedDetector(folder), shutil.copytree(folder, tmp_path / "small")
    normals = open_images(shown("scratch", crops(gravel, 40, 20)))
    odd = open_images(shown("scratch", scratched(crops(gravel, 150, 10), seed=5)))
    frames = read(normals, range(20), exact.exported.framing)
    quantise(small / GRAPH, [frames.images])
    assert (small / GRAPH).stat().st_size < 0.9 * (folder / GRAPH).stat().st_size
    write(read_folder(small), small)
    told = change(exact, ExportedDetector(small), normals, odd)
    assert told["images"] == 30 and 0 < told["score_median"] <= told["score_most"]
    assert 0 <= told["auroc"]["int8"] <= 1


def test_averages_are_taken_of_what_was_before_eight_bits(tmp_path: Path) -> None:
    """OpenVINO takes them of the bits where nothing stands between (benchmarks/deploy.py)."""
    pool = helper.make_node("AveragePool", ["x"], ["y"], "pool", kernel_shape=[3, 3])
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, side, side])
        for name, side in (("x", 5), ("y", 3))
    )
    opset = [helper.make_opsetid("", 18)]
    graph = helper.make_graph([pool], "pool", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "pool.onnx")
    keep_from_pools(tmp_path / "pool.onnx")
    assert [node.op_type for node in onnx.load(tmp_path / "pool.onnx").graph.node] == [
        "Max",
        "AveragePool",
    ]
    values = np.linspace(-9, 9, 25, dtype=np.float32).reshape(1, 1, 5, 5)
    (told,) = onnxruntime.InferenceSession(tmp_path / "pool.onnx").run(None, {"x": values})
    assert told[0, 0, 1, 1] == pytest.approx(0, abs=1e-6) and told.shape == (1, 1, 3, 3)


class Kind(NamedTuple):
    """What tells one export from another."""

    preset: str
    framing: str
    labels: str
    channels: str
    bits: int


QUICK = [
    Kind("paper", "letterbox", "one-class", "colour", 16),
    Kind("paper", "tile", "adapted", "grey", 8),
    Kind("pretrained", "region", "one-class", "colour", 8),
]
OTHERS = [  # with those, each choice of one column meets each choice of any other
    Kind("scratch", "resize", "adapted", "grey", 8),
    Kind("scratch", "letterbox", "adapted", "grey", 16),
    Kind("scratch", "tile", "one-class", "colour", 8),
    Kind("scratch", "region", "one-class", "grey", 16),
    Kind("paper", "resize", "one-class", "grey", 16),
    Kind("paper", "region", "adapted", "colour", 8),
    Kind("pretrained", "resize", "adapted", "colour", 16),
    Kind("pretrained", "letterbox", "one-class", "grey", 8),
    Kind("pretrained", "tile", "one-class", "grey", 16),
]


@pytest.mark.parametrize(
    "kind", [*QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)]
)
def test_every_kind_of_detector_is_exported_and_replaces_an_older_export(
    kind: Kind, folder: Path, hasty: Config, gravel: Images, tmp_path: Path
) -> None:
    def images(first: int, count: int) -> npt.NDArray[Any]:
        """Twice as wide as high."""
        wide = np.concatenate([crops(gravel, first, count), crops(gravel, first + 20, count)], 2)
        if kind.channels == "colour":
            wide = np.stack([wide, wide[:, ::-1], 255 - wide], 3)
        return wide if kind.bits == 8 else wide.astype(np.uint16) * 250

    config, within = config_of(kind.preset, hasty), kind.framing == "region"
    framing: Any = "resize" if within else kind.framing
    framed = replace(config.images, size=16, framing=framing)
    model = AnoMem(replace(config, images=framed), device="cpu")
    model.fit(images(0, 40), region="0.2,0 1,0 1,0.8 0.2,0.8" if within else None)
    if kind.labels == "adapted":
        model.adapt(images(120, 12), [1] * 10 + [0] * 2)
    out = shutil.copytree(folder, tmp_path / "out")
    told = export(model, open_images(images(60, 20)), out, Wanted("0.1"))
    assert told["golden"]["images"] == 16 and told["golden"]["score"] <= 1e-4
    assert check(out).images == 16 and (out / GRAPH).read_bytes() != (folder / GRAPH).read_bytes()
    new = images(160, 20)
    assert ExportedDetector(out).predict(new, 0.1).tolist() == model.predict(new, 0.1).tolist()


def test_tiles_of_deep_grey_images_within_a_region_by_memories_of_places(
    fitted: Fitted, gravel: Images, tmp_path: Path
) -> None:
    model, region = fitted("pretrained", True), np.zeros((64, 64), dtype=bool)
    region[:50, 10:] = True
    tiled = model.__class__(model.config_, seed=model.seed)._keep(model.detector())
    tiled.framing_ = Framing("tile", model.framing_.shape, region)
    images = np.concatenate([crops(gravel, 40, 24)] * 2, 2).repeat(2, 1).astype(np.uint16) * 250
    told = export(tiled, open_images(images), tmp_path / "out", Wanted("0.1"))
    assert told["golden"]["score"] <= 1e-4
    assert check(tmp_path / "out").images == 16
    assert (tmp_path / "out" / GOLDEN / "00.tif").exists()
    assert "TYPE_UINT16 dims: [ 1, 32, 32 ]" in (tmp_path / "out" / TRITON).read_text()


def test_triton_is_told_what_the_graph_takes_and_gives(folder: Path) -> None:
    """By the schema that Triton itself reads the file with."""
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="needs grpcio")
    text_format = pytest.importorskip("google.protobuf.text_format")
    told = text_format.Parse((folder / TRITON).read_text(), schema.ModelConfig())
    graph = onnxruntime.InferenceSession(folder / GRAPH)
    (frames,), (taken,) = told.input, graph.get_inputs()
    assert schema.DataType.Name(frames.data_type) == "TYPE_UINT8" and taken.type == "tensor(uint8)"
    assert ["N", *frames.dims] == taken.shape
    for output, given in zip(told.output, graph.get_outputs(), strict=True):
        dims = output.reshape.shape if output.HasField("reshape") else output.dims
        assert output.name == given.name and ["N", *dims] == given.shape


def test_nothing_is_written_beside_other_files_or_of_images_that_cannot_be_read(
    fitted: Fitted, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    model, bad = fitted("scratch", False), open_images(tmp_path / "bad.png")
    with pytest.raises(ValueError, match=r"bad\.png is of no export and would be lost"):
        export(model, bad, tmp_path, Wanted())
    with pytest.raises(ValueError, match=r"bad\.png"):
        export(model, bad, tmp_path / "out", Wanted())
    assert [file.name for file in tmp_path.iterdir()] == ["bad.png"]


class Told(AnoMem):
    """A model that tells scores a little higher than its graph computes them."""

    def decision_function(self, X: object, **told: Any) -> npt.NDArray[np.float32]:
        return super().decision_function(X, **told) + np.float32(0.001)


def test_where_scores_differ_nothing_is_written_and_an_older_export_stays(
    folder: Path, fitted: Fitted, gravel: Images, tmp_path: Path
) -> None:
    model, normals = fitted("scratch", False), shown("scratch", crops(gravel, 40, 8))
    differs = Told(model.config_, seed=model.seed, device="cpu")._keep(model.detector())
    older = shutil.copytree(folder, tmp_path / "older")
    before = {file: file.read_bytes() for file in older.rglob("*") if file.is_file()}
    why = r"^image \d(, altered)? is told otherwise by the graph: score .* in place of"
    with pytest.raises(ModelError, match=why):
        export(differs, open_images(normals), older, Wanted())
    assert {file: file.read_bytes() for file in older.rglob("*") if file.is_file()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["older"]


def test_what_lies_beside_an_export_is_not_lost(
    folder: Path, fitted: Fitted, gravel: Images, tmp_path: Path
) -> None:
    model, normals = fitted("scratch", False), open_images(shown("scratch", crops(gravel, 40, 8)))
    older = shutil.copytree(folder, tmp_path / "older")
    (older / "scores.csv").touch()
    with pytest.raises(ValueError, match=r"scores\.csv is of no export and would be lost"):
        export(model, normals, older, Wanted())

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from brightness_graph import HELD_OUT, write_export
from PIL import Image
from skimage import data

from anomem import load
from anomem.config import FramingKind
from anomem.detector.estimator import load_trained
from anomem.exported.detector import ExportedDetector
from anomem.exported.folder import GRAPH, read, write
from anomem.images.framing import Framing, boxes, frames_of
from anomem.images.open import open_images
from anomem.images.resize import ImageShape, to_shape
from anomem.runtime.files import replacing_folder
from anomem.runtime.untrusted import ModelError
from without_torch import without_torch

PHOTO: npt.NDArray[np.uint8] = data.astronaut()
IMAGES = [PHOTO[:200, 100:300], PHOTO[300:, :90], PHOTO[:20, :20]]
WHOLE = Framing("resize", ImageShape(1, 32, 32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("exported") / "model", WHOLE)


@pytest.mark.parametrize("kind", ["resize", "letterbox", "tile"])
@pytest.mark.parametrize("region", [None, np.eye(4, dtype=bool)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_an_image_has_the_score_of_its_brightest_frame(
    tmp_path: Path, kind: FramingKind, region: Any, dtype: Any
) -> None:
    framing = Framing(kind, ImageShape(1, 32, 32), region)
    model = ExportedDetector(write_export(tmp_path / "model", framing, dtype))
    found = model.score_images(IMAGES)
    for index, image in enumerate(IMAGES):
        cut = frames_of(open_images([image]), 0, framing)
        bright = [float(to_shape(frame, framing.shape).mean()) / 255 for frame in cut]
        assert found.score[index] == pytest.approx(10 * max(bright), rel=1e-5)
        assert found.scale_scores[index] == pytest.approx([max(bright)] * 2, rel=1e-5)
        explained = model.explain(image)
        assert explained.score == pytest.approx(10 * max(bright), rel=1e-5)
        assert explained.frame == boxes(image.shape[:2], framing)[int(np.argmax(bright))]
    heats = list(model.heat_maps(IMAGES))
    assert [heat.shape for heat in heats] == [image.shape[:2] for image in IMAGES]
    np.testing.assert_allclose(heats[0], model.explain(IMAGES[0]).heat)


def test_heat_lies_where_it_is_in_the_image(folder: Path) -> None:
    half = np.zeros((64, 128), np.uint8)
    half[:, 64:] = 255
    (heat,) = load(folder).heat_maps([half])
    assert heat[:, :56].max() < 0.01 and heat[:, 72:].min() > 0.99


def test_deep_images_lie_beside_others(folder: Path) -> None:
    deep = PHOTO.astype(np.uint16) * 257
    model = load(folder)
    one, other = model.decision_function([PHOTO, deep])
    assert one == model.decision_function([PHOTO])[0]
    assert other == pytest.approx(one, abs=10 * 0.5 / 255)  # frames of 8 bits are rounded


def test_a_graph_of_eight_bits_says_which_images_are_deep(tmp_path: Path) -> None:
    model = ExportedDetector(write_export(tmp_path / "model", WHOLE, "uint8"))
    deep = PHOTO.astype(np.uint16) * 257
    found = model.score_images([PHOTO, deep])
    assert found.score[0] == model.decision_function([PHOTO])[0] and np.isnan(found.score[1])
    assert found.errors[1].startswith("image 1: it has 16 bits, and the exported graph takes 8;")
    with pytest.raises(ValueError, match="16 bits"):
        model.explain(deep)


def test_decisions_are_those_of_the_calibration_that_was_stored(folder: Path) -> None:
    model = load(folder)
    score = model.decision_function(IMAGES)
    expected = [(1 + (each <= HELD_OUT).sum()) / 41 for each in score.astype(float)]
    np.testing.assert_allclose(model.p_value(IMAGES), expected)
    assert model.threshold(0.05) == pytest.approx(HELD_OUT[-2])
    assert model.threshold("find-labelled") < 6
    promise = model.promise("find-labelled")
    assert promise is not None and (promise.anomalies, promise.learnt) == (2, 1)
    assert model.rests_on() is None


def test_unreadable_images_are_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    Image.fromarray(PHOTO).save(tmp_path / "b.png")
    model = load(folder)
    assert list(model.score_images(tmp_path).errors) == [0]
    heats = list(model.heat_images(tmp_path))
    assert isinstance(heats[0], str) and "empty" in heats[0] and not isinstance(heats[1], str)


def test_what_is_exported_cannot_learn_and_names_what_can(folder: Path) -> None:
    why = r"scores and cannot learn; give the saved model that it was made of: tiles \(weights-"
    with pytest.raises(ModelError, match=why):
        load_trained(folder)
    model = ExportedDetector(folder)
    for verb in (model.fit, model.adapt, model.extend):
        with pytest.raises(ModelError, match=why):
            verb(IMAGES)


def test_a_graph_that_is_none_is_told_in_a_sentence(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "model", WHOLE)
    (folder / GRAPH).write_bytes((folder / GRAPH).read_bytes()[:99])
    write(read(folder), folder)
    with pytest.raises(ModelError, match=r"model.onnx is damaged \(.*\); export again"):
        load(folder)


def test_a_folder_that_is_replaced_all_the_time_is_always_one_of_the_two(tmp_path: Path) -> None:
    """Each says a threshold of its own, and its graph is of frames of its own size."""
    folder, stop = tmp_path / "model", Event()
    made = [
        write_export(tmp_path / f"{side}", Framing("resize", ImageShape(1, side, side)))
        for side in (32, 64)
    ]
    shutil.copytree(made[0], folder)

    def replace() -> None:
        while not stop.wait(0.02):  # a reader tries again, but not for ever
            for one in made:
                with replacing_folder(folder) as part:
                    shutil.copytree(one, part, dirs_exist_ok=True)

    with ThreadPoolExecutor(1) as pool:
        replaced = pool.submit(replace)
        try:
            for _ in range(100):
                assert load(folder).decision_function(IMAGES).shape == (3,)
        finally:
            stop.set()
        replaced.result()


_COMMANDS = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without())
from anomem.cli.app import main
main(sys.argv[1:])
"""
_HEAVY = ("torch", "timm", "sklearn", "lightning_fabric")


def without(names: tuple[str, ...], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command where some packages are missing."""
    command = [sys.executable, "-c", _COMMANDS.format(names=names), *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_commands_do_without_pytorch(folder: Path, tmp_path: Path) -> None:
    image, table, heat = (str(tmp_path / name) for name in ("one.png", "s.csv", "heat"))
    Image.fromarray(PHOTO).save(image)
    model = str(folder)
    for words in (
        ("score", model, image, "--out", table, "--heatmaps", heat),
        ("info", model),
        ("explain", model, image, "--out", str(tmp_path / "why")),
    ):
        ran = without(_HEAVY, *words)
        assert ran.returncode == 0, ran.stderr
    header = Path(table).read_text().splitlines()[0]
    assert header == '"path","score","scale_1","scale_2","p_value","prediction","verdict","error"'
    assert Path(heat, "one.png.heat.png").exists()


def test_the_extra_is_named_where_it_is_missing(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    words = ("score", str(folder), str(tmp_path / "a.png"), "--out", str(tmp_path / "s.csv"))
    ran = without(("onnxruntime",), *words)
    assert ran.stderr == "anomem: onnxruntime is not installed; pip install 'anomem[onnx]'.\n"


@pytest.mark.slow
def test_an_environment_that_has_no_pytorch_scores_alike(folder: Path, tmp_path: Path) -> None:
    python = without_torch(tmp_path / "bare")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 1
    image = tmp_path / "one.png"
    Image.fromarray(PHOTO).save(image)
    tables = []
    for number, interpreter in enumerate((str(python), sys.executable)):
        words = ["score", str(folder), str(image), "--out", str(tmp_path / f"{number}.csv")]
        main = "from anomem.cli.app import main; main()"
        subprocess.run([interpreter, "-c", main, *words], check=True)
        tables.append((tmp_path / f"{number}.csv").read_text())
    assert tables[0] == tables[1] and "normal" in tables[0]

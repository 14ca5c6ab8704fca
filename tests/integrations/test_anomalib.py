"""The detector among the models of anomalib: its Engine, its data, its exports."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage.data import brick
from sklearn.exceptions import NotFittedError
from squares import CONFIG, crops, scratched
from torch.utils.data import ConcatDataset, DataLoader

with warnings.catch_warnings(action="ignore"):  # of itself, when it is imported
    pytest.importorskip("anomalib", reason="needs anomem[anomalib]; .ci/anomalib runs it")
    from anomalib.data import Folder, ImageBatch
    from anomalib.engine import Engine
    from anomalib.post_processing import PostProcessor
    from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import (  # type: ignore[import-untyped]
    Compose,
    Normalize,
    Resize,
)

from anomem import AnoMem
from anomem.evaluation.evaluate import evaluate
from anomem.evaluation.metrics import auroc
from anomem.images.arrays import ArraySource
from anomem.integrations.anomalib import ContrastedMemory

pytestmark = pytest.mark.filterwarnings("ignore")  # of anomalib and Lightning

Folders = dict[str, Path]
Engines = Callable[[], Any]

CHOICES = {
    "images": {"size": [16, 16]},
    "encoder": {"width": 4},
    "memory": {"sizes": [8, 4]},
    "stage1": {"min_steps": 3, "max_steps": 3},
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    """Engines that write to a folder of the tests."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}

    def made() -> Any:
        folder = tmp_path_factory.mktemp("engine")
        return Engine(default_root_dir=folder, accelerator="cpu", **quiet)

    return made


def data_of(folders: Folders) -> Any:
    return Folder(
        name="zeros",
        normal_dir=folders["train"],
        normal_test_dir=folders["normal"],
        abnormal_dir=folders["anomalous"],
        num_workers=0,
        seed=0,  # of the split into images to validate and to test on
    )


@pytest.fixture(scope="module")
def trained(folders: Folders, engine: Engines) -> tuple[Any, Any, Any]:
    """A model that was trained on zeros, its engine and its data."""
    model, data, used = ContrastedMemory("scratch", CHOICES, rule=0.1), data_of(folders), engine()
    used.fit(model, datamodule=data)
    return model, used, data


def joined(batches: list[Any], field: str) -> npt.NDArray[Any]:
    return np.concatenate([getattr(batch, field) for batch in batches])


def pixels_of(images: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return (images * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)


def test_the_engine_measures_what_we_measure(trained: tuple[Any, Any, Any]) -> None:
    model, engine, data = trained
    measured = engine.test(model, datamodule=data, verbose=False)[0]
    found = engine.predict(model, dataloaders=data.test_dataloader())
    images, label = pixels_of(joined(found, "image")), joined(found, "gt_label")
    normal, odd = (ArraySource(images[label == kind]) for kind in (0, 1))
    ours = evaluate(model.detector_, normal, odd, rule="0.1")
    assert measured["image_AUROC"] == pytest.approx(auroc(ours.normal, ours.anomalous), abs=1e-6)
    assert 0.5 < measured["image_AUROC"] <= 1
    expected = model.detector_.predict(images, 0.1)
    assert joined(found, "pred_label").astype(int).tolist() == expected.tolist()
    above = joined(found, "pred_score") > 0.5
    assert above.astype(int).tolist() == expected.tolist() and {0, 1} == set(expected)
    heat = joined(found, "anomaly_map")
    np.testing.assert_array_equal(heat > 0.5, joined(found, "pred_mask"))


def test_a_checkpoint_scores_the_same(trained: tuple[Any, Any, Any], engine: Engines) -> None:
    model, used, data = trained
    test = data.test_dataloader()
    expected = joined(used.predict(model, dataloaders=test), "pred_score")
    kept = used.best_model_path
    again = ContrastedMemory.load_from_checkpoint(kept)
    assert (
        again.rule == 0.1 and again.detector_.held_out_names() == model.detector_.held_out_names()
    )
    found = engine().predict(again, dataloaders=test)
    np.testing.assert_array_equal(joined(found, "pred_score"), expected)
    new = ContrastedMemory("scratch", CHOICES, rule=0.2)
    found = engine().predict(new, dataloaders=test, ckpt_path=kept)
    called = new.detector_.predict(pixels_of(joined(found, "image")), 0.2)
    assert joined(found, "pred_label").astype(int).tolist() == called.tolist()


def test_images_are_learnt_in_the_order_of_their_names(
    trained: tuple[Any, Any, Any], folders: Folders, engine: Engines
) -> None:
    """However the loader shuffles them, so that a fit comes out as ours on the same images."""
    model = trained[0]
    again = ContrastedMemory("scratch", CHOICES)
    engine().fit(again, datamodule=data_of(folders))
    assert again.detector_.held_out_names() == model.detector_.held_out_names()
    assert str(folders["train"]) in again.detector_.held_out_names()[0]
    images = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    expected = model.detector_.decision_function(images)
    np.testing.assert_array_equal(again.detector_.decision_function(images), expected)


@pytest.mark.parametrize("kind", ["torch", "onnx", "openvino"])
def test_exports_score_the_same(
    kind: str, trained: tuple[Any, Any, Any], engine: Engines, tmp_path: Path
) -> None:
    model = trained[0].eval()
    images = next(iter(trained[2].test_dataloader())).image[:5]
    with torch.inference_mode():
        expected = model(images)
    if kind == "openvino":
        pytest.importorskip("openvino", reason="needs openvino")
    file = engine().export(model, kind, export_root=tmp_path)
    if kind == "torch":
        with torch.inference_mode():
            found = torch.load(file, weights_only=False)["model"](images)._asdict()
    elif kind == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime", reason="needs anomem[export]")
        session = onnxruntime.InferenceSession(file)
        names = [output.name for output in session.get_outputs()]
        given = {session.get_inputs()[0].name: images.numpy()}
        found = dict(zip(names, session.run(None, given), strict=True))
    else:
        import openvino

        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        found = openvino.compile_model(file, "CPU", exact)(images.numpy())
    for name, values in expected._asdict().items():
        told = np.asarray(found[name], dtype=np.float64)
        np.testing.assert_allclose(told, np.asarray(values, dtype=np.float64), atol=1e-3)


def test_labelled_anomalies_of_the_loader_are_learnt(folders: Folders, engine: Engines) -> None:
    data = data_of(folders)
    data.setup()
    few = data.test_data.subsample(np.flatnonzero(data.test_data.samples.label_index)[:4].tolist())
    both: Any = ConcatDataset([data.train_data, few])
    loader = DataLoader(both, batch_size=32, shuffle=True, collate_fn=ImageBatch.collate)
    model = ContrastedMemory("scratch", CHOICES)
    engine().fit(model, train_dataloaders=loader)
    assert model.detector_.summary_["anomalies"] == 4
    assert len(model.detector_.held_out_names()) == 19


def test_memories_of_places_learn_where_masks_mark_anomalies(engine: Engines) -> None:
    photograph = (brick() * 0.6).astype(np.uint8)
    odd = scratched(crops(photograph, 60, 4), 1)
    images = np.concatenate([crops(photograph, 0, 60), odd])
    pixels, label = np.repeat(images[..., None], 3, 3), np.repeat([0, 1], [60, 4])
    marked = (images == 250) & (label == 1)[:, None, None]
    choices: dict[str, Any] = {
        "images": {"size": [32, 32]},
        "encoder": asdict(CONFIG.encoder),
        "memory": {"sizes": CONFIG.memory.sizes},
    }

    def fitted(mask: npt.NDArray[np.bool_] | None) -> AnoMem:
        batch = ImageBatch(
            image=torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255,
            gt_label=torch.from_numpy(label),
            gt_mask=None if mask is None else torch.from_numpy(mask),
        )
        model = ContrastedMemory("pretrained", choices)
        loader: Any = DataLoader([batch], batch_size=None)  # type: ignore[arg-type]
        engine().fit(model, train_dataloaders=loader)
        return model.detector_

    learnt, unmasked = fitted(marked), fitted(None)
    assert learnt.labelled_anomalies() == unmasked.labelled_anomalies() == (4, 0)
    expected = copy.deepcopy(unmasked).adapt(pixels[60:], label[60:], masks=[*marked[60:]])
    new = scratched(crops(photograph, 64, 6), 2)
    scores = learnt.decision_function(new)
    np.testing.assert_array_equal(scores, expected.decision_function(new))
    assert (scores != unmasked.decision_function(new)).all()


def test_a_post_processor_of_anomalib_decides(folders: Folders, engine: Engines) -> None:
    model = ContrastedMemory("scratch", CHOICES, post_processor=PostProcessor(image_sensitivity=0))
    used, data = engine(), data_of(folders)
    used.fit(model, datamodule=data)
    assert model.model(torch.zeros(1, 3, 16, 16)).pred_label is None
    assert not joined(used.predict(model, dataloaders=data.test_dataloader()), "pred_label").any()


@pytest.mark.parametrize(("level", "told"), [(200, "from 200 to 200"), (torch.nan, "nan to nan")])
def test_images_of_another_range_are_not_scored(
    level: float, told: str, trained: tuple[Any, Any, Any], engine: Engines
) -> None:
    batch = ImageBatch(image=torch.full((2, 3, 16, 16), level), gt_label=torch.tensor([0, 1]))
    loader: Any = DataLoader([batch], batch_size=None)  # type: ignore[arg-type]
    for step in (engine().predict, engine().test, engine().validate):
        with pytest.raises(ValueError, match=rf"{told}, not within \[0, 1\]; give them so"):
            step(trained[0], dataloaders=loader)


def test_what_is_wrong_is_told(folders: Folders, engine: Engines) -> None:
    with pytest.raises(ValueError, match="there is no preset 'best'"):
        ContrastedMemory("best")
    with pytest.raises(ValueError, match="rule is 'best'; give a share"):
        ContrastedMemory(rule="best")
    with pytest.raises(ValueError, match="leave it out, anomalib resizes"):
        ContrastedMemory(choices={"images": {"framing": "tile"}})
    with pytest.raises(NotFittedError, match=r"call Engine\.fit, or give ckpt_path"):
        engine().test(ContrastedMemory("scratch", CHOICES), datamodule=data_of(folders))
    scaled = PreProcessor(Compose([Resize((16, 16)), Normalize([0.5] * 3, [0.2] * 3)]))
    model = ContrastedMemory("scratch", CHOICES, pre_processor=scaled)
    with pytest.raises(ValueError, match="leave Normalize out of the PreProcessor"):
        engine().fit(model, datamodule=data_of(folders))
    batch = SimpleNamespace(image=torch.zeros(2, 3, 16, 16), gt_mask=None, image_path=None)
    batch.gt_label = torch.tensor([0, 2])
    with pytest.raises(ValueError, match="y holds 2; labels are 0 for normal and 1"):
        model.training_step(batch)
    batches = [ImageBatch(image=torch.zeros(2, 3, side, side)) for side in (16, 24)]
    model = ContrastedMemory("scratch", CHOICES, pre_processor=False)
    loader: Any = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="images differ in size"):
        engine().fit(model, train_dataloaders=loader)

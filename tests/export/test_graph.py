"""The graph beside the detector that it is made of, whatever the detector is."""

import copy

import numpy as np
import pytest
import torch
from small_presets import Fitted, shown
from squares import Images, crops, scratched

from anomem import AnoMem
from anomem.config import FramingKind
from anomem.decision.scores import highest_frames
from anomem.export.graph import DetectorGraph
from anomem.images.framing import Framing
from anomem.images.image_set import tensor_of
from anomem.images.open import open_images
from anomem.images.read import read

REGION = np.zeros((40, 60), dtype=bool)
REGION[5:30, 10:] = True


def graph_of(model: AnoMem) -> DetectorGraph:
    graph = DetectorGraph(model.detector(), model.calibration(), model.threshold(0.1)).eval()
    graph.mask_heat = 1.0
    return graph


def large(preset: str, gravel: Images) -> Images:
    """New images of another size than a frame, some with a scratch."""
    images = np.concatenate([crops(gravel, 100, 4), scratched(crops(gravel, 104, 4), seed=2)])
    return np.concatenate([shown(preset, images)] * 2, axis=2)[:, :-3]


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("preset", ["scratch", "paper", "pretrained"])
def test_the_graph_tells_what_the_detector_tells(
    preset: str, labelled: bool, fitted: Fitted, gravel: Images
) -> None:
    model, images = copy.copy(fitted(preset, labelled)), large(preset, gravel)
    graph = graph_of(model)
    kinds: list[tuple[FramingKind, bool]] = [
        ("resize", False),
        ("resize", True),
        ("letterbox", False),
        ("letterbox", True),
        ("tile", False),
        ("tile", True),
    ]
    for kind, region in kinds:
        model.framing_ = Framing(kind, model.framing_.shape, REGION if region else None)
        for deep in (images, images.astype(np.uint16) * 200):
            frames = read(open_images(deep), range(len(deep)), model.framing_)
            with torch.no_grad():
                told = graph(tensor_of(frames.images))
            best = highest_frames(told.pred_score.numpy(), frames.image)
            scores = model.score_images(deep)
            spread = model.calibration().scores.std()
            np.testing.assert_allclose(told.pred_score[best], scores.score, atol=1e-5 * spread)
            np.testing.assert_allclose(told.scale_scores[best], scores.scale_scores, rtol=1e-5)
            assert told.pred_label[best].tolist() == model.predict(deep, 0.1).tolist()
            np.testing.assert_allclose(told.p_value[best], model.p_value(deep), rtol=1e-12)


@pytest.mark.parametrize("preset", ["scratch", "pretrained"])
def test_heat_is_that_of_a_frame_that_is_the_image(
    preset: str, fitted: Fitted, gravel: Images
) -> None:
    model, images = fitted(preset, False), shown(preset, scratched(crops(gravel, 100, 5), seed=3))
    frames = read(open_images(images), range(5), model.framing_)
    with torch.no_grad():
        told = graph_of(model)(tensor_of(frames.images))
    for heat, drawn, mask in zip(model.heat_maps(images), *told[4:], strict=True):
        np.testing.assert_allclose(drawn.numpy(), heat, atol=1e-5)
        assert torch.equal(mask, drawn > 1)

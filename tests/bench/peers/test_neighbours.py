import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem import Config
from anomem.images.image_set import to_float
from anomem_bench.peers.neighbours import Neighbours

Digits = dict[str, npt.NDArray[np.uint8]]


@torch.inference_mode()
def directions(model: Neighbours, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Pooled features of all scales at unit length, one image at a time."""
    rows = []
    for image in to_float(torch.from_numpy(images)[:, None]):
        maps = model.network_.encoder(image[None])
        row = np.concatenate([m[0].double().flatten(1).numpy().mean(axis=1) for m in maps])
        rows.append(row / np.linalg.norm(row))
    return np.stack(rows)


def likeness(row: npt.NDArray[np.float64], known: npt.NDArray[np.float64]) -> float:
    return float(np.mean(sorted(float(row @ other) for other in known)[-5:]))


@pytest.mark.parametrize("labelled", [0, 3, 20])
def test_score_is_the_likeness_to_anomalies_minus_that_to_normals(
    hasty: Config, digits: Digits, labelled: int
) -> None:
    anomalies = digits["anomalous"][:labelled]
    model = Neighbours(hasty, device="cpu")
    model.fit(digits["train"], anomalies=anomalies if labelled else None)
    shown = np.concatenate([digits["normal"][:4], digits["anomalous"][-4:]])
    normals = directions(model, digits["train"])
    known = directions(model, anomalies) if labelled else None
    # As an image is scored together with its mirror image.
    passes = [directions(model, view) for view in (shown, shown[:, :, ::-1].copy())]
    for i, score in enumerate(model.decision_function(shown)):
        expected = [
            (0.0 if known is None else likeness(rows[i], known)) - likeness(rows[i], normals)
            for rows in (passes if hasty.score.mirror and hasty.views.flip else passes[:1])
        ]
        assert float(score) == pytest.approx(np.mean(expected), abs=1e-4)


def test_encoder_is_left_as_it_is(hasty: Config, digits: Digits) -> None:
    one, other = (Neighbours(hasty, device="cpu") for _ in range(2))
    one.fit(digits["train"])
    other.fit(digits["train"][:20])
    torch.testing.assert_close(
        one.network_.encoder.backbone.state_dict(), other.network_.encoder.backbone.state_dict()
    )

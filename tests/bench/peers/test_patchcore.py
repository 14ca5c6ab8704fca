import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem import Config
from anomem_bench.peers.patchcore import PatchCore, farthest

Digits = dict[str, npt.NDArray[np.uint8]]


def test_score_is_that_of_the_paper_place_by_place() -> None:
    draw = np.random.default_rng(0)
    query, bank = draw.normal(size=(3, 5, 4)), draw.normal(size=(20, 4))
    found = farthest(torch.from_numpy(query), torch.from_numpy(bank)).tolist()
    for image, score in zip(query, found, strict=True):
        distances = [[float(np.linalg.norm(place - m)) for m in bank] for place in image]
        farthest_place = int(np.argmax([min(each) for each in distances]))
        place, known = image[farthest_place], int(np.argmin(distances[farthest_place]))
        largest = distances[farthest_place][known]
        order = np.argsort([float(np.linalg.norm(m - bank[known])) for m in bank])
        around = bank[order[:9]]
        to_these = [np.exp(np.linalg.norm(place - m)) for m in around]
        weight = 1 - np.exp(largest) / sum(to_these)
        assert score == pytest.approx(weight * largest, rel=1e-6)


def test_a_hundredth_of_the_places_is_kept_and_what_is_odd_is_far(
    hasty: Config, digits: Digits
) -> None:
    model = PatchCore(hasty, device="cpu").fit(digits["train"])
    count = (
        len(digits["train"]) * model.network_.encoder(torch.zeros(1, 1, 16, 16))[0][0, 0].numel()
    )
    assert len(model.bank_) == count // 100
    normal, odd = (model.decision_function(digits[kind]) for kind in ("normal", "anomalous"))
    assert normal.mean() < odd.mean()

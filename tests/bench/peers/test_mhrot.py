import numpy as np
import numpy.typing as npt
import pytest
import torch
from short_training import narrow
from skimage import data
from sklearn.metrics import roc_auc_score

from anomem import Config
from anomem.images.image_set import to_float
from anomem.training.draws import Chance, seeded
from anomem_bench.peers.mhrot import MHRot, shifted

Digits = dict[str, npt.NDArray[np.uint8]]
OFFSET = (0, 1, -1)


@pytest.fixture(scope="module")
def trained(hasty: Config, digits: Digits) -> MHRot:
    return MHRot(hasty, device="cpu").fit(digits["train"])


def reflected(index: int, length: int) -> int:
    if index < 0:
        return -index
    return 2 * (length - 1) - index if index >= length else index


@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_shifted_by_quarters_filled_by_reflection(size: tuple[int, int]) -> None:
    height, width = size
    photograph = data.astronaut()[100 : 100 + height, 200 : 200 + width]
    image = torch.from_numpy(photograph.copy()).permute(2, 0, 1).float() / 255
    down = torch.arange(3).repeat_interleave(3)
    right = torch.arange(3).repeat(3)
    result = shifted(image.repeat(9, 1, 1, 1), down, right)
    for k in range(9):
        dy, dx = OFFSET[int(down[k])] * height // 4, OFFSET[int(right[k])] * width // 4
        for i in range(height):
            for j in range(width):
                source = image[:, reflected(i - dy, height), reflected(j - dx, width)]
                assert torch.equal(result[k, :, i, j], source)


def test_score_is_minus_the_log_probability_of_what_was_done(
    trained: MHRot, digits: Digits
) -> None:
    images = to_float(torch.from_numpy(digits["normal"][:3])[:, None])
    altered = [(k, 0, 0) for k in range(4)]
    altered += [(0, 1, 0), (0, 2, 0), (0, 0, 1), (0, 0, 2)]
    with torch.inference_mode():
        scores = trained.score(images)["mhrot"]
        for image, score in zip(images, scores, strict=True):
            total = 0.0
            for turn, down, right in altered:
                copy = torch.rot90(image[None], turn, dims=(2, 3))
                copy = shifted(copy, torch.tensor([down]), torch.tensor([right]))
                features = trained.network_(copy)
                for name, done in (("turn", turn), ("down", down), ("right", right)):
                    logits = trained.head(name)(features)[0]
                    total -= float(logits.softmax(dim=0)[done].log())
            assert float(score) == pytest.approx(total / 8, rel=1e-4)


def test_loss_of_a_network_that_knows_nothing(trained: MHRot, digits: Digits) -> None:
    model = MHRot(trained.config, device="cpu").fit(digits["train"])
    for name in ("turn", "down", "right"):
        for parameter in model.head(name).parameters():
            torch.nn.init.zeros_(parameter)
    images = to_float(torch.from_numpy(digits["train"][:6])[:, None])
    loss = model.loss(model.network_, images, torch.zeros(6), Chance(seeded(0, 0)))
    assert float(loss.detach()) == pytest.approx(np.log(4) + 2 * np.log(3), abs=1e-5)


def test_labelled_anomalies_are_not_used(trained: MHRot, digits: Digits) -> None:
    images = to_float(torch.from_numpy(digits["train"][:6])[:, None])
    label = torch.tensor([0, 0, 0, 0, 1, 1])

    def loss(count: int) -> float:
        chance = Chance(seeded(0, 0))
        value = trained.loss(trained.network_, images[:count], label[:count], chance)
        return float(value.detach())

    assert loss(6) == pytest.approx(loss(4), rel=1e-5)


def test_other_digits_score_higher(tiny: Config, digits: Digits) -> None:
    model = MHRot(narrow(tiny, 20), device="cpu").fit(digits["train"])
    score = model.decision_function(np.concatenate([digits["normal"], digits["anomalous"]]))
    label = np.repeat([0, 1], [len(digits["normal"]), len(digits["anomalous"])])
    assert roc_auc_score(label, score) > 0.75

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from short_training import narrow
from torch import Tensor
from torch.nn import functional

from anomem import Config
from anomem.images.image_set import to_float
from anomem.training.draws import Chance, seeded
from anomem.training.views import random_view
from anomem_bench.peers.csi import CSI, rotated

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def csi(hasty: Config, digits: Digits) -> CSI:
    return CSI(hasty, device="cpu").fit(digits["train"][:20])


def batch(images: npt.NDArray[np.uint8]) -> Tensor:
    return to_float(torch.from_numpy(images[:, None]))


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> float:
    both = [row / row.norm() for row in torch.cat([first, second])]
    count, total = len(first), 0.0
    for i, anchor in enumerate(both):
        shares = [
            0.0 if i == j else math.exp(float(anchor @ other) / temperature)
            for j, other in enumerate(both)
        ]
        total -= math.log(shares[(i + count) % (2 * count)] / sum(shares))
    return total / len(both)


def test_a_quarter_of_the_batch_is_turned_by_each_angle() -> None:
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    turned = rotated(image.repeat(4, 1, 1, 1))[:, 0].tolist()
    assert turned == [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]


@torch.no_grad()
def test_loss_contrasts_rotated_copies_and_tells_their_rotations(
    csi: CSI, hasty: Config, digits: Digits
) -> None:
    images, label = batch(digits["train"][:6]), torch.zeros(6, dtype=torch.int64)
    loss = csi.loss(csi.network_, images, label, Chance(seeded(0, 0)))

    generator, projections, entropies = seeded(0, 0), [], []
    for _ in range(2):
        view = random_view(images[:3].repeat(4, 1, 1, 1), hasty.views, Chance(generator))
        for position, image in enumerate(view):
            turn = position // 3
            feature = csi.network_(torch.rot90(image[None], turn, dims=(2, 3)))
            projections.append(csi.head("projection")(feature)[0])
            entropies.append(-csi.head("rotation")(feature).log_softmax(dim=1)[0, turn])
    contrast = nt_xent(torch.stack(projections[:12]), torch.stack(projections[12:]), 0.5)
    assert float(loss) == pytest.approx(contrast + float(sum(entropies)) / 24, rel=1e-4)


@torch.no_grad()
def test_labelled_anomalies_are_not_used(csi: CSI, digits: Digits) -> None:
    normals, anomalies = batch(digits["train"][:4]), batch(digits["anomalous"][:2])
    both, label = torch.cat([normals, anomalies]), torch.tensor([0, 0, 0, 0, 1, 1])
    alone = csi.loss(csi.network_, normals, label[:4], Chance(seeded(0, 0)))
    assert csi.loss(csi.network_, both, label, Chance(seeded(0, 0))) == alone


@torch.no_grad()
def test_score_is_minus_both_balanced_scores_summed_over_rotations(
    csi: CSI, digits: Digits
) -> None:
    def measured(image: Tensor, turn: int) -> tuple[Tensor, float]:
        features = csi.network_(torch.rot90(image, turn, dims=(1, 2))[None])
        return csi.head("projection")(features)[0], float(csi.head("rotation")(features)[0, turn])

    normals = batch(digits["train"][:20])
    expected = []
    for image in batch(digits["anomalous"][:3]):
        score = 0.0
        for turn in range(4):
            projection, logit = measured(image, turn)
            known = [measured(normal, turn) for normal in normals]
            nearest = max(float(functional.cosine_similarity(projection, z, 0)) for z, _ in known)
            mean_norm = sum(float(z.norm()) for z, _ in known) / 20
            score += nearest * float(projection.norm()) / mean_norm
            score += logit / (sum(own for _, own in known) / 20)
        expected.append(-score)
    scores = csi.score(batch(digits["anomalous"][:3]))["csi"]
    np.testing.assert_allclose(scores, expected, rtol=1e-3)


def test_each_of_eight_scores_is_one_on_average_over_training_normals(
    csi: CSI, digits: Digits
) -> None:
    assert csi.decision_function(digits["train"][:20]).mean() == pytest.approx(-8, rel=1e-3)


def test_training_tells_other_digits_from_zeros(digits: Digits, tiny: Config) -> None:
    csi = CSI(narrow(tiny, 20), device="cpu").fit(digits["train"])
    normal, other = (csi.decision_function(digits[k]) for k in ("normal", "anomalous"))
    assert np.median(other) > np.quantile(normal, 0.8)

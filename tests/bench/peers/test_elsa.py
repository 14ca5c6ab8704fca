import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from short_training import narrow
from torch.nn.functional import normalize

from anomem import Config
from anomem.images.image_set import to_float
from anomem.images.prepare import PreparedImages
from anomem.images.resize import ImageShape
from anomem.training.draws import Chance, seeded
from anomem.training.optimisation import Clock
from anomem.training.views import random_view
from anomem_bench.contender import TrainingSet
from anomem_bench.peers.csi import CSI
from anomem_bench.peers.elsa import Elsa, energy, energy_loss, spherical_kmeans

Digits = dict[str, npt.NDArray[np.uint8]]
SHAPE = ImageShape(1, 16, 16)


@pytest.fixture(scope="module")
def normals(digits: Digits) -> PreparedImages:
    return PreparedImages(torch.from_numpy(digits["train"][:20, None]))


@pytest.fixture(scope="module")
def anomalies(digits: Digits) -> PreparedImages:
    return PreparedImages(torch.from_numpy(digits["anomalous"][:6, None]))


def test_energy_falls_with_the_likeness_to_prototypes() -> None:
    projection = 3 * torch.randn(5, 4, generator=seeded(0, 0))
    prototypes = normalize(torch.randn(9, 4, generator=seeded(0, 1)), dim=1)
    for z, found in zip(projection, energy(projection, prototypes), strict=True):
        likeness = [math.exp(float(z @ p) / float(z.norm()) / 0.5) for p in prototypes]
        assert float(found) == pytest.approx(-math.log(sum(likeness)), rel=1e-5)


def test_energy_loss_pulls_normals_down_and_pushes_anomalies_up() -> None:
    energies = torch.tensor([-4.0, -5.0, -4.5, -3.5], requires_grad=True)
    loss = energy_loss(energies, torch.tensor([0, 0, 1, 1]), 50)
    highest = math.log(50) + 1 / 0.5
    normal, anomalous = 1 / 4.0 + 1 / 5.0, 1 / (highest - 4.5) + 1 / (highest - 3.5)
    terms = highest**2 * normal + 0.5**-2 * anomalous
    assert float(loss.detach()) == pytest.approx(terms / 4)
    loss.backward()
    assert energies.grad is not None
    assert (energies.grad > 0).tolist() == [True, True, False, False]


def test_kmeans_finds_the_directions_points_lie_in() -> None:
    axes = torch.eye(8)[:3]
    noise = 0.05 * torch.randn(60, 8, generator=seeded(0, 0))
    points = (axes.repeat(20, 1) + noise) * torch.linspace(0.1, 5, 60)[:, None]
    centres = spherical_kmeans(points, 12, seeded(0, 4))
    assert (centres @ axes.T).amax(dim=0).min() > 0.99  # each axis has a centre
    assert (centres @ axes.T).amax(dim=1).min() > 0.95  # and each centre an axis


def test_kmeans_of_one_direction_keeps_all_centres_there() -> None:
    centres = spherical_kmeans(torch.ones(5, 4), 8, seeded(0, 0))
    torch.testing.assert_close(centres, torch.full((5, 4), 0.5))


def test_labelled_anomalies_are_required(hasty: Config, digits: Digits) -> None:
    with pytest.raises(ValueError, match="Elsa learns from labelled anomalies"):
        Elsa(hasty, device="cpu").fit(digits["train"])


def test_three_fifths_of_the_training_are_those_of_csi(
    hasty: Config, normals: PreparedImages, anomalies: PreparedImages
) -> None:
    elsa, csi = Elsa(hasty, device="cpu"), CSI(hasty, device="cpu")
    same = []
    for _ in zip(
        elsa.begin(TrainingSet(normals, anomalies, SHAPE), Clock()),
        csi.begin(TrainingSet(normals, anomalies, SHAPE), Clock()),
        strict=True,
    ):
        pairs = zip(elsa.network_.parameters(), csi.network_.parameters(), strict=True)
        same.append(all(torch.equal(one, other) for one, other in pairs))
    assert same == [True, True, False]  # a third, two thirds and all of the training done


def test_fine_tuning_weighs_energy_and_rotations(
    hasty: Config, normals: PreparedImages, anomalies: PreparedImages
) -> None:
    elsa = Elsa(hasty, device="cpu")
    for _ in elsa.begin(TrainingSet(normals, anomalies, SHAPE), Clock()):
        pass
    elsa.finish()
    images = to_float(torch.cat([normals.images[:3], anomalies.images[:2]]))
    label = torch.tensor([0, 0, 0, 1, 1])
    elsa.network_.requires_grad_(False)
    elsa.done_ = 0.95  # where prototypes are due again, and so are those of the network as it is
    loss = elsa.loss(elsa.network_, images, label, Chance(seeded(0, 0)))

    copies = random_view(images.repeat(4, 1, 1, 1), hasty.views, Chance(seeded(0, 0)))
    highest, terms, entropies = math.log(50) + 2, [], []
    for position, image in enumerate(copies):
        turn, anomalous = position // 5, position % 5 > 2
        feature = elsa.network_(torch.rot90(image[None], turn, dims=(2, 3)))
        z = normalize(elsa.head("projection")(feature), dim=1)[0]
        s = math.log(sum(math.exp(float(z @ p) / 0.5) for p in elsa.prototypes_))
        terms.append(4 / (highest - s) if anomalous else highest**2 / s)
        if not anomalous:
            logits = elsa.head("rotation")(feature)
            entropies.append(-float(logits.log_softmax(dim=1)[0, turn]))
    # Untrained, an anomaly is so near the floor that its distance from it has three digits left.
    expected = np.mean(terms) + np.mean(entropies)
    assert float(loss) == pytest.approx(expected, rel=1e-3)


def test_looking_on_the_way_changes_nothing(
    hasty: Config, normals: PreparedImages, anomalies: PreparedImages
) -> None:
    looked, alone = Elsa(hasty, device="cpu"), Elsa(hasty, device="cpu")
    for _ in looked.begin(TrainingSet(normals, anomalies, SHAPE), Clock()):
        looked.finish()
    for _ in alone.begin(TrainingSet(normals, anomalies, SHAPE), Clock()):
        pass
    alone.finish()
    np.testing.assert_array_equal(looked.scores(anomalies)["elsa"], alone.scores(anomalies)["elsa"])


def test_score_is_the_mean_energy_over_rotations(
    hasty: Config, digits: Digits, normals: PreparedImages
) -> None:
    elsa = Elsa(hasty, device="cpu").fit(digits["train"][:20], anomalies=digits["anomalous"][:6])
    assert elsa.prototypes_.shape == (50, 128)
    with torch.inference_mode():
        projection, _ = elsa.project(to_float(normals.images))
        expected = sum(energy(projection[turn], elsa.prototypes_) for turn in range(4)) / 4
    np.testing.assert_allclose(elsa.decision_function(digits["train"][:20]), expected, rtol=1e-6)


def test_training_tells_other_digits_from_zeros(digits: Digits, tiny: Config) -> None:
    elsa = Elsa(narrow(tiny, 80), device="cpu").fit(
        digits["train"], anomalies=digits["anomalous"][::8]
    )
    normal, other = (elsa.decision_function(digits[k]) for k in ("normal", "anomalous"))
    assert np.median(other) > np.quantile(normal, 0.8)

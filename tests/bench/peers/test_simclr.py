import copy
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score
from torch import Tensor

from anomem import Config
from anomem.images.image_set import to_float
from anomem.training.draws import Chance
from anomem.training.views import random_view
from anomem_bench.peers.simclr import SimCLR

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def trained(hasty: Config, digits: Digits) -> SimCLR:
    return SimCLR(hasty, device="cpu").fit(digits["train"])


def as_images(digits: npt.NDArray[np.uint8]) -> Tensor:
    return to_float(torch.from_numpy(digits)[:, None])


@torch.inference_mode()
def unit_features(model: SimCLR, images: Tensor) -> npt.NDArray[np.float64]:
    """Each at unit length, one image at a time."""
    rows = [model.network_(image[None])[0].double().numpy() for image in images]
    return np.stack([row / math.sqrt((row**2).sum()) for row in rows])


@torch.inference_mode()
def scores(model: SimCLR, images: Tensor) -> dict[str, list[float]]:
    return {name: score.tolist() for name, score in model.score(images).items()}


def nt_xent(first: list[Tensor], second: list[Tensor], tau: float) -> float:
    rows = [row / row.norm() for row in [*first, *second]]
    count, total = len(rows), 0.0
    for i in range(count):
        positive = (i + count // 2) % count
        others = sum(math.exp(float(rows[i] @ rows[k]) / tau) for k in range(count) if k != i)
        total -= math.log(math.exp(float(rows[i] @ rows[positive]) / tau) / others)
    return total / count


@torch.inference_mode()
def centre_projections(model: SimCLR, images: Tensor) -> None:
    """Hardly trained, all images project to one direction; take it off."""
    projection = model.head("projection")
    last = list(projection.children())[-1]
    assert isinstance(last, torch.nn.Linear)
    last.bias.sub_(projection(model.network_(images)).mean(dim=0))


def test_loss_is_nt_xent_of_two_views_of_the_normals(trained: SimCLR, digits: Digits) -> None:
    model = copy.deepcopy(trained)
    images, label = as_images(digits["train"][:6]), torch.tensor([0, 1, 0, 0, 1, 0])
    config, normals = model.config, images[label == 0]
    centre_projections(model, images)
    with torch.inference_mode():
        loss = model.loss(model.network_, images, label, Chance(torch.Generator().manual_seed(5)))
        generator = torch.Generator().manual_seed(5)
        first, second = (
            [
                model.head("projection")(model.network_(view[None]))[0]
                for view in random_view(normals, config.views, Chance(generator))
            ]
            for _ in range(2)
        )
    assert first[0].shape == (128,)
    assert float(loss) == pytest.approx(nt_xent(first, second, 0.5), rel=1e-3)


def test_knn_is_the_mean_of_the_five_smallest_cosine_distances(
    trained: SimCLR, digits: Digits
) -> None:
    images = as_images(digits["anomalous"][:4])
    bank = unit_features(trained, as_images(digits["train"]))
    queries = unit_features(trained, images)
    for query, score in zip(queries, scores(trained, images)["simclr-knn"], strict=True):
        distances = sorted(1 - float(query @ row) for row in bank)
        assert score == pytest.approx(sum(distances[:5]) / 5, abs=1e-6)


def test_kmeans_is_the_cosine_distance_to_the_nearest_of_ten_centroids(
    trained: SimCLR, digits: Digits
) -> None:
    assert trained.centroids_.shape == (10, 32)
    torch.testing.assert_close(trained.centroids_.norm(dim=1), torch.ones(10).double())
    images = as_images(digits["anomalous"][:4])
    queries = unit_features(trained, images)
    for query, score in zip(queries, scores(trained, images)["simclr-kmeans"], strict=True):
        distances = [1 - float(query @ row) for row in trained.centroids_.numpy()]
        assert score == pytest.approx(min(distances), abs=1e-6)


def test_centroids_are_the_directions_of_their_members(trained: SimCLR, digits: Digits) -> None:
    bank = unit_features(trained, as_images(digits["train"]))
    centroids = trained.centroids_.numpy()
    nearest = (bank @ centroids.T).argmax(axis=1)
    for k, centroid in enumerate(centroids):
        mean = bank[nearest == k].mean(axis=0)
        assert float(centroid @ mean / np.linalg.norm(mean)) > 0.999


def test_mahalanobis_is_the_quadratic_form(trained: SimCLR, digits: Digits) -> None:
    bank = unit_features(trained, as_images(digits["train"]))
    mean, inverse = bank.mean(axis=0), np.linalg.inv(ledoit_wolf(bank)[0])
    images = as_images(digits["anomalous"][:4])
    queries = unit_features(trained, images)
    for query, score in zip(queries, scores(trained, images)["simclr-mahalanobis"], strict=True):
        offset = query - mean
        assert score == pytest.approx(float(offset @ inverse @ offset), rel=1e-3)


@pytest.mark.parametrize("count", [2, 4, 9])
def test_few_normals_suffice(count: int, hasty: Config, digits: Digits) -> None:
    model = SimCLR(hasty, device="cpu").fit(digits["train"][:count])
    for values in scores(model, as_images(digits["anomalous"][:3])).values():
        assert np.isfinite(values).all()


def test_other_digits_score_higher(tiny: Config, digits: Digits) -> None:
    model = SimCLR(tiny, device="cpu").fit(digits["train"])
    images = as_images(np.concatenate([digits["normal"], digits["anomalous"]]))
    label = np.repeat([0, 1], [len(digits["normal"]), len(digits["anomalous"])])
    for name, score in scores(model, images).items():
        assert roc_auc_score(label, score) > 0.8, name

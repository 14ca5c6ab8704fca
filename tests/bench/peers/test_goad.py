import numpy as np
import numpy.typing as npt
import pytest
import torch
from short_training import narrow
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor

from anomem import Config
from anomem.images.image_set import to_float
from anomem.training.draws import Chance, seeded
from anomem.training.views import random_view
from anomem_bench.peers.goad import (
    GOAD,
    TRANSFORMATIONS,
    centre_triplet_loss,
    squared_distances,
    transformed,
)
from anomem_bench.peers.mhrot import shifted

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def hardly_trained(hasty: Config, digits: Digits) -> GOAD:
    return GOAD(hasty, device="cpu").fit(digits["train"][:3])


@pytest.fixture(scope="module")
def fours() -> Digits:
    """Of scikit-learn, 16 x 16: unlike a zero, a four is another when it is turned."""
    pixels, digit = load_digits(return_X_y=True)
    enlarged = np.kron(pixels.reshape(-1, 8, 8), np.ones((2, 2)))
    images = (enlarged * 15.9).astype(np.uint8)
    four, others = images[digit == 4], images[digit != 4][::10]
    return {"train": four[:120], "normal": four[120:], "others": others}


@pytest.fixture(scope="module")
def of_fours(tiny: Config, fours: Digits) -> GOAD:
    return GOAD(narrow(tiny, 25), device="cpu").fit(fours["train"])


def batch(images: npt.NDArray[np.uint8]) -> Tensor:
    return to_float(torch.from_numpy(images)[:, None])


def slowly_transformed(image: Tensor, number: int) -> Tensor:
    """One image (C, H, W): the mirror image, then the turn, then the shifts."""
    number, right = divmod(number, 3)
    number, down = divmod(number, 3)
    mirrored, turn = divmod(number, 4)
    if mirrored:
        image = image.flip(2)
    for _ in range(turn):
        image = torch.rot90(image, 1, dims=(1, 2))
    return shifted(image[None], torch.tensor([down]), torch.tensor([right]))[0]


def test_every_transformation_of_every_image(fours: Digits) -> None:
    images = batch(fours["train"][:2])
    made = transformed(images, range(TRANSFORMATIONS)).unflatten(0, (TRANSFORMATIONS, 2))
    for number in range(TRANSFORMATIONS):
        for b in range(2):
            assert torch.equal(made[number, b], slowly_transformed(images[b], number))
    assert len({copy.numpy().tobytes() for copy in made[:, 0]}) == 72
    assert torch.equal(transformed(images, [40, 3]), made[[40, 3]].flatten(0, 1))


def test_centre_triplet_loss() -> None:
    places = torch.randn(3, 4, 5, generator=seeded(0, 0))
    centres = [sum(places[t]) / 4 for t in range(3)]
    total = 0.0
    for t in range(3):
        for b in range(4):
            squared = [float(((places[t, b] - centre) ** 2).sum()) for centre in centres]
            nearest = min(value for k, value in enumerate(squared) if k != t)
            total += max(squared[t] + 1.5 - nearest, 0)
    assert total > 0
    assert float(centre_triplet_loss(places, 1.5)) == pytest.approx(total / 12, rel=1e-5)


def test_clusters_that_lie_apart_cost_nothing() -> None:
    places = 10 * torch.eye(3)[:, None] + 0.1 * torch.randn(3, 4, 3, generator=seeded(0, 0))
    assert centre_triplet_loss(places, 1.0) == 0


@torch.no_grad()
def test_loss_adds_the_cross_entropy_and_a_tenth_of_the_triplet_on_four_normals(
    hardly_trained: GOAD, digits: Digits
) -> None:
    model = hardly_trained
    images, label = batch(digits["train"][:7]), torch.tensor([0, 0, 0, 0, 0, 1, 1])
    loss = model.loss(model.network_, images, label, Chance(seeded(0, 0)))

    view = random_view(images[:4], model.config.views, Chance(seeded(0, 0)))
    entropy, places = 0.0, torch.empty(72, 4, 32)
    for number in range(72):
        for b in range(4):
            feature = model.network_(slowly_transformed(view[b], number)[None])[0]
            places[number, b] = feature
            logits = model.head("transformation")(feature)
            entropy -= float(logits.softmax(dim=0)[number].log()) / 288
    triplet = float(centre_triplet_loss(places, 1.0))
    assert float(loss) == pytest.approx(entropy + 0.1 * triplet, rel=1e-4)


def test_no_view_is_a_mirror_image(hardly_trained: GOAD) -> None:
    assert not hardly_trained.config.views.flip


@torch.inference_mode()
def test_score_is_minus_the_mean_log_probability_by_distances(
    hardly_trained: GOAD, digits: Digits
) -> None:
    model = hardly_trained
    normals = batch(digits["train"][:3])

    def feature(image: Tensor, number: int) -> Tensor:
        return model.network_(slowly_transformed(image, number)[None])[0]

    centres = [sum(feature(normal, k) for normal in normals) / 3 for k in range(72)]
    images = batch(digits["anomalous"][:2])
    for image, score in zip(images, model.score(images)["goad"], strict=True):
        total = 0.0
        for number in (*range(0, 72, 9), *range(1, 9)):
            z = feature(image, number)
            likely = [float((-((z - centre) ** 2).sum()).exp()) for centre in centres]
            total -= np.log(likely[number] / sum(likely))
        assert float(score) == pytest.approx(total / 16, rel=1e-4)


@torch.inference_mode()
def test_unseen_fours_lie_at_the_centre_of_their_transformation(
    of_fours: GOAD, fours: Digits
) -> None:
    copies = transformed(batch(fours["normal"][:40]), range(TRANSFORMATIONS))
    places = of_fours.network_(copies).unflatten(0, (TRANSFORMATIONS, 40))
    nearest = squared_distances(places, of_fours.centres_).argmin(dim=2)
    right = (nearest == torch.arange(TRANSFORMATIONS)[:, None]).float().mean()
    assert right > 0.25  # by chance it would be 1 / 72


def test_other_digits_score_higher(of_fours: GOAD, fours: Digits) -> None:
    score = of_fours.decision_function(np.concatenate([fours["normal"], fours["others"]]))
    label = np.repeat([0, 1], [len(fours["normal"]), len(fours["others"])])
    assert roc_auc_score(label, score) > 0.85

import numpy as np
import numpy.typing as npt
import pytest
import torch
from short_training import narrow
from sklearn.metrics import roc_auc_score
from torch import Tensor

from anomem import Config
from anomem.config.mapping import changed
from anomem.images.image_set import to_float
from anomem.images.prepare import PreparedImages
from anomem.images.resize import ImageShape
from anomem.training.draws import Chance, seeded
from anomem.training.optimisation import Clock
from anomem.training.views import random_view
from anomem_bench.contender import TrainingSet
from anomem_bench.peers.game import gradient_norm, wasserstein_game
from anomem_bench.peers.piad import PIAD, relative_l1

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def hardly_trained(hasty: Config, digits: Digits) -> PIAD:
    return PIAD(hasty, device="cpu").fit(digits["train"][:20])


def batch(images: npt.NDArray[np.uint8]) -> Tensor:
    return to_float(torch.from_numpy(images)[:, None])


def reconstructed(model: PIAD, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The images and what was made of them, in units of the normals, and the codes between."""
    encoder = model.network_.encoder
    code = model.head("code")(model.network_(images))
    return (images - encoder.mean) / encoder.std, model.head("decoder")(code), code


def test_relative_l1_is_the_distance_by_the_size_of_what_was_wanted() -> None:
    wanted, made = torch.randn(2, 3, 2, 4, 5, generator=seeded(0, 0)).unbind()
    for b, found in enumerate(relative_l1(wanted, made)):
        pairs = list(zip(wanted[b].flatten().tolist(), made[b].flatten().tolist(), strict=True))
        distance, size = sum(abs(x - y) for x, y in pairs), sum(abs(x) for x, _ in pairs)
        assert float(found) == pytest.approx(distance / size, rel=1e-5)


@torch.inference_mode()
def test_score_is_the_relative_l1_of_untrained_features(
    hardly_trained: PIAD, digits: Digits
) -> None:
    perception = hardly_trained.head("perception")
    for image in batch(digits["anomalous"][:3])[:, None]:
        wanted, made, _ = reconstructed(hardly_trained, image)
        expected = relative_l1(perception(wanted), perception(made))
        torch.testing.assert_close(hardly_trained.score(image)["piad"], expected)


def test_loss_is_two_games_and_the_error_with_a_gradient_as_long(
    hasty: Config, digits: Digits
) -> None:
    model = PIAD(hasty, device="cpu").fit(digits["train"][:20])
    network, perception = model.network_, model.head("perception")
    images, label = batch(digits["train"][:6]), torch.tensor([0, 0, 0, 0, 1, 1])
    model._steps = 0
    loss = model.loss(network, images, label, Chance(seeded(0, 0)))

    chance = Chance(seeded(0, 0))
    view = random_view(images[:4], hasty.views, chance)
    wanted, made, code = reconstructed(model, view)
    drawn = torch.randn(code.shape, generator=chance.generator)
    invented = model.head("decoder")(drawn)
    of_images = wasserstein_game(model.head("image_critic"), wanted, invented, chance)
    game = of_images + wasserstein_game(model.head("code_critic"), drawn, code, chance)
    error = relative_l1(perception(wanted), perception(made)).mean()
    parts = (network.encoder, model.head("code"), model.head("decoder"))
    weights = [weight for part in parts for weight in part.parameters()]
    balance = gradient_norm(game, weights) / gradient_norm(error, weights)
    torch.testing.assert_close(loss, game + balance * error)
    error.backward()  # the perception is none of what learns
    assert all(weight.grad is None for weight in perception.parameters())


def test_perception_is_standardised_by_normals_and_is_not_trained(
    hasty: Config, digits: Digits
) -> None:
    model = PIAD(hasty, device="cpu")
    normals = PreparedImages(torch.from_numpy(digits["train"])[:, None])
    states = []
    for _ in model.begin(TrainingSet(normals, None, ImageShape(1, 16, 16)), Clock()):
        states.append({k: v.clone() for k, v in model.head("perception").state_dict().items()})
    for name, value in states[0].items():
        assert torch.equal(value, states[-1][name])
    with torch.no_grad():
        maps = model.head("perception")(model.normalised(batch(digits["train"])))
    torch.testing.assert_close(maps.mean(dim=(0, 2, 3)), torch.zeros(16), atol=1e-4, rtol=0)
    assert float(maps.std()) > 0.5 and (maps.std(dim=(0, 2, 3)) < 1.001).all()


def test_other_digits_score_higher(tiny: Config, digits: Digits) -> None:
    model = PIAD(changed(narrow(tiny, 50), {"stage1__learning_rate": 0.15}), device="cpu")
    model.fit(digits["train"])
    score = model.decision_function(np.concatenate([digits["normal"], digits["anomalous"]]))
    label = np.repeat([0, 1], [len(digits["normal"]), len(digits["anomalous"])])
    assert roc_auc_score(label, score) > 0.75

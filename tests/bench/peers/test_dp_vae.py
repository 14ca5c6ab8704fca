import numpy as np
import numpy.typing as npt
import pytest
import torch
from short_training import narrow
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from anomem import Config
from anomem.images.image_set import to_float
from anomem.training.draws import Chance, seeded
from anomem.training.views import random_view
from anomem_bench.peers.dp_vae import DPVAE, divergence

Digits = dict[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def hardly_trained(hasty: Config, digits: Digits) -> DPVAE:
    return DPVAE(hasty, device="cpu").fit(digits["train"][:20])


@pytest.fixture(scope="module")
def longer(tiny: Config) -> Config:
    return narrow(tiny, 50)


@pytest.fixture(scope="module")
def labelled(longer: Config, digits: Digits) -> DPVAE:
    anomalies = digits["anomalous"][:30]
    return DPVAE(longer, device="cpu").fit(digits["train"], anomalies=anomalies)


def batch(images: npt.NDArray[np.uint8]) -> Tensor:
    return to_float(torch.from_numpy(images)[:, None])


def minus_bound(model: DPVAE, image: Tensor, prior: float, noise: Tensor) -> float:
    """By the distributions themselves, of an image (C, H, W), but for what holds pi."""
    code = model.head("code")(model.network_(image[None]))
    posterior = Normal(code[0, :32], (code[0, 32:] / 2).exp())
    made = model.head("decoder")((posterior.mean + posterior.stddev * noise)[None])[0]
    encoder = model.network_.encoder
    wanted = (image - encoder.mean) / encoder.std
    log_likelihood = Normal(made, 1.0).log_prob(wanted) - Normal(0.0, 1.0).log_prob(torch.zeros(1))
    pulled = Normal(torch.full_like(posterior.mean, prior), torch.ones_like(posterior.mean))
    kl = kl_divergence(Independent(posterior, 3), Independent(pulled, 3))
    return float(kl - log_likelihood.sum()) / image.numel()


def test_divergence_is_that_of_two_gaussians() -> None:
    mean, log_variance = torch.randn(2, 5, 3, 2, 2, generator=seeded(0, 0)).unbind()
    found = divergence(mean - 10, log_variance)
    own = Independent(Normal(mean, (log_variance / 2).exp()), 3)
    prior = Independent(Normal(torch.full_like(mean, 10.0), torch.ones_like(mean)), 3)
    torch.testing.assert_close(found, kl_divergence(own, prior))


@torch.no_grad()
def test_loss_is_minus_the_bound_under_the_prior_of_the_label(
    hardly_trained: DPVAE, hasty: Config, digits: Digits
) -> None:
    model = hardly_trained
    images = torch.cat([batch(digits["train"][:3]), batch(digits["anomalous"][:2])])
    label = torch.tensor([0, 0, 0, 1, 1])
    loss = model.loss(model.network_, images, label, Chance(seeded(0, 0)))

    generator = seeded(0, 0)
    views = random_view(images, hasty.views, Chance(generator))
    noise = torch.randn(5, 32, 1, 1, generator=generator)
    rows = zip(views, [0.0, 0.0, 0.0, 10.0, 10.0], noise, strict=True)
    bounds = [minus_bound(model, view, prior, own) for view, prior, own in rows]
    assert float(loss) == pytest.approx(sum(bounds) / 5, rel=1e-4)


@torch.inference_mode()
def test_score_is_minus_the_bound_of_a_normal_at_the_mean_of_the_code(
    hardly_trained: DPVAE, digits: Digits
) -> None:
    images = batch(digits["anomalous"][:3])
    for image, score in zip(images, hardly_trained.score(images)["dp-vae"], strict=True):
        expected = minus_bound(hardly_trained, image, 0.0, torch.zeros(32, 1, 1))
        assert float(score) == pytest.approx(expected, rel=1e-4)


@torch.inference_mode()
def test_codes_of_unseen_anomalies_are_on_the_way_to_their_prior(
    labelled: DPVAE, digits: Digits
) -> None:
    def mean_code(images: npt.NDArray[np.uint8]) -> float:
        return float(labelled.head("code")(labelled.network_(batch(images)))[:, :32].mean())

    normal, anomalous = mean_code(digits["normal"]), mean_code(digits["anomalous"][30:])
    assert abs(normal) < 2 and anomalous > normal + 2


def test_unseen_anomalies_score_higher_with_labels(labelled: DPVAE, digits: Digits) -> None:
    unseen = digits["anomalous"][30:]
    score = labelled.decision_function(np.concatenate([digits["normal"], unseen]))
    label = np.repeat([0, 1], [len(digits["normal"]), len(unseen)])
    assert roc_auc_score(label, score) > 0.95


def test_other_digits_score_higher_without_labels(longer: Config, digits: Digits) -> None:
    model = DPVAE(longer, device="cpu").fit(digits["train"])
    score = model.decision_function(np.concatenate([digits["normal"], digits["anomalous"]]))
    label = np.repeat([0, 1], [len(digits["normal"]), len(digits["anomalous"])])
    assert roc_auc_score(label, score) > 0.75

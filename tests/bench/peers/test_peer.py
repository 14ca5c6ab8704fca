from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from anomem import Config
from anomem.config import EncoderChoices, ImageChoices, Stage1Choices
from anomem.images.prepare import PreparedImages
from anomem.images.resize import ImageShape
from anomem.model.encoder import Encoder
from anomem.training.optimisation import Clock
from anomem_bench.contender import TrainingSet
from anomem_bench.peers.deepsad import DeepSAD
from anomem_bench.peers.dp_vae import DPVAE
from anomem_bench.peers.memae import MemAE
from anomem_bench.peers.mhrot import MHRot
from anomem_bench.peers.peer import Peer, PeerNetwork
from anomem_bench.peers.piad import PIAD
from anomem_bench.peers.simclr import SimCLR
from anomem_bench.peers.supervised import Supervised

Digits = dict[str, npt.NDArray[np.uint8]]
PEERS = [MHRot, Supervised, SimCLR, DeepSAD, MemAE, DPVAE, PIAD]


def fitted(peer: type[Peer], config: Config, digits: Digits, seed: int = 0) -> Peer:
    anomalies = digits["anomalous"][:20] if peer.needs_anomalies else None
    return peer(config, device="cpu", seed=seed).fit(digits["train"], anomalies=anomalies)


def as_set(images: npt.NDArray[np.uint8]) -> PreparedImages:
    return PreparedImages(torch.from_numpy(images)[:, None])


@pytest.fixture(scope="module", params=PEERS, ids=lambda peer: peer.__name__)
def peer(request: pytest.FixtureRequest, hasty: Config, digits: Digits) -> Peer:
    return fitted(request.param, hasty, digits)


def test_scores_are_named_and_the_first_is_that_of_the_face(peer: Peer, digits: Digits) -> None:
    face, scores = peer.decision_function(digits["normal"]), peer.scores(as_set(digits["normal"]))
    assert tuple(scores) == peer.score_names
    np.testing.assert_array_equal(face, scores[peer.score_names[0]])
    assert face.shape == (len(digits["normal"]),) and face.dtype == np.float32
    assert np.isfinite(face).all() and len(np.unique(face)) > 1


def test_an_image_has_the_score_it_has_in_a_batch(peer: Peer, digits: Digits) -> None:
    together = peer.scores(as_set(digits["normal"]))
    for index in (0, 7):
        alone = peer.scores(as_set(digits["normal"][index : index + 1]))
        for name, scores in together.items():
            np.testing.assert_allclose(alone[name], scores[index : index + 1], 1e-4, 1e-5)


def test_same_seed_same_scores_whatever_was_fitted_before(
    peer: Peer, hasty: Config, digits: Digits
) -> None:
    expected = peer.decision_function(digits["normal"])
    again, other = (type(peer)(hasty, device="cpu", seed=seed) for seed in (0, 1))
    again.fit(digits["normal"], anomalies=digits["anomalous"][:5])
    anomalies = digits["anomalous"][:20] if peer.needs_anomalies else None
    for model in (again, other):
        model.fit(digits["train"], anomalies=anomalies)
    np.testing.assert_array_equal(again.decision_function(digits["normal"]), expected)
    assert not np.allclose(other.decision_function(digits["normal"]), expected)


def test_scores_of_simclr() -> None:
    assert SimCLR.score_names == ("simclr-knn", "simclr-kmeans", "simclr-mahalanobis")


def test_peer_that_needs_anomalies_says_so(hasty: Config, digits: Digits) -> None:
    with pytest.raises(ValueError, match=r"Supervised learns from labelled anomalies; give some."):
        Supervised(hasty, device="cpu").fit(digits["train"])


def test_presets_by_name() -> None:
    with pytest.raises(ValueError, match="there is no preset 'fastest'"):
        MHRot("fastest").fit(np.zeros((4, 16, 16), np.uint8))


def test_images_are_brought_to_the_configured_shape(hasty: Config, digits: Digits) -> None:
    config = replace(hasty, images=ImageChoices(size=(24, 24), channels=3))
    model = MHRot(config, device="cpu").fit(digits["train"])
    assert model.shape_ == ImageShape(3, 24, 24)
    assert len(model.decision_function(digits["normal"])) == len(digits["normal"])


def test_global_random_state_is_left_alone(hasty: Config, digits: Digits) -> None:
    before = torch.random.get_rng_state()
    fitted(MHRot, hasty, digits)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_begin_yields_each_step_and_scores_can_be_had_on_the_way(
    hasty: Config, digits: Digits
) -> None:
    model, seen = MHRot(hasty, device="cpu"), []
    normals = as_set(digits["train"])
    for step in model.begin(TrainingSet(normals, None, ImageShape(1, 16, 16)), Clock()):
        model.finish()
        seen.append((step, model.scores(normals)["mhrot"].mean()))
    assert [step for step, _ in seen] == [1, 2, 3]
    assert len({score for _, score in seen}) == 3


def test_looking_on_the_way_changes_nothing(hasty: Config, digits: Digits) -> None:
    model, normals = SimCLR(hasty, device="cpu"), as_set(digits["train"])
    for _ in model.begin(TrainingSet(normals, None, ImageShape(1, 16, 16)), Clock()):
        model.finish()
    np.testing.assert_array_equal(
        model.decision_function(digits["normal"]),
        fitted(SimCLR, hasty, digits).decision_function(digits["normal"]),
    )


def test_clock_ends_the_training(hasty: Config, digits: Digits) -> None:
    config = replace(hasty, stage1=Stage1Choices(min_steps=10_000, batch=16, max_seconds=0.05))
    model, clock = MHRot(config, device="cpu"), Clock(0.05)
    steps = list(
        model.begin(TrainingSet(as_set(digits["train"]), None, ImageShape(1, 16, 16)), clock)
    )
    assert 1 <= len(steps) < 10_000
    assert clock.spent >= 0.05


@torch.inference_mode()
def test_features_are_the_mean_of_the_last_map() -> None:
    encoder = Encoder(EncoderChoices(width=4, stem_stride=2), 1)
    network = PeerNetwork(encoder, {"head": torch.nn.Linear(32, 2)}).eval()
    images = torch.rand(3, 1, 16, 24)
    features, last = network(images), encoder(images)[-1]
    assert features.shape == (3, 32)
    for b in range(3):
        for c in range(32):
            assert float(features[b, c]) == pytest.approx(float(last[b, c].mean()), abs=1e-6)


def test_input_is_normalised_by_the_training_normals(hasty: Config, digits: Digits) -> None:
    encoder = fitted(MHRot, hasty, digits).network_.encoder
    pixels = digits["train"] / 255
    assert float(encoder.mean) == pytest.approx(pixels.mean(), abs=1e-4)
    assert float(encoder.std) == pytest.approx(pixels.std(), abs=1e-4)

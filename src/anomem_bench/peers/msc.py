"""MSC: a pretrained encoder fine-tuned by mean-shifted contrast (Reiss and Hoshen, AAAI 2023)."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import normalize

from anomem.config import Config
from anomem.config.mapping import changed
from anomem.images.image_set import Chosen, ImageSet
from anomem.model.encoder import Encoder
from anomem.training.draws import Chance
from anomem.training.losses import contrasted_memory_loss
from anomem.training.views import random_view
from anomem_bench.contender import TrainingSet
from anomem_bench.peers.neighbours import EveryScale, nearest
from anomem_bench.peers.peer import PeerNetwork, TrainedPeer

_TEMPERATURE = 0.25
_CENTRED_ON = 500  # normals


class MSC(TrainedPeer):
    """Contrasts the normals about their centre, near which they stay; scores by nearest normals.

    "Mean-Shifted Contrastive Loss for Anomaly Detection" (official code:
    talreiss/Mean-Shifted-Anomaly-Detection), with the angular centre loss. Features of unit length,
    less the direction of their mean before the training, are contrasted in two views (NT-Xent);
    the squared distance to that direction keeps them near it. Statistics of batch normalisation
    and the layers up to the first map stay as they are pretrained. Departures from the official
    code: features are those of :class:`~anomem_bench.peers.neighbours.Neighbours`, of all scales,
    and so are the five nearest normals (two there), so that the two differ by this training alone;
    the centre is that of at most 500 normals; the learning rate is a five-hundredth of the
    detector's, with momentum, so that the steps of two minutes of one thread take the weights about
    as far as 25 official epochs of 5,000 images do (1e-5 without); encoder and views are the
    detector's. Labelled anomalies are not used.

    Attributes:
        centre_: Direction of the mean of the features before the training, (C,).
        bank_: Features of the training normals at unit length, (N, C).
    """

    score_names = ("msc",)
    rate = 0.002

    def __init__(
        self, config: str | Config = "pretrained", *, device: str = "auto", seed: int = 0
    ) -> None:
        super().__init__(config, device=device, seed=seed)
        # Of memories, which it has none of, those of places would ask for a frozen encoder.
        trained = {"encoder__frozen": False, "memory__prototypes": "learnt"}
        self.config = changed(self.config, trained)

    def start(self, images: TrainingSet) -> tuple[Fabric, PeerNetwork]:
        """Build the network, and find the centre of the normals as it is."""
        fabric, network = super().start(images)
        features = network.eval().features(Chosen.of(images.normals).spread(_CENTRED_ON))
        mean = normalize(features, dim=1).mean(dim=0)
        self.centre_ = normalize(mean, dim=0).to(fabric.device)
        return fabric, network

    def new_network(self, encoder: Encoder) -> PeerNetwork:
        """Build the encoder, pooled at every scale, its first layers frozen."""
        freeze_to_first_map(encoder)
        return EveryScale(encoder, {})

    def heads(self, width: int) -> dict[str, nn.Module]:  # noqa: ARG002 - of any width
        """Build none."""
        return {}

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Contrast two views of each normal about the centre, and keep them near it."""
        self.network_.eval()
        normals = images[label == 0]
        views = torch.cat([random_view(normals, self.config.views, chance) for _ in range(2)])
        return mean_shifted_loss(network(views).float(), self.centre_)

    def settle(self, normals: ImageSet) -> None:
        """Keep the features of all training normals."""
        self.bank_ = normalize(self.features(normals), dim=1)

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give minus the mean cosine to the five nearest normals."""
        return {"msc": -nearest(normalize(self.network_(images).float().cpu(), dim=1), self.bank_)}


def mean_shifted_loss(features: Tensor, centre: Tensor) -> Tensor:
    """Add the mean-shifted contrast and the angular centre loss of two views.

    Args:
        features: (2B, C) of any length, the second views after the first.
        centre: Unit vector (C,).

    Returns:
        Scalar.
    """
    first, second = (normalize(features, dim=1) - centre).chunk(2)
    # A memory that recalls every query as it is leaves NT-Xent.
    contrast = contrasted_memory_loss(first, second, normals=len(first), temperature=_TEMPERATURE)
    return contrast + sum(shifted.square().sum(dim=1).mean() for shifted in (first, second))


def freeze_to_first_map(encoder: Encoder) -> None:
    """Take no gradient of the layers that make the first map of an encoder."""
    last = f"{encoder.backbone.feature_info.module_name()[0]}."
    parameters = list(encoder.backbone.named_parameters())
    ends = max(index for index, (name, _) in enumerate(parameters) if name.startswith(last))
    for _, parameter in parameters[: ends + 1]:
        parameter.requires_grad_(False)

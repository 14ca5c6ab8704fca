"""CSI: contrasting shifted instances (Tack et al., NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.images.image_set import ImageSet
from anomem.training.draws import Chance
from anomem.training.losses import contrasted_memory_loss
from anomem.training.views import random_view
from anomem_bench.peers.peer import TrainedPeer
from anomem_bench.peers.simclr import projection_head

ROTATIONS = 4
TEMPERATURE = 0.5


class CSI(TrainedPeer):
    """Contrasts as SimCLR with rotated copies as negatives, and classifies the rotations.

    "CSI: Novelty Detection via Contrastive Learning on Distributionally Shifted Instances",
    sections 2 and 3.2: the score joins, over four rotations, the cosine to the nearest training
    normal times the norm of the projection, and the logit of the right rotation, each divided by
    its mean over the training normals. Departures from the official code: a step takes the first
    half of the normals of its batch, under four rotations and two views; views are the detector's;
    the ensemble of ten random crops at test time is the image and its mirror image, as for all
    peers. Labelled anomalies are not used.

    Attributes:
        directions_: Projections of the training normals at unit norm, (4, N, 128), by rotation.
        balance_: Mean over them of the contrastive score and of the logit, (2, 4).
    """

    score_names = ("csi",)

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Build the projection of the contrast, and the classifier of rotations."""
        return {"projection": projection_head(width), "rotation": nn.Linear(width, ROTATIONS)}

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Contrast rotated copies as images of their own (NT-Xent), and classify the rotations."""
        normals = images[label == 0]
        copies = normals[: (len(normals) + 1) // 2].repeat(ROTATIONS, 1, 1, 1)
        # The view comes first: a mirror image turned left is, to the network, one turned right.
        views = [rotated(random_view(copies, self.config.views, chance)) for _ in range(2)]
        features = network(torch.cat(views)).float()
        first, second = self.head("projection")(features).chunk(2)
        # Without soft classes the contrast has no memory in it: it is NT-Xent of what it is given.
        contrast = contrasted_memory_loss(
            first, second, normals=len(first), temperature=TEMPERATURE
        )
        logits = self.head("rotation")(features)
        return contrast + functional.cross_entropy(
            logits, rotation_of(len(copies), logits).repeat(2)
        )

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give minus the sum over rotations of both balanced scores."""
        projection, logit = self.project(images)
        contrast = (projection @ self.directions_.transpose(1, 2)).amax(dim=2)
        balanced = torch.stack([contrast, logit]) / self.balance_[:, :, None]
        return {"csi": -balanced.sum(dim=(0, 1)).cpu()}

    @torch.inference_mode()
    def settle(self, normals: ImageSet) -> None:
        """Keep the projections of all training normals, and the mean of their scores."""
        parts = [self.project(batch) for batch in self.network_.batches(normals)]
        projection = torch.cat([projection for projection, _ in parts], dim=1)
        logit = torch.cat([logit for _, logit in parts], dim=1)
        self.directions_ = functional.normalize(projection, dim=2)
        # The normal nearest to a training normal is itself, so its norm is its score.
        self.balance_ = torch.stack([projection.norm(dim=2).mean(dim=1), logit.mean(dim=1)])

    def project(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Project images under each rotation, and tell it.

        Args:
            images: (B, C, H, W) in [0, 1].

        Returns:
            Projections (4, B, 128) and the logits of the right rotation (4, B).
        """
        projections, logits = [], []
        for turn in range(ROTATIONS):
            features = self.network_(torch.rot90(images, turn, dims=(2, 3))).float()
            projections.append(self.head("projection")(features))
            logits.append(self.head("rotation")(features)[:, turn])
        return torch.stack(projections), torch.stack(logits)


def rotated(images: Tensor) -> Tensor:
    """Turn the first quarter of a batch by 0 degrees, the next by 90, 180 and 270."""
    quarters = enumerate(images.chunk(ROTATIONS))
    return torch.cat([torch.rot90(images, turn, dims=(2, 3)) for turn, images in quarters])


def rotation_of(count: int, like: Tensor) -> Tensor:
    """Give the rotation, 0 to 3, of so many images of :func:`rotated`, on the device of another."""
    return torch.arange(ROTATIONS, device=like.device).repeat_interleave(count // ROTATIONS)

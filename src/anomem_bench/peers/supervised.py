"""Supervised: a plain binary classifier, the other end of the road from one-class methods."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from anomem.training.draws import Chance
from anomem.training.views import random_view
from anomem_bench.peers.peer import TrainedPeer


class Supervised(TrainedPeer):
    """Tells labelled anomalies from normals by a linear head on the features.

    The supervised rival of "Deep Semi-Supervised Anomaly Detection" (Ruff et al., ICLR 2020), whose
    official code does not hold it: binary cross-entropy; the score is the logit of the anomaly.
    Departures from the paper: normals and anomalies of a batch weigh the same as two groups,
    however many there are of each; encoder, views and optimiser are the detector's.
    """

    score_names = ("supervised",)

    needs_anomalies = True

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Build one linear logit."""
        return {"anomalous": nn.Linear(width, 1)}

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Take the balanced binary cross-entropy on one view of each image."""
        return balanced_cross_entropy(
            self._logit(network(random_view(images, self.config.views, chance))), label
        )

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give the logit of the anomaly."""
        return {"supervised": self._logit(self.network_(images)).cpu()}

    def _logit(self, features: Tensor) -> Tensor:
        return self.head("anomalous")(features.float()).squeeze(1)


def balanced_cross_entropy(logit: Tensor, label: Tensor) -> Tensor:
    """Average the binary cross-entropy over each class and then over the two.

    Args:
        logit: Of the anomaly, (B,).
        label: (B,), 0 normal, 1 anomalous; there must be some of both.

    Returns:
        Scalar.
    """
    each = functional.binary_cross_entropy_with_logits(logit, label.float(), reduction="none")
    return (each[label == 0].mean() + each[label == 1].mean()) / 2

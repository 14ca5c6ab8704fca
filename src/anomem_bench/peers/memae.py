"""MemAE: an autoencoder whose code is read from a memory (Gong et al., ICCV 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.training.draws import Chance
from anomem.training.views import random_view
from anomem_bench.peers.autoencoder import CODE, Autoencoder, squared_error

_ITEMS = 500
_ENTROPY = 0.0002
_EPSILON = 1e-12


class SparseMemory(nn.Module):
    """Recalls a code as a sparse mixture of learnt items.

    Attributes:
        items: (500, 32), at first uniform within one over the root of the width.
    """

    def __init__(self) -> None:
        super().__init__()
        bound = CODE**-0.5
        self.items = nn.Parameter(torch.empty(_ITEMS, CODE).uniform_(-bound, bound))

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Recall what stands for each code, place by place.

        Args:
            code: (B, 32, h, w).

        Returns:
            The recalled codes, (B, 32, h, w), and the weights of the items, (B, h, w, 500).
        """
        weights = shrunk((code.permute(0, 2, 3, 1) @ self.items.T).softmax(dim=3))
        return (weights @ self.items).permute(0, 3, 1, 2), weights


class MemAE(Autoencoder):
    """Reconstructs images from a memory of normal codes; anomalies are not recalled well.

    "Memorizing Normality to Detect Anomaly: Memory-augmented Deep Autoencoder for Unsupervised
    Anomaly Detection": 500 items, as for CIFAR-10 there, addressed by a softmax, hard shrinkage at
    1 / 500 (:func:`shrunk`) and .0002 of the entropy of the weights; the score is the squared error
    of the reconstruction. The query is compared by a dot product, as in the official code
    (github.com/donggong1/memae-anomaly-detection, for videos), where the paper has the cosine.
    Departures: the encoder is the detector's, and a linear layer brings each place of its last map
    to 32 channels, the query; the decoder mirrors it; images are reconstructed from views of them,
    in units of their deviation over the normals; the detector's optimiser stands in place of Adam.
    Labelled anomalies are not used.
    """

    score_names = ("memae",)

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Build the code and the memory."""
        return {"code": nn.Conv2d(width, CODE, 1), "memory": SparseMemory()}

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Add the error of one view of each normal and the entropy of the weights."""
        view = random_view(images[label == 0], self.config.views, chance)
        error, weights = self._recalled(network, view)
        return error.mean() + _ENTROPY * entropy(weights).mean()

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give the error of the reconstruction."""
        error, _ = self._recalled(self.network_, images)
        return {"memae": error.cpu()}

    def _recalled(self, network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Measure the error (B,) of images and the weights of their items."""
        recalled, weights = self.head("memory")(self.head("code")(network(images).float()))
        made = self.decoded(recalled, images)
        return squared_error(made, self.normalised(images)), weights


def shrunk(weights: Tensor) -> Tensor:
    """Set weights up to one over their number to zero, and scale the others to a sum of one.

    Args:
        weights: (..., N), with a sum of one.
    """
    above = weights - 1 / weights.shape[-1]
    # The ratio is 1 or 0, and has the slope that moves a weight across the threshold.
    kept = functional.relu(above) * weights / (above.abs() + _EPSILON)
    return functional.normalize(kept, p=1, dim=-1)


def entropy(weights: Tensor) -> Tensor:
    """Measure the entropy (...) of weights (..., N) in nats."""
    return -(weights * (weights + _EPSILON).log()).sum(dim=-1)

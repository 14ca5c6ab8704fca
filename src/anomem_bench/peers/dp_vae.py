"""DP-VAE: a variational autoencoder with a prior for labelled anomalies (Daniel et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomem.training.draws import Chance
from anomem.training.views import random_view
from anomem_bench.peers.autoencoder import CODE, Autoencoder, squared_error

_ALPHA = 10.0


class DPVAE(Autoencoder):
    """Learns a density of normals; labelled anomalies are to have codes from another prior.

    "Deep Variational Semi-Supervised Novelty Detection" (Daniel, Kurutach and Tamar, arXiv
    1911.04971), of its two methods that of the dual prior: codes of normals are pulled to N(0, I),
    those of labelled anomalies to N(alpha, I) with alpha = 10 in every channel; the score is minus
    the evidence lower bound under the prior of the normals. Without labelled anomalies it is a
    plain variational autoencoder. No official code is known to us. Departures: the encoder is the
    detector's, and a linear layer gives mean and log-variance of 32 channels at each place of its
    last map; the decoder mirrors it; the likelihood of a pixel is Gaussian with the deviation of
    the normals; the bound is divided by the number of pixel values, so that the step sizes suit
    images of any size; images are seen in views; the bound of the score is taken at the mean of
    the code; labelled anomalies weigh as their share of the batch; the detector's optimiser stands
    in place of Adam.
    """

    score_names = ("dp-vae",)
    uses_anomalies = True

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Build mean and log-variance of the code."""
        return {"code": nn.Conv2d(width, 2 * CODE, 1)}

    def loss(self, network: nn.Module, images: Tensor, label: Tensor, chance: Chance) -> Tensor:
        """Take minus the bound of one view of each image, under the prior of its label."""
        view = random_view(images, self.config.views, chance)
        mean, log_variance = self._posterior(network, view)
        noise = torch.randn(mean.shape, generator=chance.generator, device=mean.device)
        code = mean + (log_variance / 2).exp() * noise
        prior = _ALPHA * label.view(-1, 1, 1, 1)
        return self._minus_bound(view, code, divergence(mean - prior, log_variance)).mean()

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Give minus the bound under the prior of the normals."""
        mean, log_variance = self._posterior(self.network_, images)
        bound = self._minus_bound(images, mean, divergence(mean, log_variance))
        return {"dp-vae": bound.cpu()}

    def _posterior(self, network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and log-variance of the code, (B, 32, h, w) each."""
        mean, log_variance = self.head("code")(network(images).float()).chunk(2, dim=1)
        return mean, log_variance

    def _minus_bound(self, images: Tensor, code: Tensor, divergence: Tensor) -> Tensor:
        """Give minus the bound (B,) of each image by pixel value, but for a constant."""
        error = squared_error(self.decoded(code, images), self.normalised(images))
        return error / 2 + divergence / images[0].numel()


def divergence(offset: Tensor, log_variance: Tensor) -> Tensor:
    """Measure KL(N(mean, variance) || N(prior, I)) of each code, (B,), in nats.

    Args:
        offset: Mean less that of the prior, (B, C, h, w).
        log_variance: (B, C, h, w).
    """
    each = log_variance.exp() + offset.square() - 1 - log_variance
    return each.sum(dim=(1, 2, 3)) / 2

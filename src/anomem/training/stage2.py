"""Stage 2: heads on frozen, pooled deviations (Eq. 7 to 9). Takes seconds and no images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from anomem.config import Stage2Choices
from anomem.model.scorer import Heads
from anomem.training.losses import double_hinge

_LEAST_SPREAD = 1e-4
"""Of what is pooled. Other kernels round it by up to 8e-6, which a channel that is dead must not
take for a deviation; those of four detectors of real images vary by 6e-4 and more."""
_INVERSE_PENALTY = 10.0
"""C of the logistic regression, where normals and anomalies weigh 1 each."""


def train_stage2(
    heads: Heads,
    normals: Tensor,
    anomalies: Tensor,
    lambdas: Sequence[float],
    choices: Stage2Choices,
) -> None:
    """Learn to tell labelled anomalies from normals.

    Normals and labelled anomalies each weigh as one group, however many they are.

    Args:
        heads: Trained in place.
        normals: Pooled deviations of normals, (N, sum C_s), N at least 2.
        anomalies: Of labelled anomalies, (A, sum C_s), A at least 1.
        lambdas: Weight of each scale in the fusion (Eq. 9).
        choices: Of the heads, and of the descent where they are MLPs.
    """
    heads.mean.copy_(normals.float().mean(dim=0))
    heads.std.copy_(normals.float().std(dim=0).clamp(min=_LEAST_SPREAD))
    data = torch.cat([normals, anomalies]).float()
    label = torch.cat(
        [torch.full((len(group),), t) for t, group in enumerate((normals, anomalies))]
    )
    if choices.hidden is None:
        _fit_log_odds(heads, data, label, lambdas)
    else:
        _descend(heads, data, label, choices)
    heads.eval()


@torch.no_grad()
def _fit_log_odds(heads: Heads, data: Tensor, label: Tensor, lambdas: Sequence[float]) -> None:
    """Linear heads whose fused distance is the log-odds of one regression over all scales."""
    standard = ((data - heads.mean) / heads.std).numpy()
    share = 1 / np.bincount(label.numpy())[label.numpy()]
    found = LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000).fit(standard, label, share)
    weights = torch.from_numpy(found.coef_[0]).float().split(heads.widths)
    for head, weight, part in zip(heads.scales, weights, lambdas, strict=True):
        assert isinstance(head, nn.Linear)
        head.weight.copy_(weight * sum(lambdas) / part)
        head.bias.fill_(float(found.intercept_[0]))


def _descend(heads: Heads, data: Tensor, label: Tensor, choices: Stage2Choices) -> None:
    """Minimise the double hinge (Eq. 8) over MLPs, with full batches.

    SGD with Nesterov momentum and a cosine schedule, as stage 1.
    """
    share = (0.5 / torch.bincount(label)[label])[:, None]
    optimizer = torch.optim.SGD(
        heads.parameters(),
        lr=choices.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=choices.weight_decay,
    )
    heads.train()
    for step in range(choices.steps):
        rate = choices.learning_rate * 0.5 * (1 + math.cos(math.pi * step / choices.steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        hinge = double_hinge(heads(data), label, choices.margin)
        loss = (share * hinge).sum(dim=0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

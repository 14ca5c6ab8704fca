"""Stage 2: heads on frozen, pooled deviations (Eq. 7 and 8). Takes seconds and no images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anomem.config import Stage2Choices
from anomem.network.heads import Heads
from anomem.training.losses import double_hinge


def train_stage2(
    heads: Heads,
    normals: Tensor,
    anomalies: Tensor,
    pseudo: Tensor,
    choices: Stage2Choices,
) -> None:
    """Minimise the double hinge over the heads, with full batches.

    Normals, labelled anomalies and pseudo-anomalies each weigh as one group, however many they
    are. SGD with Nesterov momentum and a cosine schedule, as stage 1.

    Args:
        heads: Trained in place.
        normals: Pooled deviations of normals, (N, sum C_s), N at least 2.
        anomalies: Of labelled anomalies, (A, sum C_s); may be empty.
        pseudo: Of pseudo-anomalies, (P, sum C_s); may be empty.
        choices: Of the optimiser and the margin.
    """
    heads.mean.copy_(normals.float().mean(dim=0))
    heads.std.copy_(normals.float().std(dim=0).clamp(min=1e-6))
    groups = [(group.float(), t) for group, t in ((normals, 0), (anomalies, 1), (pseudo, 1))]
    groups = [(group, t) for group, t in groups if len(group)]
    data = torch.cat([group for group, _ in groups])
    label = torch.cat([torch.full((len(group),), t) for group, t in groups])
    share = torch.cat([torch.full((len(group), 1), 1 / len(group)) for group, _ in groups])
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
        loss = (share * hinge).sum(dim=0).mean() / len(groups)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    heads.eval()

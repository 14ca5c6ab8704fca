"""DRA: three abnormalities, each learnt from few labels by a head (Ding et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomem.config import Config
from anomem.images.image_set import Chosen, ImageSet
from anomem.model.encoder import Encoder
from anomem.training.draws import Chance
from anomem.training.pseudo import patched
from anomem_bench.peers.peer import PeerNetwork, TrainedPeer

_MARGIN = 5.0
_REFERENCES = 5  # normals
_TOP = 0.1
_HIDDEN = 256
_BATCH = 24  # normals


class TopPlaces(nn.Module):
    """Scores each place by a linear layer, and an image by the mean of its highest places.

    Args:
        width: Channels of the maps.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.place = nn.Conv2d(width, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Score maps (B, C, H, W): (B,), at least 0, of a tenth of the places."""
        places = self.place(maps).abs().flatten(1)
        return places.topk(max(int(_TOP * places.shape[1]), 1), dim=1).values.mean(dim=1)


class DRA(TrainedPeer):
    """Learns seen anomalies, pseudo-anomalies and residuals, each by a head of its own.

    "Catching Both Gray and Black Swans: Open-set Supervised Anomaly Detection" (official code:
    choubo/DRA). On the encoder's last map one head tells labelled anomalies from normals, one
    images with a pasted patch, both by the tenth of the places that score highest; one tells both
    by what is left of the map when the mean of five normals is taken away; and one is to be high
    where the whole map is normal. Each is trained by the deviation loss on scores that are means
    over two sizes of the image; the score is the sum of the three less the last. Departures from
    the official code: the encoder is the detector's and stays as it is pretrained, so that heads
    alone are trained, at ten times the official rate, as a training of minutes takes few steps;
    patches are those of the detector, cut from the same image, in place of CutMix; images are not
    turned; normals and anomalies weigh the same in a loss, as official batches have as many of
    both; scores deviate from 0 in units of 1, not from 5,000 draws of such a normal distribution;
    the references of a step are none of the normals that it trains on, and those of a test are
    spread evenly over all normals; Adam follows the detector's schedule.

    Attributes:
        references_: Mean map of the reference normals at each size, (C, H, W).
    """

    score_names = ("dra",)
    needs_anomalies = True
    rate = 0.02

    def __init__(
        self, config: str | Config = "pretrained", *, device: str = "auto", seed: int = 0
    ) -> None:
        super().__init__(config, device=device, seed=seed)
        stage1 = self.config.stage1
        stage1 = replace(stage1, batch=min(_BATCH, stage1.batch))
        self.config = replace(self.config, stage1=stage1)

    def new_network(self, encoder: Encoder) -> PeerNetwork:
        """Build the heads on an encoder of which nothing is trained."""
        return super().new_network(encoder.requires_grad_(False))

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Build the four heads."""
        convolution = nn.Conv2d(width, width, 3, padding=1)
        return {
            "normal": nn.Sequential(nn.Linear(width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 1)),
            "seen": TopPlaces(width),
            "pseudo": TopPlaces(width),
            "residual": nn.Sequential(
                convolution, nn.BatchNorm2d(width), nn.ReLU(), TopPlaces(width)
            ),
        }

    def optimizer(self, network: PeerNetwork) -> torch.optim.Optimizer:
        """Build Adam over the heads."""
        rate = self.config.stage1.learning_rate
        return torch.optim.Adam(network.heads.parameters(), lr=rate, weight_decay=1e-5)

    def loss(
        self,
        network: nn.Module,  # noqa: ARG002 - heads are on maps, not on features
        images: Tensor,
        label: Tensor,
        chance: Chance,
    ) -> Tensor:
        """Add the deviation losses of the four heads."""
        normals, seen = images[label == 0], images[label == 1]
        held = min(_REFERENCES, len(normals) // 2)
        pseudo, _ = patched(normals[held:], chance)
        maps = self.maps(torch.cat([normals, seen, pseudo]))
        scores = self.head_scores(
            [each[held:] for each in maps], [each[:held].mean(dim=0) for each in maps]
        )
        counts = torch.tensor([len(normals) - held, len(seen), len(pseudo)])
        kind = torch.arange(3).repeat_interleave(counts).to(images.device)
        odd = kind > 0
        return (
            deviation_loss(scores["normal"], ~odd)
            + deviation_loss(scores["seen"][kind != 2], odd[kind != 2])
            + deviation_loss(scores["pseudo"][kind != 1], odd[kind != 1])
            + deviation_loss(scores["residual"], odd)
        )

    def settle(self, normals: ImageSet) -> None:
        """Measure the reference normals."""
        chosen = Chosen.of(normals).spread(_REFERENCES)
        maps = self.maps(next(self.network_.batches(chosen)))
        self.references_ = [each.mean(dim=0) for each in maps]

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Add the scores of the three abnormalities, less that of normality."""
        scores = self.head_scores(self.maps(images), self.references_)
        normality = scores.pop("normal")
        return {"dra": (torch.stack(list(scores.values())).sum(dim=0) - normality).cpu()}

    def maps(self, images: Tensor) -> list[Tensor]:
        """Make the last map (B, C, H, W) of images, and of the same at half the size."""
        encoder = self.network_.encoder.eval()
        half = functional.interpolate(images, scale_factor=0.5, mode="bilinear")
        with torch.no_grad():
            return [encoder(each)[-1].float() for each in (images, half)]

    def head_scores(
        self, maps: Sequence[Tensor], references: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Score maps (B, C, H, W) of each size, given the mean map (C, H, W) of the references.

        Returns:
            By head (B,), at least 0, the mean over the sizes.
        """
        at_sizes = [
            torch.stack(
                [
                    self.head("normal")(own.mean(dim=(2, 3))).abs().squeeze(1),
                    self.head("seen")(own),
                    self.head("pseudo")(own),
                    self.head("residual")(reference - own),
                ]
            )
            for own, reference in zip(maps, references, strict=True)
        ]
        names = ("normal", "seen", "pseudo", "residual")
        return dict(zip(names, torch.stack(at_sizes).mean(dim=0), strict=True))


def deviation_loss(scores: Tensor, high: Tensor) -> Tensor:
    """Bring scores that are to be low to 0 and others to 5 or above (Pang et al., KDD 2019).

    Args:
        scores: (B,).
        high: (B,), True where a score is to be high.

    Returns:
        Scalar, the mean over both groups of the mean over each, those without a score left out.
    """
    missed = torch.where(high, (_MARGIN - scores).clamp(min=0), scores.abs())
    groups = [missed[group].mean() for group in (high, ~high) if group.any()]
    return torch.stack(groups).mean()

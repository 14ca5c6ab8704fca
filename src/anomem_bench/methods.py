"""Methods of a benchmark, by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from anomem.config import Config
from anomem.config.mapping import changed, flat
from anomem.config.presets import paper, pretrained, scratch
from anomem_bench.contender import Contender
from anomem_bench.ours import Memory, Ours
from anomem_bench.peers.balanced_energy import BalancedEnergy
from anomem_bench.peers.classifier import Classifier
from anomem_bench.peers.csi import CSI
from anomem_bench.peers.deepsad import DeepSAD
from anomem_bench.peers.dp_vae import DPVAE
from anomem_bench.peers.dra import DRA
from anomem_bench.peers.elsa import Elsa
from anomem_bench.peers.energy_oe import EnergyOE
from anomem_bench.peers.fs import FS
from anomem_bench.peers.goad import GOAD
from anomem_bench.peers.memae import MemAE
from anomem_bench.peers.mhrot import MHRot
from anomem_bench.peers.msc import MSC
from anomem_bench.peers.neighbours import Neighbours
from anomem_bench.peers.padim import PaDiM
from anomem_bench.peers.patchcore import PatchCore
from anomem_bench.peers.peer import Peer
from anomem_bench.peers.piad import PIAD
from anomem_bench.peers.reverse_distillation import ReverseDistillation, UntrainedTeacher
from anomem_bench.peers.simclr import SimCLR
from anomem_bench.peers.supervised import Supervised

_UNBOUNDED = 10**9


@dataclass(frozen=True)
class Method:
    """Names a method that can be trained.

    Attributes:
        config: Every choice.
        kind: Called with the choices, ``device`` and ``seed``, gives the untrained method.
        scores: Names of the scores that one training gives.
        needs_anomalies: It cannot be trained on normals alone.
        uses_anomalies: It learns from labelled anomalies.
        data_given: As of :attr:`~anomem_bench.contender.Contender.given`.
    """

    config: Config
    kind: Callable[..., Contender]
    scores: tuple[str, ...]
    needs_anomalies: bool = False
    uses_anomalies: bool = False
    data_given: tuple[str, ...] = ()

    @property
    def given(self) -> str:
        """Say what it is given that others are not, "" for nothing but labelled anomalies."""
        encoder = self.config.encoder
        weights = ("pretrained weights",) if encoder.pretrained or encoder.weights else ()
        return ", ".join([*self.data_given, *weights])

    def new(self, device: str = "auto", seed: int = 0) -> Contender:
        """Build the untrained method."""
        return self.kind(self.config, device=device, seed=seed)

    @property
    def digest(self) -> str:
        """Give eight hexadecimal digits that tell its choices from others.

        Of those that differ from the plain ones, so that a choice added later changes no digest.
        """
        plain = flat(Config())
        chosen = {k: v for k, v in flat(self.config).items() if v != plain[k]}
        choices = json.dumps(chosen, sort_keys=True)
        return hashlib.blake2b(choices.encode(), digest_size=4).hexdigest()


def until_the_clock_ends(config: Config) -> Config:
    """Take the small encoder of ``scratch``, and as many steps as the clock allows.

    Nothing is compiled unless asked for, as the clock would run meanwhile.
    """
    return _timed(replace(config, encoder=scratch().encoder))


def _timed(config: Config) -> Config:
    stage1 = replace(config.stage1, min_steps=_UNBOUNDED, max_steps=None, max_seconds=None)
    compute = replace(config.compute, compile=bool(config.compute.compile))
    return replace(config, stage1=stage1, compute=compute)


def ours(name: str, config: Config, memory: Memory = "learnt") -> Method:
    """Take the detector as a method; name and memory as of :class:`~anomem_bench.ours.Ours`."""
    return Method(config, partial(Ours, name=name, memory=memory), (name,), uses_anomalies=True)


def _peer(kind: type[Peer], config: Config) -> Method:
    # What is the detector's own does not make a peer another one.
    own = ("memory", "loss", "pseudo", "stage2", "calibration")
    config = replace(config, **{group: getattr(Config(), group) for group in own})
    return Method(
        config,
        kind,
        kind.score_names,
        kind.needs_anomalies,
        kind.needs_anomalies or kind.uses_anomalies,
        kind.given,
    )


_SCRATCH = until_the_clock_ends(scratch())

_FASTER = changed(_SCRATCH, {"stage1__learning_rate": 0.3})
"""For the peers that it suits on validation images: docs/lab-book/recipe.md."""

_FINER = {"encoder__scales": (2, 3)}
"""Maps of the strides 4, 8 and 16, for what looks at places."""

METHODS = {
    "scratch": ours("scratch", _SCRATCH),
    "paper-small": ours("paper-small", until_the_clock_ends(paper())),
    "scratch-kmeans": ours("scratch-kmeans", _SCRATCH, "kmeans"),
    "scratch-no-memory": ours("scratch-no-memory", _SCRATCH, "mean"),
    "supervised": _peer(Supervised, _FASTER),
    "simclr": _peer(SimCLR, _SCRATCH),
    "mhrot": _peer(MHRot, _FASTER),
    "goad": _peer(GOAD, _SCRATCH),
    "csi": _peer(CSI, _SCRATCH),
    "deepsad": _peer(DeepSAD, _SCRATCH),
    "elsa": _peer(Elsa, _SCRATCH),
    "memae": _peer(MemAE, _SCRATCH),
    "dp-vae": _peer(DPVAE, _SCRATCH),
    "piad": _peer(PIAD, _SCRATCH),
    "msp": _peer(Classifier, _SCRATCH),
    "fs": _peer(FS, _SCRATCH),
    "energy-oe": _peer(EnergyOE, _SCRATCH),
    "balanced-energy": _peer(BalancedEnergy, _SCRATCH),
    "pretrained": ours("pretrained", pretrained()),
    "neighbours": _peer(Neighbours, pretrained()),
    "patchcore": _peer(PatchCore, changed(pretrained(), _FINER)),
    "padim": _peer(PaDiM, changed(pretrained(), _FINER)),
    "msc": _peer(MSC, _timed(pretrained())),
    "dra": _peer(DRA, _timed(changed(pretrained(), _FINER))),
    "reverse-distillation": _peer(ReverseDistillation, _timed(changed(pretrained(), _FINER))),
    "reverse-distillation-untrained": _peer(UntrainedTeacher, changed(_SCRATCH, _FINER)),
}


def given_to(score: str) -> str:
    """Say what the method of a score is given that others are not, "" for nothing or no method.

    What follows a comma in the name of a score, as a number of labels, is not looked at.
    """
    own = score.partition(", ")[0]
    return next((method.given for method in METHODS.values() if own in method.scores), "")


def methods_named(names: Sequence[str]) -> dict[str, Method]:
    """Find methods of :data:`METHODS`, by name.

    Raises:
        ValueError: There is no such method.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ValueError(f"there is no method {unknown[0]!r}; choose from {', '.join(METHODS)}.")
    return {name: METHODS[name] for name in names}

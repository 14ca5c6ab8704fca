from pathlib import Path

import numpy as np
from PIL import Image

from anomem import AnoMem
from anomem.config import Config
from anomem_bench.datasets import load_named
from anomem_bench.figures.prototypes import draw_prototypes
from anomem_bench.protocols.one_vs_all import OneVsAll
from anomem_bench.protocols.prototypes import KINDS, prototypes_among_samples
from anomem_bench.split import Caps, Cell


def test_prototypes_lie_among_samples(
    hasty: Config, digits_as_cifar10: Path, tmp_path: Path
) -> None:
    parts = load_named("cifar10", digits_as_cifar10)
    protocol = OneVsAll("digits", parts, caps=Caps(normals=40, tested=20))
    split = protocol.split(Cell("cat", 0.0, "all", 0))
    layout = prototypes_among_samples(AnoMem(hasty, device="cpu").fit(split.normals), split)
    counts = layout.groupby(["scale", "kind"], sort=False).size()
    assert counts.index.tolist() == [(scale, kind) for scale in (1, 2) for kind in KINDS]
    assert counts.loc[:, "prototypes"].tolist() == [8, 4]
    assert (counts.loc[:, KINDS[0]] == counts.loc[:, KINDS[1]]).all()
    assert (counts.loc[:, KINDS[0]] >= 20).all()
    assert np.isfinite(layout[["x", "y"]].to_numpy()).all()
    draw_prototypes(layout, "digits", tmp_path / "new" / "prototypes.png")
    with Image.open(tmp_path / "new" / "prototypes.png") as picture:
        assert picture.width > picture.height

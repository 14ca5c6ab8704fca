from pathlib import Path

import numpy as np
from PIL import Image

from anomem import AnoMem
from anomem.config import Config
from anomem_bench.datasets import load_named
from anomem_bench.figures.prototypes import draw_prototypes, write_prototypes
from anomem_bench.protocols.one_vs_all import OneVsAll
from anomem_bench.protocols.prototypes import prototypes_among_samples
from anomem_bench.split import Caps, Cell


def test_prototypes_lie_among_samples(
    hasty: Config, digits_as_cifar10: Path, tmp_path: Path
) -> None:
    parts = load_named("cifar10", digits_as_cifar10)
    protocol = OneVsAll("digits", parts, caps=Caps(normals=40, tested=20))
    split = protocol.split(Cell("cat", 0.0, "all", 0))
    layout = prototypes_among_samples(AnoMem(hasty, device="cpu").fit(split.normals), split)
    assert layout.counts == [8, 4]
    for points, kinds in zip(layout.points, layout.kinds, strict=True):
        assert points.shape == (len(kinds), 2) and np.isfinite(points).all()
        assert (kinds == 0).sum() == (kinds == 1).sum() >= 20
    draw_prototypes(layout, "digits", tmp_path / "new" / "prototypes.png")
    with Image.open(tmp_path / "new" / "prototypes.png") as picture:
        assert picture.width > picture.height
    write_prototypes(layout, tmp_path / "prototypes.csv")
    lines = (tmp_path / "prototypes.csv").read_text().splitlines()
    assert lines[0] == "scale,kind,x,y" and lines[-1].startswith("2,prototypes,")
    assert len(lines) == 1 + sum(map(len, layout.kinds))

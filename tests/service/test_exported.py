"""An exported folder is served as a saved model is."""

from pathlib import Path

import numpy as np
import pytest
from brightness_graph import write_export
from serving import Running, png

from anomem.images.framing import Framing
from anomem.images.resize import ImageShape


def test_an_exported_folder_is_served(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "bright", Framing("resize", ImageShape(1, 32, 32)))
    service = Running.of(folder)
    image = png(np.full((40, 40), 204, np.uint8))
    try:
        status, told, _ = service.ask("v1/score", image)
        assert status == 200 and told["images"][0]["score"] == pytest.approx(8, rel=1e-5)
        assert told["images"][0]["verdict"] == "anomalous" and told["model"] == "bright"
        status, why, _ = service.ask("v1/explain", image)
        assert status == 200 and why["places"] == [] and why["height"] == 40
        assert service.ask("v1/explain", image, Accept="image/png")[0] == 200
    finally:
        service.command.killed()

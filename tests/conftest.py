"""What tests share.

The process that deals tests out to workers reads this file first: it loads nothing heavy.
"""

from __future__ import annotations

import copy
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from filelock import FileLock
from PIL import Image

import anomem
from anomem.config import (
    Config,
    EncoderChoices,
    ImageChoices,
    LossChoices,
    MemoryChoices,
    PseudoChoices,
    ScoreChoices,
    Stage1Choices,
    Stage2Choices,
)

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from anomem_bench.results import Run

os.environ["OMP_NUM_THREADS"] = "1"  # of torch, here and in the processes that tests start

_SIDE = 16


@pytest.fixture(scope="session")
def digits() -> dict[str, npt.NDArray[np.uint8]]:
    """Handwritten digits, N x 16 x 16: zeros to "train" on, further zeros "normal", others."""
    from sklearn.datasets import load_digits

    pixels, digit = load_digits(return_X_y=True)
    small = (pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    images = np.stack(
        [
            np.asarray(Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
            for image in small
        ]
    )
    zeros, others = images[digit == 0], images[digit != 0][::5]
    return {"train": zeros[:120], "normal": zeros[120:], "anomalous": others}


@pytest.fixture(scope="session")
def gravel() -> npt.NDArray[np.uint8]:
    """A photograph of gravel, 512 x 512, to cut squares from."""
    data = pytest.importorskip("skimage.data", reason="needs anomem[demo]")
    photograph: npt.NDArray[np.uint8] = data.gravel()
    return photograph


@pytest.fixture(scope="session")
def tiny() -> Config:
    """A real network that trains in seconds on one core."""
    return Config(
        images=ImageChoices(size=(_SIDE, _SIDE)),
        encoder=EncoderChoices(width=8, stem_stride=1),
        memory=MemoryChoices(sizes=(16, 8), beta=10.0),
        loss=LossChoices(temperature=0.2, soft_class=100.0),
        pseudo=PseudoChoices(kinds=("rotate90", "rotate180")),
        stage1=Stage1Choices(min_steps=20, max_steps=20, batch=32),
        stage2=Stage2Choices(hidden=16, steps=100),
        score=ScoreChoices(mahalanobis=True),
    )


@pytest.fixture(scope="session")
def hasty() -> Config:
    """The least training there is, where only the road matters and not the scores."""
    return Config(
        images=ImageChoices(size=(_SIDE, _SIDE)),
        encoder=EncoderChoices(width=4, stem_stride=2),
        memory=MemoryChoices(sizes=(8, 4)),
        pseudo=PseudoChoices(kinds=("rotate90", "rotate180")),
        stage1=Stage1Choices(min_steps=3, max_steps=3, batch=16),
        stage2=Stage2Choices(hidden=4, steps=5),
    )


@pytest.fixture(scope="session")
def model_folder(
    tiny: Config, digits: dict[str, npt.NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A detector fitted on zeros, saved; not to be written to.

    It is fitted once a run, by the process of the run that asks for it first.
    """
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent
    with FileLock(run / "zeros.lock"):
        if not (run / "zeros").exists():
            anomem.AnoMem(tiny, device="cpu").fit(digits["train"]).save(run / "zeros")
    return run / "zeros"


@pytest.fixture(scope="session")
def _loaded(model_folder: Path) -> anomem.AnoMem:
    from anomem.detector.estimator import load_trained

    return load_trained(model_folder, device="cpu")


@pytest.fixture
def model(_loaded: anomem.AnoMem) -> anomem.AnoMem:
    """The same detector, to do with as a test likes."""
    return copy.deepcopy(_loaded)


@pytest.fixture(scope="session")
def folders(
    digits: dict[str, npt.NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The digits as PNG files, in a folder each; the files of "train" are of six lots."""
    root = tmp_path_factory.mktemp("digits")
    for name, images in digits.items():
        (root / name).mkdir()
        for index, image in enumerate(images[:120]):
            Image.fromarray(image).save(root / name / f"lot{index // 20}-{index:03}.png")
    return {name: root / name for name in digits}


@pytest.fixture(scope="session")
def digits_as_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits in the files of CIFAR-10, 32 x 32; digit 0 bears the name airplane, and so on."""
    import pyarrow as pa
    import pyarrow.parquet as parquet
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("cifar10")
    pixels, digit = load_digits(return_X_y=True)
    small = (pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    for name, part in (("train", slice(0, 1200)), ("test", slice(1200, None))):
        images = []
        for image in small[part]:
            file = io.BytesIO()
            Image.fromarray(image).resize((32, 32)).convert("RGB").save(file, "png")
            images.append({"bytes": file.getvalue(), "path": None})
        table = pa.table({"image": images, "label": digit[part]})
        parquet.write_table(table, folder / f"{name}.parquet")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk of a size, as "64k", that is soon full."""
    disk = tmp_path / "disk"

    def mounted(size: str) -> Path:
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("may not mount")
        return disk

    yield mounted
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="session")
def _chromium() -> Iterator[Chrome]:
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or chromium is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    for what in ("device", "ui"):  # a camera that is none
        options.add_argument(f"--use-fake-{what}-for-media-stream")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with Chrome(options=options, service=ChromeService(driver)) as started:
        yield started


@pytest.fixture
def browser(_chromium: Chrome) -> Iterator[Chrome]:
    """Headless Chromium; a test fails that leaves an error on its console."""
    yield _chromium
    assert [line for line in _chromium.get_log("browser") if line["level"] == "SEVERE"] == []


@pytest.fixture
def one_run() -> Run:
    """A run to vary."""
    from anomem_bench.results import Run

    return Run(
        protocol="one-vs-all",
        data="digits",
        method="scratch",
        normal="zero",
        against="",
        gamma=0.05,
        anomaly_classes="all",
        draw=0,
        budget=300.0,
        device="cpu",
        config="0badcafe",
        seconds=298.7,
        steps=3375,
        measures={"auroc": 0.95, "auroc_half": 0.9, "auroc_quarter": 0.8},
        test_images=797,
        threads=1,
        commit="0123abc",
        versions={"python": "3.11.9", "torch": "2.6.0"},
    )

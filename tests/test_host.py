"""A library leaves the settings of the process that it is imported in as they are."""

from running import Command

_CODE = """
import ctypes, importlib, logging, os, pkgutil, re, sys, tempfile, warnings
from pathlib import Path
import numpy as np
import torch
from PIL import Image

def handlers_of_libtiff():
    maps = Path("/proc/self/maps")
    lines = maps.read_text() if maps.exists() else ""
    for file in sorted(set(re.findall(r"(/\\S*/libtiff[-.]\\S*)$", lines, re.MULTILINE))):
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            set_handler = getattr(ctypes.CDLL(file), name)
            set_handler.restype, set_handler.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
            handler = set_handler(None)
            set_handler(handler)
            yield name, handler

def settings():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return {
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        "matmul": (matmul.allow_tf32, torch.get_float32_matmul_precision()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "random": torch.get_rng_state().sum().item(),
        "dtype": torch.get_default_dtype(),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "logging": [logging.getLogger(name).level for name in ("", "lightning_fabric", "ray")],
        "handlers": [list(logging.getLogger(name).handlers) for name in ("", "tifffile")],
        "libtiff": list(handlers_of_libtiff()),
        "arrays": np.geterr(),
    }

def changed(before):
    return sorted(name for name, value in settings().items() if value != before[name])

def import_all():
    for package in ("anomem", "anomem_bench"):
        walked = pkgutil.walk_packages(importlib.import_module(package).__path__, package + ".")
        for module in sorted(found.name for found in walked):
            # What wraps a library needs it.
            if module != "anomem.integrations.anomalib" or importlib.util.find_spec("anomalib"):
                importlib.import_module(module)

import_all()  # what other libraries set as they are loaded is theirs
for name in [name for name in sys.modules if name.split(".")[0] in ("anomem", "anomem_bench")]:
    del sys.modules[name]
before = settings()
import_all()
print("imported:", changed(before))

from anomem import AnoMem
from anomem.config import Config, EncoderChoices, ImageChoices, MemoryChoices, Stage1Choices
config = Config(
    images=ImageChoices(size=16),
    encoder=EncoderChoices(width=4, stem_stride=2),
    memory=MemoryChoices(sizes=(8, 4)),
    stage1=Stage1Choices(min_steps=2, max_steps=2),
)
normals = np.random.default_rng(0).integers(0, 255, (50, 16, 16, 3), dtype=np.uint8)
model = AnoMem(config, device="cpu").fit(normals)
with tempfile.TemporaryDirectory() as folder:
    Image.fromarray(normals[0]).save(Path(folder, "a.tif"), compression="tiff_lzw")
    model.decision_function(folder)
print("used:", changed(before))
"""


def test_importing_every_module_and_using_the_detector_change_no_setting() -> None:
    done = Command(code=_CODE)
    assert done.ended() == 0, done.err.decode()
    assert done.out.decode().splitlines() == ["imported: []", "used: []"]

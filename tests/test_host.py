"""A library leaves the settings of the process that it is imported in as they are."""

from running import Command

_CODE = """
import importlib, logging, os, pkgutil, sys, warnings
import numpy as np
import torch

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
        "arrays": np.geterr(),
    }

def changed(before):
    return sorted(name for name, value in settings().items() if value != before[name])

def import_all():
    for package in ("anomem", "anomem_bench"):
        walked = pkgutil.walk_packages(importlib.import_module(package).__path__, package + ".")
        for module in sorted(found.name for found in walked):
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
model.decision_function(normals[:3])
print("used:", changed(before))
"""


def test_importing_every_module_and_using_the_detector_change_no_setting() -> None:
    done = Command(code=_CODE)
    assert done.ended() == 0, done.err.decode()
    assert done.out.decode().splitlines() == ["imported: []", "used: []"]

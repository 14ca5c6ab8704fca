"""Spoils a saved model at random, many times, and loads it each time within bounds of memory.

Run in a process of its own: hostile_models.py MODEL FOLDER COUNT SEED. Prints, as JSON, how many
loaded and were refused, and all that went wrong.
"""

import copy
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from anomem.detector.estimator import load_trained
from anomem.detector.model_info import load_description
from anomem.runtime.untrusted import ModelError

HEADROOM = 512 * 2**20
"""Bytes of address space that a load may take beyond what the process has."""
MOST_SECONDS = 10.0
VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 3, 5, 8, 64, 10**4, 10**6, 10**7, 10**9, 2**31, 2**63, 10**400,
    -(10**9), 0.5, -0.5, 1e-300, 1e30, 1e308, -1e308, float("nan"), float("inf"), float("-inf"),
    "", "x", "1", "resize", "tile", "hf-hub:timm/resnet18", "hf_hub:timm/resnet18",
    "local-dir:/etc", "file:///etc/passwd", "https://example.org/x", "resnet18.nope", "../resnet18",
    "resnet50", "convnext_xxlarge", "vit_giant_patch14_dinov2", "swin_base_patch4_window7_224",
    "tf_efficientnet_l2", "x" * 100_000, "\x1b[2J", "\ud800", [], {}, [1], [3, 4], [4, 3], [0, 99],
    [10**7, 10**7], [64, 64], [4096, 4096], ["rotate90"] * 1000, [[]], {"x": 1}, {"beta": {}},
]  # fmt: skip


def spoilt_json(description: dict[str, Any], rng: random.Random) -> None:
    """Change, remove or add one value anywhere."""
    holder: Any = description
    while True:
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if not isinstance(holder[key], dict | list) or not holder[key] or rng.random() < 0.15:
            break
        holder = holder[key]
    what = rng.random()
    if what < 0.1:
        del holder[key]
    elif what < 0.2 and isinstance(holder, dict):
        holder[rng.choice(["x", "", "beta", "__class__", "\x1b", "k" * 10_000])] = holder[key]
    elif what < 0.4 and isinstance(holder[key], int | float):
        holder[key] = type(holder[key])(holder[key] * 10 ** rng.randint(-3, 9))
    else:
        holder[key] = copy.deepcopy(rng.choice(VALUES))


def spoilt_text(text: bytes, rng: random.Random) -> bytes:
    """Cut, doubled, with other bytes, or nested without end."""
    start, stop = sorted(rng.choices(range(len(text)), k=2))
    return rng.choice(
        [
            text[:start],
            text[:start] + text[stop:],
            text[:stop] + text[start:],
            text[:start] + rng.randbytes(rng.randint(1, 8)) + text[start + 4 :],
            text[:start] + b"[" * 100_000 + text[start:],
            text[:start] + b'{"a":' * 5_000 + text[start:],
            text.replace(b"1", b"9" * 5_000, 1),
            text + b" " * 2**21,
            text.replace(b'"seed"', b'"seed": 1, "seed"'),
            text.decode().encode("utf-16"),
        ]
    )


def spoilt_tensors(tensors: dict[str, Tensor], rng: random.Random) -> None:
    """One of another shape, kind or name, missing, too many, or with other numbers."""
    part = rng.choice(["bank", "bank", "network", "scorer", "heat"])
    name = rng.choice([name for name in tensors if name.startswith(part)])
    tensor = tensors[name]
    flat = tensor.flatten()
    changes: list[Callable[[], Tensor]] = [
        lambda: tensor[:-1] if tensor.dim() else tensor[None],
        lambda: torch.cat([flat, flat]),
        lambda: tensor[..., None],
        lambda: tensor.T if tensor.dim() == 2 else flat[:0],
        lambda: tensor.double(),
        lambda: tensor.bool(),
        lambda: torch.full_like(tensor, rng.choice([-1, 2, 10**4])),
        lambda: torch.zeros(0, 2**40),
        lambda: torch.zeros(2**20, 0),
        lambda: tensor.new_zeros(rng.choice([1, 10, 1000]), *tensor.shape[1:]),
    ]
    if tensor.is_floating_point() and tensor.numel():
        bad = rng.choice([float("nan"), float("inf"), 0.0])
        changes += 3 * [lambda: torch.where(torch.arange(flat.numel()).view_as(tensor) == 0,
                                            torch.full_like(tensor, bad), tensor)]  # fmt: skip
    what = rng.random()
    if what < 0.1:
        del tensors[name]
    elif what < 0.2:
        tensors[rng.choice(["x", f"{part}.x", "region", name + "\x1b", "heat1.level"])] = (
            tensor.clone()
        )
    else:
        tensors[name] = rng.choice(changes)().contiguous()


def spoilt_header(weights: bytes, rng: random.Random) -> bytes:
    """A file whose header claims other shapes than there are bytes for."""
    length = int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8 : 8 + length])
    name = rng.choice([name for name in header if name != "__metadata__"])
    if rng.random() < 0.7:
        header[name]["shape"] = rng.choice([[10**7, 10**7], [2**62, 4], [-1], [10**12], []])
    if rng.random() < 0.7:
        header[name]["data_offsets"] = rng.choice([[0, 2**62], [5, 1], [0, 0], [-1, 4]])
    text = json.dumps(header).encode()
    claimed = rng.choice([len(text), len(text), 2**62, 10**8])
    return claimed.to_bytes(8, "little") + text + weights[8 + length :]


def write_spoilt(model: Path, folder: Path, rng: random.Random) -> None:
    """A copy of a model, spoilt once to three times."""
    description, tensors = load_description(model), load_file(model / weights_of(model))
    for old in folder.glob("*"):
        old.unlink()
    kinds = rng.choices(["json", "tensors", "text", "header"], [5, 4, 1, 1], k=rng.randint(1, 3))
    for kind in kinds:
        if kind == "json":
            spoilt_json(description, rng)
        elif kind == "tensors":
            spoilt_tensors(tensors, rng)
    text = json.dumps(description).encode()
    (folder / "model.json").write_bytes(spoilt_text(text, rng) if "text" in kinds else text)
    file = folder / weights_of(model)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, file)
    if "header" in kinds:
        file.write_bytes(spoilt_header(file.read_bytes(), rng))


def weights_of(model: Path) -> str:
    """Name of the file of weights of a model."""
    name: str = load_description(model)["weights"]
    return name


def peak_bytes() -> int:
    """Most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def refuse_network(event: str, _: Any) -> None:
    """An audit hook that ends every look at the network."""
    if event.startswith(("socket.connect", "socket.getaddrinfo", "urllib.Request")):
        wrong.append(f"{event} was asked for")
        raise OSError(event)


def main(model: Path, folder: Path, count: int, seed: int) -> None:
    """Spoil, load and count."""
    sys.addaudithook(refuse_network)
    folder.mkdir(exist_ok=True)
    load_trained(model, device="cpu")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before, loaded, refused = peak_bytes(), 0, 0
    for number in range(count):
        write_spoilt(model, folder, random.Random(f"{seed}-{number}"))
        began = time.process_time()
        try:
            load_trained(folder, device="cpu")
            loaded += 1
        except ModelError as error:
            refused += 1
            told = str(error)
            if not told.isprintable() or "alloc" in told or len(told) > 600:
                wrong.append(f"{number}: {told[:300]}")
        except BaseException as error:
            wrong.append(f"{number}: {type(error).__name__} {str(error)[:200]}")
        seconds = time.process_time() - began
        if seconds > MOST_SECONDS:
            wrong.append(f"{number}: {seconds:.0f} s")
    counted = {"loaded": loaded, "refused": refused, "wrong": wrong}
    print(json.dumps(counted | {"bytes": peak_bytes() - before}))


wrong: list[str] = []

if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

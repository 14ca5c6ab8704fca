"""An environment without PyTorch, linked to what is installed here: what exported models need."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NEEDED = (
    "numpy", "pillow", "tifffile", "pyarrow", "fsspec", "scipy", "tyro", "rich", "onnxruntime",
)  # fmt: skip
"""What reading, scoring and tables use, and of those what they need themselves."""


def without_torch(folder: Path) -> Path:
    """Make the environment, with this checkout in it.

    Returns:
        Its Python.
    """
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, check=True, cwd=folder.parent)
    site = next(folder.glob("lib/python3*/site-packages"))
    linked: set[str] = set()
    for name in NEEDED:
        _link(name, site, linked)
    (site / "anomem.pth").write_text(f"{Path(__file__).parents[1] / 'src'}\n")
    return folder / "bin" / "python"


def _link(name: str, site: Path, linked: set[str]) -> None:
    """Link a package and all that it requires."""
    if canonicalize_name(name) in linked:
        return
    linked.add(canonicalize_name(name))
    try:
        found = distribution(name)
    except PackageNotFoundError:  # another platform's
        return
    for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(found.locate_file(top))))
    for line in found.requires or ():
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            _link(wanted.name, site, linked)

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from photo_crops import CROPS
from PIL import Image


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder with secret.png and a sub-folder "sub" that the running user may not read."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "secret.png").write_bytes(b"secret")
        (folder / "sub").mkdir()
        (folder / "secret.png").chmod(0)
        (folder / "sub").chmod(0)
        user = os.geteuid()
        if user == 0:  # the superuser may read everything
            os.seteuid(65534)
        yield folder
        os.seteuid(user)
        (folder / "sub").chmod(0o700)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images, of which the second and the fourth cannot be read."""
    for index in range(5):
        Image.fromarray(CROPS[index]).save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "3.png").write_text("not an image")
    return tmp_path

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


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

import shutil
from pathlib import Path

import pytest

Folders = dict[str, Path]


@pytest.fixture
def unlabelled(folders: Folders, tmp_path: Path) -> Path:
    """Forty zeros and ten other digits in one folder."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    for name, count in (("normal", 40), ("anomalous", 10)):
        for file in sorted(folders[name].iterdir())[:count]:
            shutil.copy(file, folder / f"{name}-{file.name}")
    return folder

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Running


@pytest.fixture(scope="session")
def service(model_folder: Path) -> Iterator[Running]:
    """Serves the detector of zeros; it stays as it is."""
    started = Running.of(model_folder)
    yield started
    started.command.killed()

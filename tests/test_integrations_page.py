"""The blocks of docs/how-to/integrations.md run as they stand."""

import re
import warnings
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs/how-to/integrations.md"
OPENING, *SECTIONS = PAGE.read_text().split("\n## ")


def code_of(part: str) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", part, flags=re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("section", SECTIONS, ids=[part.partition("\n")[0] for part in SECTIONS])
def test_the_blocks_of_a_section_run(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    warnings.simplefilter("ignore")  # anomalib and MLflow warn of themselves
    warnings.filterwarnings("error", module="anomem")
    try:
        exec(code_of(OPENING) + code_of(section), {"__name__": "__main__"})
    except ModuleNotFoundError as error:
        if "anomem" in str(error.name):
            raise
        pytest.skip(f"needs {error.name}")

"""The notebooks run from end to end, and what they claim is true: they assert it.

They are run as the scripts that they are, in this process: a kernel of Jupyter for each would load
PyTorch anew, and asks for two more packages.
"""

import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))


def test_there_are_four() -> None:
    assert len(NOTEBOOKS) == 4


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=[file.stem for file in NOTEBOOKS])
def test_a_notebook_runs(notebook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs anomem[demo]")
    code = notebook.read_text("utf-8")
    assert re.search(r"^# %% \[markdown\]\n# # ", code, re.MULTILINE), "it has a title"
    assert re.search(r"^assert ", code, re.MULTILINE)
    pyplot.switch_backend("agg")
    try:
        exec(compile(code, str(notebook), "exec"), {"__name__": "__main__"})
        assert pyplot.get_fignums(), "it draws"
    finally:
        pyplot.close("all")
    assert capsys.readouterr().out

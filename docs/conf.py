"""The site: `sphinx-build -W docs docs/_build`. Two pages of the reference are written here."""

import io
import os
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

from anomem.cli.app import COMMANDS, GROUPS
from anomem.cli.arguments import parse
from anomem.config.presets import PRESETS

project = "AnoMem"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_show_copyright = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 4
napoleon_use_ivar = True
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
os.environ.update(COLUMNS="100", NO_COLOR="1")  # of the help
REFERENCE = Path(__file__).parent / "reference"


def help_of(*words: str) -> str:
    """What the program itself says of a command."""
    told = io.StringIO()
    with redirect_stdout(told), suppress(SystemExit):
        parse([*words, "--help"], COMMANDS, GROUPS)
    return told.getvalue()


def commands() -> str:
    """Every command with its ``--help``."""
    page = "# Commands\n\nThis is what `anomem COMMAND --help` prints.\n"
    lines = [(), *((name,) for name in COMMANDS)]
    for group, (_, members) in GROUPS.items():
        lines += [(group,), *((group, name) for name in members)]
    for words in lines:
        title = " ".join(("anomem", *words))
        page += f"\n## {title}\n\n```text\n{help_of(*words)}```\n"
    return page


def choices() -> str:
    """Every choice with its docstring, its default, and what presets take in its place."""
    told = ModuleAnalyzer.for_module("anomem.config.choices").find_attr_docs()
    presets = {name: make() for name, make in PRESETS.items()}
    page = "# Every choice\n\nHow a choice is given: [](configuration.md).\n"
    for group, of_group in vars(presets["scratch"]).items():
        kind = type(of_group)
        page += f"\n## {group}\n\n{(kind.__doc__ or '').partition('Example:')[0].strip()}\n"
        for name, default in vars(kind()).items():
            values = {preset: getattr(vars(of)[group], name) for preset, of in presets.items()}
            taken = "; ".join(
                f"`{preset}`: `{value!r}`" for preset, value in values.items() if value != default
            )
            sentences = " ".join(line.strip() for line in told[kind.__name__, name])
            page += f"\n`{group}.{name}`\n: {sentences.strip()}\n\n  Default `{default!r}`"
            page += f"; {taken}.\n" if taken else ".\n"
    return page


def theirs(*given: Any) -> bool | None:
    """Leave out what other libraries add to our classes."""
    member = getattr(given[3], "fget", given[3])
    module = getattr(member, "__module__", None) or "anomem"
    return None if module.startswith("anomem") else True


def setup(app: Sphinx) -> None:
    """Write the pages that are made of the program."""
    (REFERENCE / "commands.md").write_text(commands(), "utf-8")
    (REFERENCE / "choices.md").write_text(choices(), "utf-8")
    app.connect("autodoc-skip-member", theirs)

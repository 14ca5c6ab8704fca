"""The site: `sphinx-build -W docs docs/_build`. Two pages of the reference are written here."""

import io
import os
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.inspect import TypeAliasForwardRef
from sphinx.writers.html5 import HTML5Translator

from anomem.cli.app import COMMANDS, GROUPS
from anomem.cli.parse import parse
from anomem.config.presets import PRESETS

project = "AnoMem"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
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
autodoc_type_aliases = {"npt.ArrayLike": "ArrayLike", "MaskLike": "MaskLike"}
autodoc_mock_imports = ["anomalib"]
TypeAliasForwardRef.__repr__ = lambda alias: alias.name  # in unions
html_math_renderer = "mathml"
os.environ.update(COLUMNS="100", NO_COLOR="1")  # of the help
REFERENCE = Path(__file__).parent / "reference"

ALL_COMMANDS = """This is what `anomem COMMAND --help` prints. For all commands:

- **Exit codes.** 0 is success. 1 is an error, told in one sentence on standard error. 2 says that
  words are not understood. `score` exits with 3 where some images cannot be read (their rows
  say why), and with 1 where none can.
- `--json` prints the result as one JSON object on the last line.
- A killed `fit` goes on with `--resume`. A killed `score` goes on when it is called again.
- Outputs appear whole or not at all, and a model folder is replaced in one step."""


def help_of(*words: str) -> str:
    """What the program itself says of a command."""
    told = io.StringIO()
    with redirect_stdout(told), suppress(SystemExit):
        parse([*words, "--help"], COMMANDS, GROUPS)
    return told.getvalue()


def commands() -> str:
    """Every command with its ``--help``."""
    page = f"# Commands\n\n{ALL_COMMANDS}\n"
    lines = [(), *((name,) for name in COMMANDS)]
    for group, (_, members) in GROUPS.items():
        lines += [(group,), *((group, name) for name in members)]
    for words in lines:
        title = " ".join(("anomem", *words))
        page += f"\n## {title}\n\n```text\n{help_of(*words)}```\n"
    return page


def choices() -> str:
    """Every choice with its docstring and its value in each preset."""
    told = ModuleAnalyzer.for_module("anomem.config.choices").find_attr_docs()
    presets = {name: make() for name, make in PRESETS.items()}
    page = "# Every choice\n\nHow a choice is given: [](configuration.md).\n"
    page += "Where no preset is given, `fit` takes `scratch` or `pretrained`.\n"
    for group, of_group in vars(presets["scratch"]).items():
        kind = type(of_group)
        page += f"\n## {group}\n\n{(kind.__doc__ or '').partition('Example:')[0].strip()}\n"
        for name in vars(of_group):
            values = {preset: getattr(vars(of)[group], name) for preset, of in presets.items()}
            taken = ", ".join(f"`{preset}` `{value!r}`" for preset, value in values.items())
            if len(set(values.values())) == 1:
                taken = f"`{values['scratch']!r}` in every preset"
            sentences = " ".join(line.strip() for line in told[kind.__name__, name])
            page += f"\n`{group}.{name}`\n: {sentences.strip()}\n\n  {taken}\n"
    return page


def theirs(*given: Any) -> bool | None:
    """Leave out what other libraries add to our classes."""
    member = getattr(given[3], "fget", given[3])
    module = getattr(member, "__module__", None) or "anomem"
    return None if module.startswith("anomem") else True


def inline_formula(page: HTML5Translator, node: nodes.math) -> None:
    """A formula that browsers draw by themselves, so that the site asks no other one."""
    page.body.append(convert(node.astext()))
    raise nodes.SkipNode


def displayed_formula(page: HTML5Translator, node: nodes.math_block) -> None:
    """The same on lines of its own."""
    page.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Write the pages that are made of the program."""
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
    (REFERENCE / "commands.md").write_text(commands(), "utf-8")
    (REFERENCE / "choices.md").write_text(choices(), "utf-8")
    app.connect("autodoc-skip-member", theirs)

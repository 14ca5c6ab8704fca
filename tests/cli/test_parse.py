from dataclasses import replace
from pathlib import Path

import pytest

from anomem.cli.app import COMMANDS
from anomem.cli.arguments import Fit
from anomem.cli.parse import parse
from anomem.config.presets import Automatic, scratch


def fit(words: list[str]) -> Fit:
    given = parse(["fit", *words], COMMANDS, {})
    assert isinstance(given, Fit)
    return given


def test_preset_then_file_then_flag(tmp_path: Path) -> None:
    file = tmp_path / "choices.toml"
    file.write_text("[memory]\nbeta = 7\nsteps = 2\n[encoder]\nscales = [2, 4]\n")
    words = ["normal", "--out", "model"]
    plain = fit(words).choices
    paper = fit([*words, "--preset", "paper"]).choices
    assert (plain.encoder.width, paper.encoder.name) == (16, "resnet50")
    words += ["--preset=paper", "--config", str(file)]
    words += ["--memory.beta", "9", "--views.no-flip"]
    both = fit(words).choices
    assert both.memory == replace(paper.memory, beta=9.0, steps=2)
    assert both.encoder == replace(paper.encoder, scales=(2, 4))
    assert both.views == replace(paper.views, flip=False)
    assert both.stage1 == paper.stage1


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[memory]\nbta = 1", "memory.bta: "),
        ("[memory]\nbeta = -1", "beta is -1"),
        ("[memory]\nbeta = 'x'", "memory.beta: "),
        ("memory = 3", "memory: "),
        ("[memory", "is not TOML"),
        (None, "No such file"),
    ],
)
def test_wrong_files_of_choices_are_named(toml: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "choices.toml"
    if toml is not None:
        file.write_text(toml)
    with pytest.raises(ValueError, match=message) as told:
        fit(["normal", "--out", "model", "--config", str(file)])
    assert str(told.value).startswith(str(file)) and "\n" not in str(told.value)


def test_choices_are_known_to_be_given_by_flag_by_file_or_by_the_framing(tmp_path: Path) -> None:
    words, file = ["normal", "--out", "model"], tmp_path / "choices.toml"
    file.write_text("[memory]\nbeta = 10.0\n")
    for flags, paths in (
        (["--encoder.name", "resnet10t"], {"encoder__name"}),
        (
            ["--images.no-reduced", "--stage1.min_steps=300"],
            {"images__reduced", "stage1__min_steps"},
        ),
        (["--config", str(file), "--memory.steps", "1"], {"memory__beta", "memory__steps"}),
        (["--tile", "96"], {"images__framing", "images__size"}),
    ):
        given = fit([*words, *flags])
        assert given.wanted() == Automatic(given.framed(), frozenset(paths))


def test_framing_is_a_flag_with_its_side() -> None:
    words = ["normal", "--out", "model"]
    plain = fit(words)
    assert plain.framed() == plain.choices and plain.wanted() == Automatic()
    assert fit([*words, "--preset", "scratch"]).wanted() == scratch()
    tiles = fit([*words, "--tile", "96", "--memory.beta", "9"]).framed()
    assert (tiles.images.framing, tiles.images.size, tiles.memory.beta) == ("tile", (96, 96), 9.0)
    with pytest.raises(ValueError, match="--resize and --tile exclude one another"):
        Fit(normal=["normal"], out=Path("model"), resize=64, tile=96)

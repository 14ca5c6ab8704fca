import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import run
from skimage import data

from anomem_bench.results import read

MADE = {
    "manifest.json", "runs.jsonl", "runs.csv", "table.md", "table.csv", "against-gamma.png",
    "against-seconds.png",
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("three_steps")


def bench(*words: str) -> int:
    return run("bench", *(word for given in words for word in given.split()))


def test_one_vs_all_writes_runs_tables_figures_and_a_manifest(
    digits_as_cifar10: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = "--classes airplane --methods scratch,deepsad --budget-seconds 60 --json"
    assert bench("one-vs-all", f"--data cifar10:{digits_as_cifar10} --out {out}", words) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out.splitlines()[-1]) == {"out": str(out), "runs": 2}
    assert "airplane, gamma 0 (all), draw 0: deepsad auroc" in shown.err
    table = (out / "table.md").read_text()
    assert table in shown.out and "| scratch |" in table and "published" in table
    assert {file.name for file in out.iterdir()} == MADE
    (call,) = json.loads((out / "manifest.json").read_text())
    assert call["seeds"] == [0] and call["budget_seconds"] == 60 and call["hardware"]["cores"] > 0
    assert set(call["methods"]) == {"scratch", "deepsad"} and call["versions"]["torch"]


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Crops of a photograph in the layout of MVTec AD, with two kinds of anomaly."""
    brick = data.brick()
    rng = np.random.default_rng(0)
    for folder, count, change in (
        ("train/good", 40, 0), ("test/good", 12, 0), ("test/bright", 12, 90), ("test/dark", 12, -90)
    ):  # fmt: skip
        (tmp_path / folder).mkdir(parents=True)
        for row in range(count):
            y, x = rng.integers(0, 480, 2)
            crop = (brick[y : y + 32, x : x + 32].astype(int) + change).clip(0, 255)
            Image.fromarray(crop.astype(np.uint8)).save(tmp_path / folder / f"{row}.png")
    return tmp_path


def test_cross_type_ood_linear_and_ablation_run(
    tiles: Path, digits_as_cifar10: Path, tmp_path: Path
) -> None:
    digits = f"--data cifar10:{digits_as_cifar10} --most-normals 60 --most-tested 30"
    quick = "--methods deepsad --budget-seconds 60"
    assert bench(
        f"cross-type --data mvtec_ad:{tiles} --kinds dark --out {tmp_path / 'a'}", quick
    ) == 0  # fmt: skip
    assert bench(f"ood {digits} --against folder:{tiles} --out {tmp_path / 'b'}", quick) == 0
    assert bench(f"linear {digits} --out {tmp_path / 'c'}", quick) == 0
    assert bench(
        f"ablation sampling-ratio {digits} --classes cat --budget-seconds 60 --out {tmp_path / 'd'}"
    ) == 0  # fmt: skip
    runs = {name: read(tmp_path / name / "runs.jsonl") for name in "abcd"}
    assert [run.against for run in runs["a"]] == ["bright", "dark", "all kinds", "dark"]
    assert [run.against for run in runs["b"]] == [f"folder {tiles.name}"]
    assert "accuracy" in runs["c"][0].measures
    assert sorted(run.method for run in runs["d"]) == [
        f"scratch, r {ratio}" for ratio in ("0.07", "0.15", "0.3", "0.6", "1")
    ]
    assert (tmp_path / "d" / "against-choice.png").is_file()


def test_outliers_are_of_classes_that_are_not_tested(
    digits_as_cifar10: Path, tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = f"folder:{tiles / 'test'}"
    words = f"--data cifar10:{digits_as_cifar10} --most-normals 60 --most-tested 30"
    words = f"ood {words} --methods energy-oe --budget-seconds 60 --out {tmp_path / 'a'}"
    assert bench(words, f"--against {folder} --outliers {folder}") == 0
    (run,) = read(tmp_path / "a" / "runs.jsonl")
    assert run.against == "folder test, other classes" and run.data.endswith("folder test")
    (call,) = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert call["outliers"] == {
        "data": "folder test", "classes": ["good", "dark"], "images": 24
    }  # fmt: skip
    assert "| class labels, outliers |" in (tmp_path / "a" / "table.md").read_text()
    for name in ("cifar10", "cifar100"):
        assert bench(words, f"--against {folder} --outliers {name}:{digits_as_cifar10}") == 1
        assert f"outliers are of {name}, and cifar10 has the same images" in capsys.readouterr().err


def test_prototypes_are_drawn(digits_as_cifar10: Path, tmp_path: Path) -> None:
    where = f"--data cifar10:{digits_as_cifar10} --out {tmp_path / 'p'}"
    assert bench("prototypes", where, "--normal cat --samples 10 --budget-seconds 1") == 0
    made = {file.name for file in (tmp_path / "p").iterdir()}
    assert made == {"prototypes.png", "prototypes.csv", "manifest.json"}
    lines = (tmp_path / "p" / "prototypes.csv").read_text().splitlines()
    assert lines[0] == "scale,kind,x,y"
    assert lines[-1].startswith("2,prototypes,")
    assert bench("prototypes", where, "--normal cow") == 1


def test_shards_are_merged(digits_as_cifar10: Path, tmp_path: Path) -> None:
    words = "--classes cat,dog --methods deepsad --budget-seconds 60"
    words = f"--data cifar10:{digits_as_cifar10} {words}"
    for part in (1, 2):
        assert bench("one-vs-all", words, f"--shard {part}/2 --out {tmp_path / str(part)}") == 0
    assert bench("merge", f"{tmp_path / '1'} {tmp_path / '2'} --out {tmp_path / 'all'}") == 0
    runs = read(tmp_path / "all" / "runs.jsonl")
    assert [run.normal for run in runs] == ["cat", "dog"]
    assert {file.name for file in (tmp_path / "all").iterdir()} == MADE
    calls = json.loads((tmp_path / "all" / "manifest.json").read_text())
    assert [call["shard"] for call in calls] == ["1/2", "2/2"]
    assert bench("merge", f"{tmp_path / '1'} --out {tmp_path / 'all'}") == 1
    assert bench("merge", f"{tmp_path / '1'} --out {tmp_path / '1'}") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("one-vs-all --gammas 0,1", "gammas is '0,1'; give numbers from 0 to below 1"),
        ("one-vs-all --gammas few", "gammas is 'few'"),
        ("few-labels --labels 1,few", "labels is '1,few'; give whole numbers from 0, as in 0,1,10"),
        ("one-vs-all --contamination 1", "contamination is 1.0"),
        ("one-vs-all --methods magic", "there is no method 'magic'"),
        ("one-vs-all --data mars", "'mars' is no data set known by name"),
        ("ablation variance-weight --classes cat", "variance-weight is measured by linear evalu"),
        ("one-vs-all --shard 3/2", "shard is '3/2'; give a part and their number, as 2/3"),
        ("ood --against mars:there", "'mars' is no data set known by name"),
        ("ood --against svhn", "svhn needs a path; give it as svhn:PATH"),
        ("ood --against ,", "against is empty"),
        ("ablation magic", "there is no ablation 'magic'"),
    ],
)
def test_wrong_words_are_told_in_a_sentence(
    words: str, told: str, tmp_path: Path, digits_as_cifar10: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = "" if "--data" in words else "--data cifar10"
    assert bench(words, f"{data} --path {digits_as_cifar10} --out {tmp_path / 'out'}") == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("words", "code"), [([], 2), (["--help"], 0)])
def test_protocols_are_listed(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("bench", *words) == code
    shown = "".join(capsys.readouterr())
    for name in (
        "one-vs-all",
        "ood",
        "cross-type",
        "few-labels",
        "linear",
        "ablation",
        "prototypes",
        "merge",
    ):
        assert name in shown

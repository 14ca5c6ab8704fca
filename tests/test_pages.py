"""Every block of the pages runs, in a folder of small images and one trained model.

``python`` runs as it stands; ``bash`` are commands, run with the least training there is and frames
and tiles of the size of the images, and what they start (a service, a watch, a page) runs until the
page ends; of ``sh``, which needs what no test has (an index, a bucket, several machines, hours) or
starts Ray for a quarter of a minute (``tests/bulk/test_ray_cluster.py`` does, once for all),
commands and benchmarks only have their flags read; ``toml`` is the file ``choices.toml``; and every
line of ``output`` is printed by the block before it, where ``...`` stands for anything. Addresses
of services are those at which they run. The sections of the page on integrations run one by one, in
``test_integrations_page.py``.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from functools import wraps
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import tyro
from PIL import Image
from pyarrow import table
from pyarrow.parquet import write_table
from running import HASTY, Command, run
from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser
from sybil.region import Lexeme

from anomem.cli.app import COMMANDS, GROUPS
from anomem.cli.parse import parse

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"commands.md", "choices.md", "integrations.md"}
"""Written as the site is built, or run by another test."""
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if page.name not in ELSEWHERE
]
STAYS = {"label", "serve", "watch"}
"""Commands that work until they are told to end."""
FRAMES = {"--resize", "--letterbox"}
SMALL = ["--images.size", "64", "64", "--memory.sizes", "64", "64", "--device", "cpu"]


@pytest.fixture(scope="session")
def place(
    folders: dict[str, Path], model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Digits as parts: zeros are normal."""
    place = tmp_path_factory.mktemp("place")
    good, bad = sorted(folders["train"].iterdir()), sorted(folders["anomalous"].iterdir())
    fresh = sorted(folders["normal"].iterdir())
    for folder, files in {
        "good": good[:60],
        "more_good": fresh[:30],
        "new_kind": bad[60:90],
        "test/good": fresh[30:],
        "test/bad": bad[:10],
        "found": bad[10:22],
        "bad": bad[22:30],
        "incoming": [*fresh[:6], bad[30], *fresh[6:8]],
    }.items():
        (place / folder).mkdir(parents=True)
        for number, file in enumerate(files, 1):
            shutil.copy(file, place / folder / f"{number:03}.png")
    for images, masks in (("test/bad", "ground_truth/bad"), ("found", "masks")):
        (place / masks).mkdir(parents=True)
        for file in (place / images).iterdir():
            mask = np.zeros((16, 16), np.uint8)
            mask[4:12, 4:12] = 255
            Image.fromarray(mask).save(place / masks / f"{file.stem}_mask.png")
    shutil.copy(place / "incoming/007.png", place / "odd.png")
    for number in range(1, 61):
        for name, folder in (("lots", "lot"), ("patients", "patient")):
            (place / name / f"{folder}{number % 6}").mkdir(parents=True, exist_ok=True)
            copy = place / name / f"{folder}{number % 6}" / f"{number:03}.png"
            shutil.copy(place / f"good/{number:03}.png", copy)
    answers = "image,answer\n001.png,normal\n007.png,anomalous\n"
    (place / "incoming/labels.csv").write_text(answers)
    for number in (7, 8):
        shutil.copy(place / f"incoming/{number:03}.png", place)
    for name in ("model", "tiles", "bottle", "transistor"):
        shutil.copytree(model_folder, place / name)
    return place


@pytest.fixture(scope="session")
def data_place(place: Path) -> Path:
    """Beside them lists of parts, a shard, scans that come with pydicom, a film of gravel."""
    av = pytest.importorskip("av")
    from pydicom.data import get_testdata_file
    from skimage import data

    rows = [(f"good/{number:03}.png", "good", "train") for number in range(1, 31)]
    rows += [(f"test/good/{number:03}.png", "good", "test") for number in range(1, 11)]
    rows += [(f"test/bad/{number:03}.png", "defect", "test") for number in range(1, 6)]
    lines = ["image,label,split", *(",".join(row) for row in rows)]
    (place / "parts.csv").write_text("\n".join(lines))
    for split in ("train", "test"):
        files = [(file, label) for file, label, of in rows if of == split]
        images = [{"id": index, "file_name": file} for index, (file, _) in enumerate(files)]
        annotations = [
            {"id": index, "image_id": index, "bbox": [0, 0, 8, 8]}
            for index, (_, label) in enumerate(files)
            if label == "defect"
        ]
        coco = {"images": images, "annotations": annotations}
        (place / f"coco_{split}.json").write_text(json.dumps(coco))
    (place / "shards").mkdir()
    encoded = [file.read_bytes() for file in sorted((place / "good").iterdir())]
    write_table(table({"image": encoded}), place / "shards/0.parquet")
    (place / "scans").mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        shutil.copy(str(get_testdata_file(name)), place / "scans")
    with av.open(place / "line.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width = stream.height = 32
        for index in range(100):
            picture = np.stack([data.gravel()[index : index + 32, :32]] * 3, axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    return place


def commands_of(block: str) -> list[list[str]]:
    """The words of each line, comments left out and continued lines joined."""
    lines = (shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines())
    return [words for words in lines if words]


def understood(example: Example) -> None:
    """Commands and benchmarks that cannot run here read their flags."""
    for words in commands_of(example.parsed):
        if "anomem" in words:
            arguments = parse(words[words.index("anomem") + 1 :], COMMANDS, GROUPS)
            assert arguments.json is False
        elif words[0] == "python" and words[1].endswith(".py"):
            read_flags(ROOT / words[1], words[2:])


def kept(example: Example) -> None:
    """A file of choices is there for the commands that follow."""
    Path("choices.toml").write_text(example.parsed)


def read_flags(script: Path, words: list[str]) -> None:
    """A benchmark reads its flags and does nothing; wrong ones exit."""
    module = import_module(script.stem)
    assert module.__file__ == str(script)
    does = module.main if hasattr(module, "main") else module.COMMANDS[words.pop(0)]

    @wraps(does)
    def nothing(*_: object, **__: object) -> None: ...

    tyro.cli(nothing, args=words, config=(tyro.conf.OmitArgPrefixes,))


class Shell:
    """Runs commands of a page to their end, but those that stay, which it ends itself."""

    def __init__(self) -> None:
        self._staying: dict[str, Command] = {}
        self._addresses: dict[str, str] = {}

    def __call__(self, example: Example) -> None:
        """Commands end well, or begin to work."""
        for program, *given in commands_of(example.parsed):
            if program == "curl":
                self._ask(given)
            else:
                assert program == "anomem"
                words = [
                    "16" if before in FRAMES or before == "--tile" else word
                    for before, word in zip(["", *given], given, strict=False)
                ]
                if words[0] in STAYS:
                    self._begin(*words)
                else:
                    assert run(*words, *least(words)) == 0, words

    def _begin(self, *words: str) -> None:
        """Start a command that stays, at any port that is free."""
        port = words[words.index("--port") + 1] if "--port" in words else "8000"
        if words[0] == "watch":
            self.end("watch")  # two write no one file
            moment = b" is watched"
        else:
            words, moment = (*words, "--port", "0"), b"http://"
        command = Command(*words, "--device", "cpu")
        self._staying[f"{words[0]} {port}"] = command
        command.wait_for(lambda: moment in command.out)
        assert command.runs, command.err
        if words[0] == "serve":
            found = re.search(rb"http://\S+", command.out)
            assert found is not None
            self._addresses[f"127.0.0.1:{port}"] = urlsplit(found[0].decode()).netloc

    def addressed(self, block: Lexeme) -> Lexeme:
        """A block with the addresses at which services run."""
        text = str(block)
        for written, running in self._addresses.items():
            text = text.replace(written, running)
        return Lexeme(text, block.offset, block.line_offset)

    def _ask(self, given: list[str]) -> None:
        """Ask a service of the page."""
        if shutil.which("curl") is None:
            return
        kept = given[-1] if ">" in given else os.devnull
        given = given[: given.index(">")] if ">" in given else given
        subprocess.run(["curl", "--fail", "--silent", "--output", kept, *given], check=True)
        assert kept == os.devnull or Path(kept).stat().st_size

    def end(self, verb: str = "") -> None:
        """End what stays, or that of a verb; Ctrl-C may be ignored where no terminal is."""
        for name in [name for name in self._staying if name.startswith(verb)]:
            command = self._staying.pop(name)
            command.signal(signal.SIGTERM)
            assert command.ended() in (0, -signal.SIGTERM), command.err


def least(words: list[str]) -> list[str]:
    """What makes a training the least there is; its frame stays where a command says one."""
    if words[0] != "fit" or "--from" in words:
        return []
    if "pretrained" in words:
        return SMALL
    return HASTY[3:] if FRAMES & {*words} else HASTY


@pytest.mark.filterwarnings("ignore:alpha")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_runs(
    page: Path,
    data_place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(data_place, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def told(example: Example) -> None:
        heard = capsys.readouterr()
        for line in example.parsed.strip().splitlines():
            wanted = ".*".join(re.escape(part) for part in line.strip().split("..."))
            assert re.search(wanted, heard.out + heard.err), (line, heard)

    shell = Shell()
    document = Document.parse(
        str(page),
        PythonCodeBlockParser(),
        CodeBlockParser("bash", shell),
        CodeBlockParser("sh", understood),
        CodeBlockParser("toml", kept),
        CodeBlockParser("output", told),
    )
    try:
        for example in document.examples():
            if example.region.evaluator is not told:
                capsys.readouterr()
            example.parsed = shell.addressed(example.parsed)
            example.evaluate()
    finally:
        shell.end()


def test_no_command_stands_outside_of_the_blocks() -> None:
    """An indented block would be run by nobody."""
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        assert not re.search(r"^ {4,}(anomem|python|pip) ", text, re.MULTILINE), page


def test_every_equation_names_the_lines_that_compute_it() -> None:
    table = (ROOT / "docs/explain/method.md").read_text()
    rows = re.findall(r"^\| (\d) \| .* \| `anomem/(.+)\.py` \| `(.+)` \|$", table, re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, 10))
    for number, file, name in rows:
        module = import_module(f"anomem.{file.replace('/', '.')}")
        assert f"Eq. {number}" in attrgetter(name)(module).__doc__, (number, name)


@pytest.mark.parametrize("name", ["README", "CONTRIBUTING", "SECURITY"])
def test_links_of_pages_outside_of_the_site_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / f"{name}.md").read_text()):
        assert (ROOT / target).exists(), target

import contextlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from power import PowerCut, cut_power_at
from running import Command
from torch import Tensor

from anomem.detector.model_folder import (
    check_writable,
    checkpoint_of,
    folder_content,
    load_folder,
    prefixed,
    save_folder,
)
from anomem.detector.model_info import FORMAT_VERSION, load_description
from anomem.runtime.files import WriteError
from anomem.runtime.untrusted import ModelError
from anomem.training.checkpoint import under

OLD, NEW = {"w": torch.zeros(3)}, {"w": torch.ones(3), "half": torch.ones(2, 2).half()}


def loaded_number(path: Path) -> int:
    """The number of the model in a folder, which its description and its weights agree on."""
    description, tensors = load_folder(path)
    number = int(description["number"])
    assert (tensors["w"] == number).all()
    return number


def weight_files(path: Path) -> list[Path]:
    return sorted(path.glob("*.safetensors"))


def test_model_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model"
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last).requires_grad_()
    tensors = {"a": weight, "b": torch.tensor(3), "c": torch.randn(4, 6).T, "d": torch.zeros(0, 5)}
    save_folder(path, {"config": {"sizes": [1, 2]}, "note": None}, tensors)
    description, found = load_folder(path)
    assert description == load_description(path)
    assert description["config"] == {"sizes": [1, 2]} and description["note"] is None
    assert description["format_version"] == FORMAT_VERSION
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype
    assert sorted(file.name for file in path.iterdir()) == ["model.json", description["weights"]]
    assert [file.name for file in path.parent.iterdir()] == ["model"]


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    save_folder(tmp_path, {"number": 1}, NEW)
    assert loaded_number(tmp_path) == 1


@pytest.mark.parametrize("tensors", [OLD, NEW])
def test_model_is_replaced(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    path = tmp_path / "model"
    save_folder(path, {"number": 0}, OLD)
    number = int(tensors["w"][0])
    save_folder(path, {"number": number, "second": True}, tensors)
    assert loaded_number(path) == number and load_description(path)["second"]
    assert len(weight_files(path)) == 1


def test_power_cut_while_replacing_leaves_the_old_model_or_the_new(tmp_path: Path) -> None:
    found = []
    for call in range(1, 100):
        path = tmp_path / str(call)
        save_folder(path, {"number": 0}, OLD)
        with pytest.MonkeyPatch.context() as patch:
            made = cut_power_at(patch, call)
            with suppress(PowerCut):
                save_folder(path, {"number": 1}, NEW)
            done = made() < call
        found.append(loaded_number(path))
        save_folder(path, {"number": 2}, {"w": torch.full((3,), 2.0)})
        assert loaded_number(path) == 2 and len(list(path.iterdir())) == 2
        if done:
            break
    assert found == sorted(found) and len(found) > 8
    assert found[0] == 0 and found[-1] == 1


def test_power_cut_while_saving_anew_leaves_nothing_or_the_model(tmp_path: Path) -> None:
    found = []
    for call in range(1, 100):
        path = tmp_path / str(call) / "model"
        with pytest.MonkeyPatch.context() as patch:
            made = cut_power_at(patch, call)
            with suppress(PowerCut):
                save_folder(path, {"number": 1}, NEW)
            done = made() < call
        found.append((path / "model.json").exists() and loaded_number(path) == 1)
        save_folder(path, {"number": 1}, NEW)
        assert loaded_number(path) == 1 and len(list(path.iterdir())) == 2
        assert [file.name for file in path.parent.iterdir()] == ["model"]
        if done:
            break
    assert found == sorted(found) and len(found) > 6
    assert not found[0] and found[-1]


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(ModelError, match="holds other files and no model; give another folder"):
        save_folder(tmp_path, {}, OLD)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ModelError, match=r"thesis.txt is a file; give the name of a folder"):
        save_folder(tmp_path / "thesis.txt", {}, OLD)
    check_writable(tmp_path / "new")


def test_a_folder_that_is_there_for_a_model_is_filled(tmp_path: Path) -> None:
    fresh, link = tmp_path / "disk", tmp_path / "link"
    (fresh / "lost+found").mkdir(parents=True)
    (fresh / ".keep").touch()
    link.symlink_to(fresh)
    save_folder(link, {"number": 1}, NEW)
    assert link.is_symlink() and loaded_number(fresh) == 1
    (tmp_path / "work").mkdir()
    with contextlib.chdir(tmp_path / "work"):
        save_folder(Path("."), {"number": 0}, OLD)
    assert loaded_number(tmp_path / "work") == 0


def test_a_mounted_folder_is_filled(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("1m")
    assert checkpoint_of(disk).parent == disk
    save_folder(disk, {"number": 1}, NEW)
    with pytest.raises(WriteError, match=r"No space left on device\); free some space"):
        save_folder(disk, {"number": 2}, {"w": torch.full((2**19,), 2.0)})
    assert loaded_number(disk) == 1 and len(list(disk.iterdir())) == 2


def test_the_model_json_of_another_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"class_name": "Sequential"}')
    with pytest.raises(ModelError, match=r"holds a model.json that is of no anomem model"):
        save_folder(tmp_path, {}, OLD)


SAVE = """
import sys, time
from pathlib import Path
import torch
from anomem.detector.model_folder import save_folder

path, first, end = Path(sys.argv[1]), int(sys.argv[2]), time.monotonic() + 0.7
while time.monotonic() < end:
    for number in (first, first + 1):
        save_folder(path, {"number": number}, {"w": torch.full((20_000,), float(number))})
"""


def test_savers_and_readers_at_once_see_whole_models(tmp_path: Path) -> None:
    path = tmp_path / "model"
    savers = [Command(path, n, code=SAVE) for n in (0, 10)]
    seen = []
    while any(saver.runs for saver in savers):
        if (path / "model.json").exists():
            seen.append(loaded_number(path))
    assert [saver.ended() for saver in savers] == [0, 0]
    assert {0, 1, 10, 11} <= set(seen) and len(seen) > 20
    assert loaded_number(path) in (0, 1, 10, 11) and len(list(path.iterdir())) == 2


def test_the_files_of_a_model_are_of_one_model(tmp_path: Path) -> None:
    save_folder(tmp_path / "model", {"number": 1}, NEW)
    (tmp_path / "copy").mkdir()
    for name, content in folder_content(tmp_path / "model").items():
        (tmp_path / "copy" / name).write_bytes(content)
    assert loaded_number(tmp_path / "copy") == 1


def test_a_folder_whose_name_is_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9")
    save_folder(path, {"number": 1}, NEW)
    assert loaded_number(path) == 1


def test_other_files_beside_a_model_stay(tmp_path: Path) -> None:
    path = tmp_path / "model"
    save_folder(path, {"number": 0}, OLD)
    (path / "README.md").write_text("ours")
    save_folder(path, {"number": 1}, NEW)
    assert (path / "README.md").read_text() == "ours" and loaded_number(path) == 1


def test_no_model_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ModelError, match=r"is not a saved model \(no model.json\)"):
            load_folder(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "model.json is damaged"),
        (b'{"format_version": 3, "weig', "model.json is damaged"),
        (b"\xff\xfe\x00", "model.json is damaged"),
        (b"[1, 2]", "model.json is damaged"),
        (b"3", "model.json is damaged"),
        (b'{"weights": "weights-0123456789abcdef.safetensors"}', "model.json is damaged"),
        (b'{"format_version": 1, "weights": "x"}', "format version 1, this anomem reads"),
        (
            b'{"format_version": %d, "weights": "../w.safetensors"}' % FORMAT_VERSION,
            "no valid file of weights",
        ),
        (b'{"format_version": %d, "weights": 7}' % FORMAT_VERSION, "no valid file of weights"),
    ],
)
def test_damaged_description(tmp_path: Path, text: bytes, message: str) -> None:
    save_folder(tmp_path / "model", {}, OLD)
    (tmp_path / "model" / "model.json").write_bytes(text)
    with pytest.raises(ModelError, match=message) as error:
        load_folder(tmp_path / "model")
    assert "\n" not in str(error.value)


def test_damaged_weights(tmp_path: Path) -> None:
    save_folder(tmp_path / "model", {}, OLD)
    (file,) = weight_files(tmp_path / "model")
    whole = file.read_bytes()
    for content in (b"", whole[:4], whole[:-1], b"\x80\x04" + whole[2:], whole + b"more"):
        file.write_bytes(content)
        with pytest.raises(ModelError, match=f"{file.name} is damaged") as error:
            load_folder(tmp_path / "model")
        assert "\n" not in str(error.value)
    file.unlink()
    with pytest.raises(ModelError, match=file.name) as error:
        load_folder(tmp_path / "model")
    assert "\n" not in str(error.value)


def test_tensors_by_prefix() -> None:
    tensors = prefixed("network", {"a": torch.zeros(1)}) | prefixed("net", {"b": torch.ones(1)})
    assert list(tensors) == ["network.a", "net.b"]
    assert list(under("net", tensors)) == ["b"] and list(under("network", tensors)) == ["a"]

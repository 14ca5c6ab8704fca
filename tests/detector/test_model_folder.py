import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from running import Command
from safetensors.torch import load_file, save_file
from timm.models import create_model, save_for_hf
from torch import Tensor

from anomem import AnoMem, Config
from anomem.config.mapping import changed
from anomem.detector.estimator import load_trained

HOSTILE = Path(__file__).with_name("hostile_models.py")


@pytest.fixture
def copied(model_folder: Path, tmp_path: Path) -> Path:
    """A saved model to spoil."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def described(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "model.json"
    description = json.loads(file.read_text())
    change(description)
    file.write_text(json.dumps(description))


def weighed(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    (file,) = folder.glob("weights-*")
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(tensors)
    save_file(tensors, file)


def refused(folder: Path) -> str:
    with pytest.raises(ValueError, match=str(folder)) as told:
        load_trained(folder, device="cpu")
    assert str(told.value).isprintable() and len(str(told.value)) < 600
    return str(told.value)


@pytest.mark.parametrize(
    ("group", "choice", "value", "message"),
    [
        ("memory", "sizes", [10**7, 10**7], "at most 100000"),
        ("memory", "sizes", [99_999, 8], "99999 x 64 float32 where its choices ask|ask for 99999"),
        ("memory", "steps", 10**9, "steps is 1000000000; it must be at least 1, at most 1000"),
        ("encoder", "width", 10**6, "at most 1024"),
        ("encoder", "name", "vit_giant_patch14_dinov2", "cannot be built|ask for|missing|unknown"),
        ("encoder", "name", "hf-hub:timm/resnet18.a1_in1k", "is no model of timm's own"),
        ("encoder", "name", "local-dir:/etc", "is no model of timm's own"),
        ("encoder", "name", "no_such_net", "there is no encoder 'no_such_net'"),
        ("stage2", "hidden", 10**6, "hidden is 1000000"),
        ("stage2", "hidden", 10**4, "ask for"),
        ("stage1", "epochs", 1e300, "epochs is 1e.300"),
    ],
)
def test_choice_that_the_weights_do_not_bear_out(
    copied: Path, group: str, choice: str, value: Any, message: str
) -> None:
    described(copied, lambda about: about["config"][group].update({choice: value}))
    refusal = refused(copied)
    assert any(part in refusal for part in message.replace(".300", "+300").split("|"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("config", 3, "config is 3; it must be a mapping"),
        ("config", None, "config is None"),
        ("config", {"memory": [1]}, "memory"),
        ("shape", {"channels": 1, "height": 10**7, "width": 16}, "height is 10000000"),
        ("shape", {"channels": 2, "height": 16, "width": 16}, "must be 1 or 3"),
        ("shape", {"channels": 1, "height": 64, "width": 64}, "heat0.centres"),
        ("seed", -1, "seed is -1"),
        ("seed", "1", "seed is '1'"),
        ("summary", [], "summary is []"),
        ("summary", {"steps": 1}, "held_out_by_kind is None; it must be a list of pairs"),
        ("summary", {"steps": 1, "held_out_by_kind": [19]}, "held_out_by_kind has 19; it must be"),
        ("summary", {"steps": 1, "held_out_by_kind": [[5, 6]]}, "groups is 6; it must be"),
        ("summary", {"steps": float("nan")}, "NaN is no finite number"),
        ("summary", {"steps": 1, "\x1b[2J": float("inf")}, "Infinity is no finite number"),
    ],
)
def test_description_out_of_range(copied: Path, name: str, value: Any, message: str) -> None:
    described(copied, lambda about: about.update({name: value}))
    assert message in refused(copied)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"format_version": 2, "format_version": 2}', "'format_version' stands twice"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested over 32 deep"),
        (b" " * 2**21, "over 1048576 bytes"),
        (b'{"format_version": 1e999}', "no finite number"),
        (b'{"format_version": ' + b"9" * 5000 + b"}", "damaged"),
    ],
)
def test_text_that_is_no_description(copied: Path, text: bytes, message: str) -> None:
    (copied / "model.json").write_bytes(text)
    assert message in refused(copied)


@pytest.mark.parametrize("which", ["model.json", "weights"])
def test_what_is_no_regular_file_is_not_waited_for(copied: Path, which: str) -> None:
    (file,) = copied.glob(f"{which}*")
    for put in (os.mkfifo, Path.mkdir, lambda at: at.symlink_to("/dev/zero")):
        file.unlink() if not file.is_dir() else file.rmdir()
        put(file)
        assert "no regular file" in refused(copied)


def test_model_behind_links_is_read(copied: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in copied.iterdir():
        (linked / file.name).symlink_to(file)
    load_trained(linked, device="cpu")


@pytest.mark.parametrize("part", ["network.encoder", "network.memories", "scorer", "heat0",
                                  "bank.normals", "bank.held_out"])  # fmt: skip
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_number_that_is_not_finite(copied: Path, part: str, number: float) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        name = next(n for n, t in tensors.items() if n.startswith(part) and t.is_floating_point())
        tensors[name].view(-1)[-1] = number

    weighed(copied, spoil)
    assert "holds numbers that are not finite" in refused(copied)


@pytest.mark.parametrize(
    "name",
    ["scorer.one_class_units.std", "scorer.evidence_units.std",
     "scorer.stage2_units.std", "network.encoder.std",
     "heat0.width"],
)  # fmt: skip
@pytest.mark.parametrize("number", [0.0, -1.0])
def test_spread_that_is_not_above_0(copied: Path, name: str, number: float) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors[name].view(-1)[-1] = number

    weighed(copied, spoil)
    assert f"{name} is divided by and not above 0" in refused(copied)


def test_model_that_is_not_finite_is_not_saved_over_another(model: AnoMem, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    model.scorer_.one_class_units.mean.fill_(torch.nan)
    with pytest.raises(
        ValueError, match=r"'scorer\.one_class_units\.mean' holds numbers that are not finite"
    ):
        model.save(tmp_path / "model")
    load_trained(tmp_path / "model", device="cpu")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("held_out_image", lambda t: t + 1, "held_out_image holds numbers"),
        ("held_out_image", lambda t: t * 0, "a held-out image has no frame"),
        ("held_out_image", lambda t: t - 1, "held_out_image holds numbers"),
        ("held_out_image", lambda t: t[:-1], "does not fit the others"),
        ("held_out_digest", lambda t: t.float(), "does not fit the others"),
        ("held_out_kind", lambda t: t - 1, "held_out_kind holds numbers"),
        ("normals.pooled", lambda t: t[:, :-1], "does not fit the others"),
        ("normals.scores", lambda t: t[:3], "does not fit the others"),
        ("labelled.label", lambda _: torch.zeros(1, dtype=torch.int64), "does not fit the others"),
    ],
)
def test_reserve_that_does_not_fit(
    copied: Path, name: str, change: Callable[[Tensor], Tensor], message: str
) -> None:
    name = f"bank.{name}"
    weighed(copied, lambda tensors: tensors.update({name: change(tensors[name]).contiguous()}))
    assert message in refused(copied)


def test_tensor_that_belongs_to_nothing(copied: Path) -> None:
    weighed(copied, lambda tensors: tensors.update({"network.x": torch.zeros(1)}))
    assert "'network.x' is unknown" in refused(copied)


def test_encoder_of_a_folder_is_kept_by_its_architecture(
    hasty: Config, digits: dict[str, Any], tmp_path: Path
) -> None:
    """Who loads a model needs neither the hub nor the folder that its encoder came from."""
    save_for_hf(create_model("resnet10t"), str(tmp_path / "encoder"))
    config = changed(
        hasty,
        {
            "encoder__name": f"local-dir:{tmp_path / 'encoder'}",
            "encoder__width": None,
            "encoder__stem_stride": None,
            "encoder__pretrained": True,
        },
    )
    model = AnoMem(config, device="cpu").fit(digits["train"][:20])
    assert model.config_.encoder.name == "resnet10t"
    model.save(tmp_path / "model")
    for file in (tmp_path / "encoder").iterdir():
        file.unlink()
    again = load_trained(tmp_path / "model", device="cpu")
    scores = model.decision_function(digits["normal"][:3])
    assert (again.decision_function(digits["normal"][:3]) == scores).all()


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_spoilt_models_load_or_end_in_one_line(
    count: int, model_folder: Path, tmp_path: Path
) -> None:
    """In a process of its own, whose memory is bounded and which may not look at the network."""
    command = Command(model_folder, tmp_path / "spoilt", count, 0, code=HOSTILE.read_text())
    assert command.ended(600) == 0, command.err
    found = json.loads(command.out)
    assert found["wrong"] == []
    assert found["loaded"] > 0 and found["refused"] > count / 2
    assert found["bytes"] < 256 * 2**20

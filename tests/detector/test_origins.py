"""From which training images prototypes come: named, kept with the model, and checked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from anomem.config import Config, EncoderChoices, MemoryChoices
from anomem.detector.identity import Identities
from anomem.detector.json_tensor import as_tensor
from anomem.detector.origins import (
    Origin,
    keep_origins,
    origins_of,
    read_origins,
    tensor_of,
)
from anomem.model.network import MultiScaleMemory


def network(frames: list[int], places: list[int]) -> MultiScaleMemory:
    """Its first memory has prototypes of some frames and places."""
    encoder = EncoderChoices(name="resnet10t", width=8, stem_stride=2, frozen=True)
    memory = MemoryChoices(prototypes="places", sizes=(len(frames), 1))
    made = MultiScaleMemory(Config(encoder=encoder, memory=memory))
    made.place_memories()[0].origin = torch.tensor([frames, places]).T
    made.place_memories()[1].origin = torch.tensor([[frames[0], 0]])
    return made


def test_the_frames_of_an_image_are_its_tiles() -> None:
    known = Identities.by_pixels(["a.png", "b.png", "c.png"], torch.tensor([7, 8, 9]))
    found = origins_of(known, torch.tensor([0, 0, 0, 2]))
    assert found == [*(Origin("a.png", 7, tile) for tile in range(3)), Origin("c.png", 9, 0)]


def test_a_file_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").touch()
    monkeypatch.chdir(tmp_path)
    known = Identities.by_pixels(["a.png", "image 1"], torch.tensor([7, 8]))
    found = origins_of(known, torch.tensor([0, 1]))
    assert [each.image for each in found] == [str(tmp_path / "a.png"), "image 1"]


def test_two_images_of_one_name_are_two() -> None:
    known = Identities.by_pixels(["part.png", "part.png"], torch.tensor([7, 8]))
    found = origins_of(known, torch.tensor([0, 1]))
    assert found == [Origin("part.png", 7, 0), Origin("part.png", 8, 0)]


def test_only_frames_of_prototypes_are_kept() -> None:
    made = network([7, 2, 7, 5], [1, 2, 3, 4])
    frames = [Origin(f"{number}.png", number, 0) for number in range(9)]
    assert keep_origins(made, frames) == (frames[2], frames[5], frames[7])
    assert made.place_memories()[0].origin.tolist() == [[2, 1], [0, 2], [2, 3], [1, 4]]
    assert made.place_memories()[1].origin.tolist() == [[2, 0]]


def test_what_is_written_is_read() -> None:
    kept = (Origin("größe/1.png", 2**62, 0), Origin("b.png", 3, 12))
    assert read_origins(network([0, 1], [5, 6]), tensor_of(kept)) == kept


@pytest.mark.parametrize(
    "numbers",
    [
        as_tensor({"a.png": 0}),
        as_tensor([["a.png", 5], ["b.png", 5, 0]]),
        as_tensor([["a.png", 5, -1], ["b.png", 5, 0]]),
        as_tensor([["a.png", 5, True], ["b.png", 5, 0]]),
        as_tensor([[1, 5, 0], ["b.png", 5, 0]]),
        torch.tensor([-1]),
    ],
)
def test_what_names_no_frames_is_refused(numbers: Tensor) -> None:
    with pytest.raises(ValueError, match=r"origins of prototypes|JSON|utf"):
        read_origins(network([0, 1], [0, 0]), numbers)


@pytest.mark.parametrize(
    ("frames", "places"), [([0, 2], [0, 0]), ([0, -1], [0, 0]), ([0, 1], [0, -1])]
)
def test_a_prototype_of_no_frame_is_refused(frames: list[int], places: list[int]) -> None:
    with pytest.raises(ValueError, match="a prototype is of no frame"):
        read_origins(network(frames, places), tensor_of([Origin("a", 1, 0), Origin("b", 2, 0)]))

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from anomem.model.place_memory import k_centre
from anomem_bench.split import Caps
from few_labels import draws_of
from part_sets import PartSet, part_sets
from parts import Choices, main
from step import crops


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set in the layout of MVTec AD: photographs, and the same with a dot or a bar in white."""
    folder = tmp_path_factory.mktemp("sets") / "painted"
    images = crops(56, 64)
    named = [*(("train/good", i) for i in range(36)), *(("test/good", i) for i in range(36, 44))]
    named += [*(("test/bar", i) for i in range(44, 50)), *(("test/dot", i) for i in range(50, 56))]
    for place, number in named:
        mask = np.zeros((64, 64), dtype=np.uint8)
        mask[20:34, {"test/bar": slice(0, 64), "test/dot": slice(20, 34)}.get(place, [])] = 255
        files = {folder / place / f"{number}.png": np.maximum(images[number], mask[..., None])}
        if mask.any():
            truth = folder / place.replace("test", "ground_truth")
            files[truth / f"{number}_mask.png"] = mask
        for file, pixels in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    copied = folder / "train" / "good" / "0.png"
    (folder / "test" / "good" / "copy.png").write_bytes(copied.read_bytes())
    return folder


@pytest.fixture(scope="module")
def parts(painted: Path) -> PartSet:
    (found,) = part_sets(str(painted), 64, Caps(normals=36), 3)
    return found


def test_a_folder_gives_frames_masks_and_copies(parts: PartSet) -> None:
    assert parts.kinds == ("good", "bar", "dot") and parts.normals.shape == (36, 64, 64, 3)
    assert [name for name, copy in zip(parts.names, parts.copy, strict=True) if copy] == [
        name for name in parts.names if name.endswith("copy.png")
    ]
    assert parts.masks is not None
    for kind, frame, mask in zip(parts.kind, parts.tested, parts.masks, strict=True):
        assert mask.sum() == (0, 14 * 64, 14 * 14)[kind] and (frame[mask] == 255).all()


def test_classes_are_normal_in_turn_where_none_is_the_normal_one(tmp_path: Path) -> None:
    for number, image in enumerate(crops(12, 32)):  # of a cat and of an astronaut, by turns
        part, kind = ("train", "test")[number > 7], ("cat", "woman")[number % 2]
        (tmp_path / part / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / part / kind / f"{number}.png")
    sets = list(part_sets(f"folder:{tmp_path}", 32, Caps(normals=3, tested=1), most_classes=2))
    assert [each.kinds for each in sets] == [("cat", "woman"), ("woman", "cat")]
    for each in sets:
        assert each.name.endswith(each.kinds[0]) and len(each.normals) == 3
        assert [Path(name).parent.name for name in each.names] == list(each.kinds)
        assert each.masks is None and not each.copy.any()


def test_labelled_images_and_their_kind_are_not_tested(parts: PartSet) -> None:
    draws = list(draws_of(parts, (1, 3, 7), draws=2))
    counts = [(draw.kind, len(draw.labelled)) for draw in draws]
    assert (
        counts
        == [*product([""], [1, 3, 7])] * 2
        + [*product(["bar"], [1, 3])] * 2
        + [*product(["dot"], [1, 3])] * 2
    )
    for draw in draws:
        assert not set(draw.labelled) & set(draw.rest)
        assert parts.anomalous[draw.labelled].all() and not parts.copy[draw.rest].any()
        tested = {parts.kinds[kind] for kind in parts.kind[draw.rest]}
        assert "good" in tested and draw.kind not in tested


def test_the_command_measures_what_needs_no_anomalib(
    painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "parts.json"
    main(Choices((str(painted),), out, ("ours", "neighbours"), size=(32,), labels=(3,), draws=1))
    (found,) = json.loads(out.read_text())["sets"]
    kind, copy = np.array(found["kind"]), np.array(found["copy"])
    assert [each["method"] for each in found["methods"]] == ["ours", "neighbours"]
    for each in found["methods"]:
        scores = np.array(each["scores"])
        pairs = [*product(scores[kind > 0], scores[(kind == 0) & ~copy])]
        wins = np.mean([(odd > good) + (odd == good) / 2 for odd, good in pairs])
        assert each["auroc"] == pytest.approx(wins)
        assert each["fit_seconds"] > 0 and each["passes"]["ratio"] > 0 and each["size"] > 1e6
    ours, neighbours = found["methods"]
    assert ours["pixels"]["pixel_auroc"] > 0.8 and neighbours["pixels"] == {}
    assert [each["kind"] for each in found["labels"]] == ["", "bar", "dot"]
    assert "36 normals; tested 9 and 12 anomalies, less 1 copies" in capsys.readouterr().out


def test_the_farthest_place_is_next() -> None:
    places = torch.tensor(load_digits(return_X_y=True)[0][:300]).float()
    chosen = [7]
    while len(chosen) < 60:
        to_centres = torch.cdist(places, places[chosen]).amin(dim=1)
        chosen.append(int(to_centres.argmax()))
    assert k_centre(places, 60, 7).indices.tolist() == chosen

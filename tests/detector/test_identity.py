"""Images that stand more than once among those of a fit."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from anomem import AnoMem, Config
from anomem.detector.identity import Identities, known_file, measured_digests, tell_copies
from anomem.images.framing import Framing
from anomem.images.local import FileSource
from anomem.images.resize import ImageShape

Digits = dict[str, npt.NDArray[np.uint8]]


def known(digest: list[int]) -> Identities:
    names = [f"{index}.png" for index in range(len(digest))]
    return Identities.by_pixels(names, torch.tensor(digest))


def test_copies_are_held_out_with_their_image_or_not_at_all(hasty: Config, digits: Digits) -> None:
    twice = np.repeat(digits["train"][:30], 2, axis=0)
    with pytest.warns(UserWarning, match="30 of 60 normals are copies of others") as told:
        model = AnoMem(hasty, device="cpu").fit(twice)
    assert told[0].filename == __file__  # a warning points at who called
    bank = model.bank_
    assert not set(bank.held_out_digest.tolist()) & set(bank.trained_digest.tolist())
    assert len(model.calibration()) == 30 and model.calibration().groups == 15


def test_a_copy_in_another_lot_is_not_trained_on(hasty: Config, digits: Digits) -> None:
    images = digits["train"][:40].copy()
    images[::10] = images[0]
    lots = [f"lot {index // 10}" for index in range(40)]
    with pytest.warns(UserWarning, match="3 of 40 normals are copies of others"):
        model = AnoMem(hasty, device="cpu").fit(images, groups=lots)
    assert len(model.bank_.trained_digest) == 18
    assert model.calibration().groups == 2


def test_the_same_pixels_under_two_labels_are_refused(
    hasty: Config, digits: Digits, tmp_path: Path
) -> None:
    for index, image in enumerate(digits["train"][:12]):
        Image.fromarray(image).save(tmp_path / f"{index:02}.png")
    (tmp_path / "bad").mkdir()
    odd = tmp_path / "bad" / "again.png"
    Image.fromarray(digits["train"][7]).save(odd)
    with pytest.raises(ValueError, match=r"07\.png is among the normals and.*again\.png among"):
        AnoMem(hasty, device="cpu").fit(sorted(tmp_path.glob("*.png")), anomalies=odd)


def test_too_few_different_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"only 9 of 12 .*\(9\.png is one of 0\.png\)"):
        tell_copies(known([*range(9), 0, 1, 2]), np.arange(12))
    tell_copies(known(list(range(12))), np.arange(12))


def test_a_new_kind_is_made_of_new_images(model: AnoMem, digits: Digits) -> None:
    with pytest.raises(ValueError, match="120 of 120 images, as image 0, are normals of the model"):
        model.extend(digits["train"])
    new = np.concatenate([255 - digits["normal"][:40], digits["train"][:5]])
    with pytest.warns(UserWarning, match="5 of 45 images, as image 40, are normals of the model"):
        model.extend(new)
    assert model.bank_.held_out_kind.tolist() == [0] * 19 + [1] * 19


def test_a_file_is_read_by_its_name_only_where_its_pixels_are_known(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    own, other = tmp_path / "own.png", tmp_path / "other.png"
    for file, image in zip((own, other), pixels, strict=True):
        Image.fromarray(image).save(file)
    framing = Framing("resize", ImageShape(3, 16, 16))
    known = measured_digests(FileSource([own]), framing)
    found = known_file(str(own), framing, known)
    assert found is not None and np.array_equal(found, pixels[0])
    # Another image, a folder, what is not there, a name too long to ask for, a name of no file.
    for name in (str(other), str(tmp_path), str(own) + "x", "x" * 300, "a\0b"):
        assert known_file(name, framing, known) is None

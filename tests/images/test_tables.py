from pathlib import Path

import datasets
import numpy as np
import pandas
import pyarrow as pa
import pytest
from PIL import Image
from skimage import data

from anomem.images.open import open_images

PHOTO = data.astronaut()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    files = [str(tmp_path / f"{index}.png") for index in range(3)]
    for index, file in enumerate(files):
        Image.fromarray(PHOTO[:24, 32 * index : 32 * index + 32]).save(file)
    return files


def test_a_frame_stands_for_its_column_of_paths(files: list[str]) -> None:
    table = {"lot": [1, 1, 2], "path": files}
    frame = pandas.DataFrame(table)
    for x in (frame, frame[["path"]], frame.rename(columns={"path": "file_name"}), pa.table(table)):
        assert open_images(x).names == files
    assert open_images(frame[frame["lot"] == 2]).names == files[2:]
    pictures = pandas.DataFrame({"image": [Image.fromarray(PHOTO[:24]), Image.fromarray(PHOTO)]})
    np.testing.assert_array_equal(open_images(pictures)[1], PHOTO)
    with pytest.raises(TypeError, match="DataFrame has the columns lot and none is called image"):
        open_images(frame[["lot"]])


def test_images_of_hugging_face_are_decoded_as_files_are(files: list[str], tmp_path: Path) -> None:
    deep = (PHOTO[:8, :8, 0].astype(np.uint16) * 257)[..., None]
    Image.fromarray(deep[..., 0]).save(tmp_path / "deep.png")
    given = datasets.Dataset.from_dict(
        {"label": [0, 0, 1, 1], "photo": [*files, str(tmp_path / "deep.png")]}
    ).cast_column("photo", datasets.Image())
    given.to_parquet(tmp_path / "photos.parquet")
    stored = datasets.Dataset.from_parquet(
        str(tmp_path / "photos.parquet"), cache_dir=str(tmp_path / "cache")
    )
    for dataset in (given, stored):
        source = open_images(dataset)
        assert source.names == [f"image {index}" for index in range(4)]
        np.testing.assert_array_equal(source[1], PHOTO[:24, 32:64])
        np.testing.assert_array_equal(source[3], deep)  # Hugging Face would give it as it is, too
        chosen = open_images(dataset.filter(lambda row: row["label"] == 1))
        np.testing.assert_array_equal(chosen[0], PHOTO[:24, 64:96])
    with pytest.raises(IndexError):
        source[4]
    np.testing.assert_array_equal(open_images(stored.select([2])["photo"])[0], source[2])


def test_a_dataset_of_paths_is_a_list_of_files(files: list[str]) -> None:
    assert open_images(datasets.Dataset.from_dict({"path": files})).names == files


def test_what_has_no_images_by_number_says_what_to_give(files: list[str]) -> None:
    dataset = datasets.Dataset.from_dict({"image": files}).cast_column("image", datasets.Image())
    with pytest.raises(TypeError, match=r'A DatasetDict has .*; give one split, as x\["train"\]'):
        open_images(datasets.DatasetDict(train=dataset))
    with pytest.raises(TypeError, match="IterableDataset has no images by number; give a Dataset"):
        open_images(dataset.to_iterable_dataset())
    with pytest.raises(ValueError, match="The Dataset is empty"):
        open_images(dataset.select([]))
    features = datasets.Features(image=datasets.Image())
    missing = datasets.Dataset.from_dict({"image": [None]}, features)
    with pytest.raises(ValueError, match="image 0: the row has no image"):
        open_images(missing)[0]

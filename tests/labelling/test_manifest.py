import json
from pathlib import Path

import pytest

from anomem.labelling.manifest import Manifest, is_manifest


def names(found: list[str], folder: Path) -> list[str]:
    return [str(Path(each).relative_to(folder)) for each in found]


def read(folder: Path, text: str, name: str = "parts.csv") -> Manifest:
    (folder / name).write_text(text)
    return Manifest.read(str(folder / name))


def test_labels_and_splits_choose_the_images(tmp_path: Path) -> None:
    """The columns, and the words, are those of the splits that come with VisA."""
    manifest = read(
        tmp_path,
        "object,split,label,image,mask\n"
        "candle,train,normal,candle/1.JPG,\n"
        "candle,train,anomaly,candle/2.JPG,masks/2.png\n"
        "candle,Test,normal,candle/3.JPG,\n"
        "candle,test,anomaly,candle/4.JPG,masks/4.png\n"
        "candle,test,,candle/5.JPG,\n",
    )
    expected = {
        (0, "train"): ["1"],
        (1, "train"): ["2"],
        (0, "test"): ["3"],
        (1, "TEST"): ["4"],
        (None, "test"): ["3", "4", "5"],
        (0, None): ["1", "3"],
    }
    for (label, split), images in expected.items():
        paths = [f"candle/{image}.JPG" for image in images]
        assert names(manifest.images(label, split), tmp_path) == paths
    with pytest.raises(ValueError, match=r"no image of the split val \(it has test, train\); give"):
        manifest.images(split="val")


def test_a_list_without_labels_is_of_what_it_is_given_as(tmp_path: Path) -> None:
    manifest = read(tmp_path, "path\tline\nb.png\t1\na.png\t2\nb.png\t3\n", "parts.tsv")
    for label in (0, 1, None):
        assert names(manifest.images(label, "train"), tmp_path) == ["b.png", "a.png"]


def test_a_page_of_answers_is_one(tmp_path: Path) -> None:
    manifest = read(
        tmp_path, "image,answer,time\n1.png,normal,\n2.png,skipped,\n3.png,anomalous,\n"
    )
    assert names(manifest.images(0), tmp_path) == ["1.png"]
    with pytest.raises(
        ValueError, match=r"line 2 says 'crack', .*; kinds of defects belong in a column of"
    ):
        read(tmp_path, "image,label\n1.png,crack\n").images()
    with pytest.raises(ValueError, match="has the columns picture, label and not image"):
        read(tmp_path, "picture,label\n1.png,good\n").images()
    with pytest.raises(ValueError, match="there is no anomalous image; give others"):
        read(tmp_path, "image,label\n1.png,good\n").images(1)


def test_images_of_coco_are_anomalous_where_something_is_annotated(tmp_path: Path) -> None:
    content = {
        "images": [{"id": index, "file_name": f"images/{index}.png"} for index in range(4)],
        "annotations": [
            {"id": 1, "image_id": 2, "category_id": 7, "bbox": [1, 2, 3, 4]},
            {"id": 2, "image_id": 2, "category_id": 8, "bbox": [1, 2, 3, 4]},
            {"id": 3, "image_id": 3, "category_id": 8, "bbox": [0, 0, 9, 9]},
        ],
        "categories": [{"id": 7, "name": "scratch"}, {"id": 8, "name": "good"}],
    }
    manifest = read(tmp_path, json.dumps(content), "parts.json")
    normal = ["images/0.png", "images/1.png", "images/3.png"]
    assert names(manifest.images(0, "train"), tmp_path) == normal
    assert names(manifest.images(1, "test"), tmp_path) == ["images/2.png"]
    with pytest.raises(
        ValueError, match=r"parts.json is no COCO file \(KeyError: 'images'\); give"
    ):
        read(tmp_path, "{}", "parts.json")


def test_only_files_are_manifests(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    (tmp_path / "B.CSV").touch()
    assert [is_manifest(str(tmp_path / name)) for name in ("a.csv", "B.CSV", "c.csv")] == [
        *(False, True, False)
    ]

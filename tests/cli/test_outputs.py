import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from anomem.cli.outputs import picture_files, refuse_among_images, refuse_input, refuse_report
from anomem.images.open import open_images
from anomem.report.heat import save_heat


def photograph(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), 99).save(file, format="png")
    return file


def test_heat_maps_keep_the_folders_below_the_common_one_and_share_no_file() -> None:
    given = ["/data/a/x.png", "/data/b/x.png", "/data/b/x.jpg", "/data/b/x.jpg.png", "/data/b/x"]
    files = picture_files(given, Path("heat"), "heat map")
    assert files == {
        "/data/a/x.png": Path("heat/a/x.png.heat.png"),
        "/data/b/x.png": Path("heat/b/x.png.heat.png"),
        "/data/b/x.jpg": Path("heat/b/x.jpg.heat.png"),
        "/data/b/x.jpg.png": Path("heat/b/x.jpg.png.heat.png"),
        "/data/b/x": Path("heat/b/x.heat.png"),
    }
    assert picture_files([], Path("heat"), "heat map") == {}
    assert picture_files(["x.png"], Path("heat"), "heat map") == {
        "x.png": Path("heat/x.png.heat.png")
    }


def test_a_heat_map_replaces_a_heat_map_and_nothing_else(tmp_path: Path) -> None:
    (file,) = picture_files(["x.png"], tmp_path, "heat map").values()
    save_heat(np.zeros((4, 4), np.float32), file)
    assert picture_files(["x.png"], tmp_path, "heat map") == {"x.png": file}
    for make in (photograph, Path.mkdir, lambda file: file.symlink_to(photograph(tmp_path / "y"))):
        file.unlink() if file.is_file() else file.rmdir()
        make(file)
        with pytest.raises(ValueError, match=f"{file.name} is there and is no heat map; give anot"):
            picture_files(["x.png"], tmp_path, "heat map")


def test_heat_maps_do_not_go_among_images_of_others(tmp_path: Path) -> None:
    photograph(tmp_path / "other" / "007.JPG")
    with pytest.raises(ValueError, match=r"other holds images, as 007\.JPG, and heat maps beside"):
        picture_files(["x.png"], tmp_path / "other", "heat map")
    (tmp_path / "heat").mkdir()
    save_heat(np.zeros((4, 4), np.float32), tmp_path / "heat" / "y.png.heat.png")
    assert picture_files(["x.png"], tmp_path / "heat", "heat map")


def test_pictures_do_not_go_among_the_images(tmp_path: Path) -> None:
    images = tmp_path / "images"
    names = [str(photograph(images / "cam1" / "x.png")), str(photograph(images / "y.png"))]
    (tmp_path / "link").symlink_to(images)
    for folder, given in (
        (images, [images]),
        (images / "heat", [images]),
        (images / "cam1", [images / "*" / "x.png"]),
        (images / "heat", [images / "**" / "*.png"]),
        (images / "heat", [f"file://{images}"]),
        (tmp_path / "link" / "heat", [images]),
        (images / "heat", [tmp_path / "link"]),
        (images / ".." / "images" / "heat", [images]),
    ):
        with pytest.raises(ValueError, match=r"(heat|images|cam1) lies among the images"):
            refuse_among_images(folder, given, names)
    refuse_among_images(tmp_path / "heat", [images], names)
    refuse_among_images(tmp_path, [images], names)
    refuse_among_images(images / "heat", [images / "*" / "x.png"], names)


def test_a_table_is_no_input(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    content = photograph(tmp_path / "x.png").read_bytes()
    pyarrow.parquet.write_table(pa.table({"image": [content]}), tables / "a.parquet")
    (tmp_path / "link.parquet").symlink_to(tables / "a.parquet")
    source = open_images(tables)
    for file in (tables / "a.parquet", tmp_path / "link.parquet"):
        with pytest.raises(ValueError, match="is one of the inputs; give another path"):
            refuse_input(file, [tables], source)
    with pytest.raises(ValueError, match="lies among the images"):
        refuse_input(tables / "scores.parquet", [tables], source)
    refuse_input(tables / "scores.csv", [tables], source)
    refuse_input(tmp_path / "scores.parquet", [tables], source)
    odd = photograph(tmp_path / "image.csv")
    with pytest.raises(ValueError, match="is one of the inputs"):
        refuse_input(odd, [odd], open_images([odd]))
    assert os.path.getsize(odd)


def test_a_report_replaces_no_image_no_mask_and_no_part_of_the_model(tmp_path: Path) -> None:
    image, mask = photograph(tmp_path / "a" / "x.png"), photograph(tmp_path / "b" / "x_mask.png")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    given = (tmp_path / "model", [str(image), "s3://bucket/y.png"], [mask])
    for file in (image, mask, tmp_path / "link" / "x.png", tmp_path / "model" / "model.json"):
        with pytest.raises(ValueError, match="is one of the inputs; give another path"):
            refuse_report(file, *given)
    for folder in ("a", "model"):
        refuse_report(tmp_path / folder / "report.html", *given)

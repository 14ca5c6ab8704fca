import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image
from sklearn.datasets import load_digits


@pytest.fixture(scope="session")
def digits_as_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits in the files of CIFAR-10, 32 x 32; digit 0 bears the name airplane, and so on."""
    folder = tmp_path_factory.mktemp("cifar10")
    pixels, digit = load_digits(return_X_y=True)
    small = (pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    for name, part in (("train", slice(0, 1200)), ("test", slice(1200, None))):
        images = []
        for image in small[part]:
            file = io.BytesIO()
            Image.fromarray(image).resize((32, 32)).convert("RGB").save(file, "png")
            images.append({"bytes": file.getvalue(), "path": None})
        table = pa.table({"image": images, "label": digit[part]})
        parquet.write_table(table, folder / f"{name}.parquet")
    return folder

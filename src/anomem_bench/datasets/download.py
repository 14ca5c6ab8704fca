"""Data sets that their owners let anyone download, and where to get the others."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError

from torchvision.datasets import CIFAR10, CIFAR100, SVHN  # type: ignore[import-untyped]
from torchvision.datasets.utils import (  # type: ignore[import-untyped]
    download_and_extract_archive,
    download_url,
)

from anomem_bench.datasets.folders import MVTEC
from anomem_bench.datasets.lsun import SOURCE as LSUN
from anomem_bench.datasets.wmca import SOURCE as WMCA


class Download(NamedTuple):
    """Names a file of a data set: where it is, its checksum, and whether to unpack it."""

    url: str
    md5: str
    is_archive: bool = True


FILES = {
    "cifar10": [Download(CIFAR10.url, CIFAR10.tgz_md5)],
    "cifar100": [Download(CIFAR100.url, CIFAR100.tgz_md5)],
    "svhn": [
        Download(url, md5, is_archive=False)
        for url, _, md5 in (SVHN.split_list["train"], SVHN.split_list["test"])
    ],
    "cub200": [
        Download(
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
            "97eceeb196236b17998738112f37df78",
        )
    ],
    "visa": [
        Download(
            "https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
            "ef908989b6dc701fc218f643c127a4de",
        )
    ],
}
"""The files of each data set, by its name."""
ELSEWHERE = {
    "mvtec_ad": f"its licence is agreed to at {MVTEC}",
    "wmca": f"it needs a signed licence, see {WMCA}",
    "lsun": f"its databases are at {LSUN}, without checksums",
    "elpv": "it comes in a package; pip install 'anomem[bench]'",
}
"""Where to get the sets that are not downloaded."""


def download(name: str, out: Path) -> None:
    """Download a data set, check it, and unpack it.

    What is there already, and is whole, is not downloaded again.

    Args:
        name: Of the set.
        out: Folder for its files; made if need be.

    Raises:
        ValueError: The set is unknown or cannot be downloaded freely, or a file is not what it
            should be.
    """
    if name in ELSEWHERE:
        raise ValueError(f"{name} is not downloaded: {ELSEWHERE[name]}.")
    if name not in FILES:
        known = ", ".join([*FILES, *ELSEWHERE])
        raise ValueError(f"{name!r} is no data set with its own address; give one of: {known}.")
    for file in FILES[name]:
        get = download_and_extract_archive if file.is_archive else download_url
        try:
            get(file.url, str(out), md5=file.md5)
        except URLError as error:
            raise ValueError(
                f"{file.url} cannot be reached ({error.reason}); try again, or put the file into "
                f"{out} by hand."
            ) from error
        except RuntimeError as error:
            raise ValueError(f"{file.url} is not the official file ({error}).") from error

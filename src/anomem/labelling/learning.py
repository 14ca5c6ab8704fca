"""What a detector learns from the answers of a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from anomem.detector.estimator import AnoMem
from anomem.images.decode import open_file
from anomem.images.errors import ImageError
from anomem.images.local import FileSource
from anomem.images.read import read


def learn_from(model: AnoMem, labels: Mapping[str, int]) -> dict[str, str]:
    """Adapt a detector to the labels of files, those left out that can no longer be read.

    Args:
        model: Is adapted.
        labels: 0 normal, 1 anomalous, -1 not labelled, by path.

    Returns:
        Of each file left out, the sentence that says why.

    Raises:
        ValueError: None can be read.
    """
    try:
        _adapt(model, labels)
        return {}
    except ImageError:
        files = list(labels)
        found = read(_source(files), range(len(files)), model.framing_).errors
        errors = {files[index]: str(error) for index, error in found.items()}
        if len(errors) == len(files):
            raise
        _adapt(model, {file: label for file, label in labels.items() if file not in errors})
        return errors


def missing(files: Iterable[str]) -> dict[str, str]:
    """Say why files are not there any more or cannot be opened, one sentence each."""
    errors = {}
    for file in files:
        try:
            open_file(Path(file)).close()
        except ImageError as error:
            errors[file] = str(error)
    return errors


def _adapt(model: AnoMem, labels: Mapping[str, int]) -> None:
    given = {file: label for file, label in labels.items() if label != -1}
    if len(given) < len(labels):
        model.forget(_source(file for file in labels if file not in given))
    if given:
        model.adapt(_source(given), list(given.values()))


def _source(files: Iterable[str]) -> FileSource:
    return FileSource([Path(file) for file in files])

"""The loop of a watched folder: what arrives is scored, written down, and sorted away."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from anomem.decision.calibrate import p_values
from anomem.evaluation.drift import Drift
from anomem.images.decode import open_file
from anomem.images.errors import ImageError
from anomem.images.local import version_of_file
from anomem.images.source import BytesSource
from anomem.runtime.files import replacing
from anomem.runtime.printing import tell
from anomem.runtime.untrusted import one_line
from anomem.watching.arrivals import Arrivals
from anomem.watching.results import Result, ResultFile

if TYPE_CHECKING:
    from anomem.decision.ready import ReadyDetector

_BATCH = 16
"""Images that are scored together, and whose lines reach the disk together."""


@dataclass(frozen=True)
class Destinations:
    """Names where images and pictures go.

    Attributes:
        sort_into: Folder with normal/, anomalous/ and unreadable/; None leaves images where they
            are.
        heat_maps: Folder of a heat map an image, or None.
    """

    sort_into: Path | None = None
    heat_maps: Path | None = None


@dataclass(frozen=True)
class _Image:
    """A file as it was read; what is scored, digested and moved is one and the same."""

    path: Path
    name: str
    version: str
    content: bytes
    error: str | None
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha256", hashlib.sha256(self.content).hexdigest())


class Watched:
    """Scores every image that appears in a folder once, also after a kill.

    An image is a file by its path and content. Once its line is on the disk it has been scored;
    what was to follow, as that it is moved, is made up for at the next start. A file that is
    replaced by other content is another image.

    Args:
        model: A fitted detector, or an exported one.
        revision: What tells the model from others; the test of drift begins anew with another.
        rule: See ``AnoMem.threshold``.
        folder: That is watched.
        results: Opened for writing.
        destinations: Of images and heat maps.
    """

    def __init__(
        self,
        model: ReadyDetector,
        revision: str,
        rule: str,
        folder: Path,
        results: ResultFile,
        destinations: Destinations,
    ) -> None:
        self._model, self._revision = model, revision
        self._threshold, self._calibration = model.threshold(rule), model.calibration()
        self._folder, self._results, self._destinations = folder.resolve(), results, destinations
        self._drift = Drift(self._calibration)
        self._known: dict[str, Result] = {}
        self.counts = Counter[str]()
        for result in results.read():
            if result.model == revision and result.score is not None:
                self._drift.take(result.path, result.score)
            self._settle(result)
        self._arrivals = Arrivals(self._folder, self._is_new)

    def run(self, stop: Event) -> None:
        """Score what is there and what comes, until told to stop."""
        for paths in self._arrivals.batches(stop):
            for start in range(0, len(paths), _BATCH):
                read = map(self._read, paths[start : start + _BATCH])
                if images := [image for image in read if image is not None]:
                    self._score(images)
                if stop.is_set():
                    return

    def _is_new(self, path: Path, version: str) -> bool:
        known = self._known.get(self._name(path))
        return known is None or known.version != version

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _read(self, path: Path) -> _Image | None:
        """Read a file; None where it is gone, is being changed, or holds what it held."""
        version, content, error = version_of_file(str(path)), b"", None
        try:
            with open_file(path) as file:
                content = file.read()
        except ImageError as problem:
            error = str(problem)
        except OSError as problem:
            error = f"{path}: the file cannot be read ({one_line(problem)}); copy it here again."
        image = _Image(path, self._name(path), version, content, error)
        if version != version_of_file(str(path)):
            self._arrivals.take(path)
            return None
        known = self._known.get(image.name)
        if known and known.sha256 == image.sha256:  # as where its time is set after it is written
            self._settle(replace(known, version=version))
            return None
        return image if version else None

    def _score(self, images: Sequence[_Image]) -> None:
        """Score images and write their lines; all else follows from the lines."""
        source = BytesSource([i.content for i in images], [str(i.path) for i in images])
        scores = self._model.score_images(source)
        p = p_values(scores.score, self._calibration)
        results: list[Result] = []
        for index, image in enumerate(images):
            error = image.error or scores.errors.get(index)
            if error is None:
                judged = (float(scores.score[index]), float(p[index]))
                results.append(self._readable(image, len(results), *judged))
            elif not self._arrivals.again(image.path, image.version):
                results.append(self._result(image, len(results), "unreadable", error=error))
        if results:
            self._results.append(results)
        for result in results:
            self._tell(result)
            self._settle(result)

    def _readable(self, image: _Image, before: int, score: float, p: float) -> Result:
        """What the line of an image says that has a score; its heat map is written."""
        change = self._drift.take(image.name, score)
        verdict = "anomalous" if score > self._threshold else "normal"
        result = self._result(image, before, verdict, score=score, p_value=p)
        if change is not None:
            result = replace(result, drift=change.as_json())
        folder = self._destinations.heat_maps
        if folder is None:
            return result
        from anomem.report.heat import save_heat

        file = folder.resolve() / f"{image.name}-{image.sha256[:8]}.heat.png"
        try:
            (heat,) = self._model.heat_maps(BytesSource([image.content], [str(image.path)]))
            save_heat(heat, file)
        except (OSError, ValueError, MemoryError) as error:
            tell(f"anomem: no heat map of {image.path}: {one_line(error)}", error=True)
            return result
        return replace(result, heat_map=str(file))

    def _result(
        self,
        image: _Image,
        before: int,
        verdict: str,
        *,
        score: float | None = None,
        p_value: float | None = None,
        error: str | None = None,
    ) -> Result:
        """What the line of an image says; ``before`` it are so many of its batch."""
        target = None
        if self._destinations.sort_into is not None:
            target = self._destinations.sort_into.resolve() / verdict / image.name
            if os.path.lexists(target):
                target = target.with_stem(f"{target.stem}-{image.sha256[:8]}")
        return Result(
            number=self._results.lines + before + 1,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            path=image.name,
            version=image.version,
            sha256=image.sha256,
            model=self._revision,
            score=score,
            p_value=p_value,
            threshold=self._threshold,
            verdict=verdict,
            error=error,
            heat_map=None,
            moved_to=None if target is None else str(target),
            drift=None,
        )

    def _settle(self, result: Result) -> None:
        """Know an image whose line is written while it is there, and move it if that is due."""
        path = self._folder / result.path
        version = version_of_file(str(path))
        if version and not (
            version == result.version
            and result.moved_to is not None
            and _moved(path, Path(result.moved_to), version)
        ):
            self._known[result.path] = result
        else:
            self._known.pop(result.path, None)

    def _tell(self, result: Result) -> None:
        self.counts[result.verdict] += 1
        if result.score is None:
            tell(f"anomem: {result.error}", error=True)
        else:
            tell(f"{result.path}: score {result.score:.2f}, {result.verdict}")
        if result.drift is not None:
            tell(f"anomem: {result.drift['words']}", error=True)


def _moved(path: Path, target: Path, version: str) -> bool:
    """Move a file of a version: whether it is no longer where it was."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(path, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with path.open("rb") as content, replacing(target) as copy:
                shutil.copyfileobj(content, copy)
            shutil.copystat(path, target)
            if version_of_file(str(path)) == version:
                path.unlink()
            return True
        if version_of_file(str(target)) != version:  # another has just taken its place
            os.replace(target, path)
            return False
    except OSError as error:
        tell(f"anomem: {path} stays there ({one_line(error)}).", error=True)
        return False
    return True

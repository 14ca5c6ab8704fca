"""Stored images larger than memory, streamed to the training in shuffled order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from importlib.util import find_spec
from itertools import count, islice
from typing import TypedDict

import numpy as np
from torch import Tensor

from anomem.images.errors import ImageError
from anomem.images.framing import Framing
from anomem.images.image_set import tensor_of
from anomem.images.read import read
from anomem.images.source import BytesSource, ImageSource, StoredSource

_RUN = 1000
"""Images read one after the other."""
_BUFFER = 10_000
"""Most encoded images that wait, among which the next one is drawn."""
_BUFFER_BYTES = 2**28
"""About the most bytes of those."""


class Stored(TypedDict):
    """Holds an image of the stream: what its file holds, its name, why it cannot be read or ""."""

    image: bytes
    name: str
    why: str


def check_streaming() -> None:
    """Refuse to stream, with a ValueError, where Hugging Face ``datasets`` is missing."""
    if find_spec("datasets") is None:
        raise ValueError("streaming needs pip install 'anomem[stream]'.")


class Stream:
    """Reads the frames of each step while the step before is trained on.

    Every pass takes the runs of the source in a new order, those of one process apart from those
    of the others, and draws from a buffer of what they hold (Hugging Face ``datasets``). So memory
    does not grow with the source, and what a step gets is a function of the seed, the step and the
    number of processes alone. To begin at a later step, what is before it is read again, though
    not decoded. In place of an image that cannot be read stands another one of its step.

    Args:
        source: Images, of which each is one frame.
        left_out: Indices of those that are not trained on.
        framing: How they become frames.
        batch: Frames a step, of this process.
        seed: Of the shuffles.
        rank: Of this process.
        world: Number of processes.
        decode_ahead: Decode while the step before is trained on too. Where the same cores do both,
            each waits for the other, and it takes longer.

    Attributes:
        errors: For the name of each image that could not be read so far, why.
    """

    def __init__(  # noqa: PLR0913 -- what a step gets is a function of all of them
        self,
        source: StoredSource,
        left_out: Collection[int],
        framing: Framing,
        *,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        decode_ahead: bool = False,
    ) -> None:
        check_streaming()
        from datasets import IterableDataset
        from datasets.distributed import split_dataset_by_node

        self.framing, self.batch, self.decode_ahead = framing, batch, decode_ahead
        self.errors: dict[str, str] = {}
        self._length, self._alone = len(source) - len(left_out), world == 1
        all_runs = IterableDataset.from_generator(
            _stored,
            gen_kwargs={
                # A list is what datasets shuffles and shares out.
                "runs": _shared_evenly(source.runs(min(_RUN, -(-len(source) // world))), world),
                "source": source,
                "left_out": frozenset(left_out),
            },
        )
        shuffled = all_runs.shuffle(seed=seed, buffer_size=_buffer(source))
        self._own = split_dataset_by_node(shuffled, rank=rank, world_size=world)
        self._thread = ThreadPoolExecutor(1, "stream")
        self._step = -1
        self._steps: Iterator[list[Stored]] = iter(())
        self._next: Future[list[Stored] | Tensor]

    def __len__(self) -> int:
        """Images of all processes."""
        return self._length

    def at(self, step: int) -> Tensor:
        """Give the frames of a step, counted from 0: (batch, C, H, W), uint8 or uint16.

        Raises:
            ImageError: None of its images can be read.
            OSError: The storage does not answer.
        """
        if step != self._step:
            self.begin(step)
        found = self._next.result()
        self._step = step + 1
        self._next = self._thread.submit(self._ahead, self._steps)
        return found if isinstance(found, Tensor) else self._frames(found)

    def begin(self, step: int) -> None:
        """Read on to a step, from the first one; of a process alone, from that of the same pass."""
        self._step, self._steps = step, self._from(step)
        self._next = self._thread.submit(self._ahead, self._steps)
        wait([self._next])

    def _ahead(self, steps: Iterator[list[Stored]]) -> list[Stored] | Tensor:
        stored = next(steps)
        return self._frames(stored) if self.decode_ahead else stored

    def _from(self, step: int) -> Iterator[list[Stored]]:
        before, number = step * self.batch, 0
        if self._alone:  # of several processes none knows how long its share of a pass is
            number, before = divmod(before, self._length)
        passes = islice(self._passes(number), before, None)
        while True:
            yield list(islice(passes, self.batch))

    def _passes(self, first: int) -> Iterator[Stored]:
        empty = 0
        for number in count(first):
            self._own.set_epoch(number)
            empty += 1
            for stored in self._own:
                empty = 0
                yield stored
            if empty > 1:  # one may be, where all that a process has in it is left out
                raise ValueError("a process has no image to train on; give fewer devices.")

    def _frames(self, stored: Sequence[Stored]) -> Tensor:
        names = [each["name"] for each in stored]
        source = BytesSource([each["image"] for each in stored], names)
        found = read(source, range(len(names)), self.framing)
        for index, why in found.errors.items():
            self.errors[names[index]] = stored[index]["why"] or str(why)
        if not len(found.images):
            raise ImageError(names[0], f"neither it nor the {len(names) - 1} after it can be read",
                             "give images")  # fmt: skip
        return tensor_of(found.images[np.arange(self.batch) % len(found.images)])


def _stored(
    runs: Sequence[range], source: StoredSource, left_out: frozenset[int]
) -> Iterator[Stored]:
    """The encoded images of runs, in order."""
    for run in runs:
        part = source.part(run.start, run.stop)
        for position, index in enumerate(run):
            if index not in left_out:
                content, why = _content(part, position)
                yield {"image": content, "name": part.names[position], "why": why}


def _content(source: ImageSource, index: int) -> tuple[bytes, str]:
    """What the file of an image holds; nothing, and why, where it cannot be read."""
    try:
        return source.encoded(index) or b"", ""
    except ImageError as error:
        return b"", str(error)


def _shared_evenly(runs: Sequence[range], world: int) -> list[range]:
    """Runs cut until so many processes have as many each, as else each would read all of them."""
    cut = list(runs)
    while len(cut) % world:
        longest = max(cut, key=len)
        cut.remove(longest)
        middle = len(longest) // 2
        cut += [longest[:middle], longest[middle:]]
    return cut


def _buffer(source: StoredSource) -> int:
    """Images that may wait, by the mean size of some."""
    some = np.linspace(0, len(source) - 1, 16).round().astype(int).tolist()
    mean = sum(len(_content(source, index)[0]) for index in some) / len(some)
    return int(min(max(_BUFFER_BYTES / max(mean, 1), 1), _BUFFER))

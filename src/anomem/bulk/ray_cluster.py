"""Shards of a corpus on a Ray cluster: Ray Data schedules, restarts and retries."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError

from anomem.bulk.partitions import Partitions, Shard, score_shard
from anomem.bulk.score_table import ScoreCounts
from anomem.detector.model_folder import folder_content
from anomem.images.decode_memory import BUDGET
from anomem.runtime.allocator import keep_freed_memory
from anomem.runtime.untrusted import one_line

_CPUS = 4
"""Of an actor without a GPU: enough to share a forward pass, and a detector in memory for each four
cores and not for each."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # of what its C++ side writes to standard error
}
"""Of the cluster that is started here, where the host has not chosen otherwise."""


def score_shards(
    shards: Sequence[Shard],
    model: Path,
    partitions: Partitions,
    *,
    rule: str,
    device: str = "auto",
) -> Iterator[ScoreCounts]:
    """Score shards on the cluster of RAY_ADDRESS, or one of this machine for as long as it takes.

    Args:
        shards: What to score.
        model: Folder of the model; only this machine need see it.
        partitions: Where the scores go; all machines must see it.
        rule: See ``AnoMem.threshold``.
        device: auto, cpu or cuda.

    Yields:
        What each shard came to, in the order they end.

    Raises:
        ValueError: The device is another one, or the cluster has none.
        RuntimeError: A shard failed, or no worker could start. A shard whose worker dies is redone,
            as often as that happens.
    """
    if not shards:
        return
    with _cluster():
        actors, cpus, gpus = _actors(device)
        content = ray.put(folder_content(model))
        on = "cuda" if gpus else "cpu"
        found = ray.data.from_items(
            [{"shard": pickle.dumps(shard)} for shard in shards], override_num_blocks=len(shards)
        ).map_batches(
            _Actor,
            fn_constructor_args=(content, partitions, rule, on, BUDGET.limit),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(shards))),
            num_cpus=cpus,
            num_gpus=gpus,
        )
        try:
            for row in found.iter_rows():
                if problem := row.pop("problem"):
                    raise RuntimeError(f"{problem} What is finished stays; mend that, call again.")
                yield ScoreCounts(**row)
        except RayError as error:
            raise RuntimeError(
                f"Ray gave up ({one_line(error)}); call again, what is finished stays."
            ) from error


class _Actor:
    """A detector, and the shards it is given."""

    def __init__(
        self, content: Any, partitions: Partitions, rule: str, device: str, memory: int
    ) -> None:
        from anomem.detector.load import load

        keep_freed_memory()
        BUDGET.limit = memory
        self._partitions, self._rule = partitions, rule
        with tempfile.TemporaryDirectory() as folder:
            for name, part in ray.get(content).items():
                Path(folder, name).write_bytes(part)
            self._model = load(folder, device=device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        counts, problem = ScoreCounts(), ""
        try:
            shard = pickle.loads(batch["shard"][0])
            counts = score_shard(self._model, shard, self._partitions, self._rule)
        except Exception as error:  # Ray would tell of it in a page
            problem = " ".join(str(error).split()) or type(error).__name__
        return {name: [value] for name, value in {**asdict(counts), "problem": problem}.items()}


@contextmanager
def _cluster() -> Iterator[None]:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of Ray's own settings
        with _no_standard_error():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray.data").setLevel(logging.CRITICAL + 1)
        ray.data.DataContext.get_current().enable_progress_bars = False
        with redirect_stdout(sys.stderr):  # Ray tells there of workers that died
            try:
                yield
            finally:
                ray.shutdown()


@contextmanager
def _no_standard_error() -> Iterator[None]:
    """Of the process, as Ray's C++ side writes there that its level of logging was set."""
    kept = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _actors(device: str) -> tuple[int, float, int]:
    """How many actors, and the CPUs and GPUs of each: one a GPU, or else one a few CPUs."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is {device!r}; give auto, cpu or cuda with the engine ray.")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpus = [node for node in nodes if node.get("GPU")]
    if with_gpus and device != "cpu":
        cpus = min(node.get("CPU", 0) / node["GPU"] for node in with_gpus)
        return int(sum(node["GPU"] for node in with_gpus)), cpus // 1 or cpus, 1
    if device == "cuda":
        raise ValueError("device is 'cuda' but the cluster has no GPU; give cpu or auto.")
    free = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    if not free:
        raise ValueError("the cluster has no CPU to spare; give it one.")
    least = min(_CPUS, *free)
    return sum(each // least for each in free), least, 0

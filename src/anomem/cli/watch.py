"""The command that watches a folder until it is told to stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from anomem.cli.arguments import Result, Watch
from anomem.cli.decision import tell_decision
from anomem.runtime.printing import counted, tell

if TYPE_CHECKING:
    from anomem.watching.results import ResultFile

_LAST_LINES = 5.0
"""Seconds that a webhook has for its last lines at the end; what is left is sent the next time."""


def watch(arguments: Watch) -> Result:
    """Score every image that appears in a folder, until SIGTERM or Ctrl-C."""
    from anomem.bulk.unfinished import made_by
    from anomem.cli.outputs import refuse_among_images
    from anomem.detector.load import load
    from anomem.runtime.files import try_folder
    from anomem.watching.results import ResultFile
    from anomem.watching.watched import Destinations, Watched

    if not arguments.folder.is_dir():
        raise ValueError(
            f"{arguments.folder} is no folder; make it, or give the one of the images."
        )
    destinations = Destinations(arguments.sort_into, arguments.heatmaps)
    for folder in filter(None, (arguments.sort_into, arguments.heatmaps)):
        refuse_among_images(folder, [arguments.folder], [])
        try_folder(folder)
    if arguments.heatmaps is not None:
        import anomem.report.heat  # noqa: F401 - where a library is missing it is told at once

    with ResultFile(arguments.out) as results, _stopped_by_signal() as stop:
        model = load(arguments.model, device=arguments.device)
        rule = arguments.rule or model.rule
        revision = made_by(arguments.model, rule)["description"]
        watched = Watched(model, revision, rule, arguments.folder, results, destinations)
        decided = tell_decision(model, rule)
        tell(f"{arguments.folder} is watched; {counted(results.lines, 'image')} known")
        with _sending(arguments.webhook, results, stop), suppress(KeyboardInterrupt):
            watched.run(stop)
    scored = dict(watched.counts)
    told = ", ".join(f"{number} {verdict}" for verdict, number in sorted(scored.items()))
    tell(f"{arguments.out}: {counted(sum(scored.values()), 'image')} scored now ({told or 'none'})")
    return {"results": str(arguments.out), "images": results.lines, "scored": scored, **decided}, 0


@contextmanager
def _stopped_by_signal() -> Iterator[Event]:
    """What SIGTERM sets, so that the batch that is being scored is still written down."""
    stop = Event()
    handlers: dict[int, Any] = {signal.SIGTERM: lambda *_: stop.set()}
    if sys.platform == "linux":
        # Who opens a file to write while it is asked whether somebody does would have this ended.
        handlers[signal.SIGIO] = signal.SIG_IGN
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _sending(url: str | None, results: ResultFile, stop: Event) -> Iterator[None]:
    """Send lines beside the scoring, where there is an address, and the last ones at its end."""
    if url is None:
        yield
        return
    import stamina

    from anomem.watching.webhook import Webhook

    stamina.instrumentation.set_on_retry_hooks([])  # they log the address
    webhook = Webhook(results.file, url)
    thread = Thread(target=webhook.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_LAST_LINES)

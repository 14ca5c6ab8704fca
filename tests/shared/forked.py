"""What ``running.Command`` gives, run in a process that was forked for it."""

import io
import os
import sys

words: list[str] = globals()["words"]
code: str = globals()["code"]
streams: list[str] = globals()["streams"]
environment: dict[str, str] = globals()["environment"]

os.environ.update(environment)
for number, stream in enumerate(streams, start=1):
    os.dup2(os.open(stream, os.O_WRONLY | os.O_APPEND), number)
for wrapper in (sys.stdout, sys.stderr):
    assert isinstance(wrapper, io.TextIOWrapper)
    wrapper.reconfigure(encoding=environment.get("PYTHONIOENCODING", "utf-8"))
sys.argv = ["-c", *words]
exec(code, {"__name__": "__main__"})

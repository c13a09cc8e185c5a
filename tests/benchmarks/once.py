"""What is done once in a process of its own: files of 200 MB, and many threads that have no token."""

import json
import re
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

THREADS = 32


def peak() -> int:
    """Returns the most memory that the process had, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10


def growth(kind: str, name: str, url: str, small: str, large: str) -> list[float]:
    """Returns by how many MB the peak grows for a large file, and the seconds that it takes."""
    move = getattr(import_module("files"), f"{name}_{kind}")
    move(url, small)
    before, start = peak(), time.perf_counter()
    move(url, large)
    return [(peak() - before) / 1e6, time.perf_counter() - start]


def stampede(name: str, url: str, token_url: str) -> list[float]:
    """Returns how many of the threads failed, and the seconds until all of them were done."""
    call = getattr(import_module("adapters"), name)(url, token_url)
    failed: list[BaseException] = []
    ready = threading.Barrier(THREADS + 1)

    def work() -> None:
        ready.wait()
        try:
            if not isinstance(call(), dict):
                failed.append(TypeError())
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return [len(failed), time.perf_counter() - start]


if __name__ == "__main__":
    kinds: dict[str, Callable[..., Any]] = {"stampede": stampede}
    kind, *rest = sys.argv[1:]
    print(json.dumps(kinds[kind](*rest) if kind in kinds else growth(kind, *rest)))

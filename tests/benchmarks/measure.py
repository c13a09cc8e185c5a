"""Measures peers block by block, in turns, so that what disturbs the machine disturbs all of them."""

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

from .peers import Peer, interpreter

WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Cost:
    """Medians of a call, in seconds."""

    cpu: float
    wall: float


class Worker:
    """A peer in a process of its own."""

    def __init__(self, peer: Peer, url: str, token_url: str, threads: int, pause: float) -> None:
        self.threads = threads
        command = [interpreter(peer.environment), WORKER, peer.adapter, url, token_url, threads, pause]
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(peer.path or "")},
        )
        if self.read() != ["ready"]:
            msg = f"{peer.name} cannot be measured"
            raise RuntimeError(msg)

    def read(self) -> list[str]:
        """Returns the words of the next line that the worker writes."""
        assert self.process.stdout
        return self.process.stdout.readline().split()

    def run(self, calls: int) -> Cost:
        """Makes so many calls in each thread."""
        assert self.process.stdin
        self.process.stdin.write(f"{calls}\n")
        self.process.stdin.flush()
        cpu, wall = map(float, self.read())
        return Cost(cpu / calls / self.threads, wall / calls / self.threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def measure(
    peers: Sequence[Peer],
    url: str,
    *,
    token_url: str = "",
    calls: int,
    rounds: int,
    threads: int = 1,
    pause: float = 0.0,
) -> dict[str, Cost]:
    """Returns what a call of each peer costs; one that cannot be measured is named on stderr."""
    found: dict[str, list[Cost]] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for peer in peers:
            try:
                worker = Worker(peer, url, token_url, threads, pause)
            except RuntimeError as error:
                print(error, file=sys.stderr)
            else:
                workers[peer.name] = stack.enter_context(worker)
        for _ in range(rounds):
            for name in random.sample(list(workers), len(workers)):
                found.setdefault(name, []).append(workers[name].run(calls))
    return {
        name: Cost(median(cost.cpu for cost in costs), median(cost.wall for cost in costs))
        for name, costs in found.items()
    }


def imports(modules: Sequence[tuple[str, Peer]], rounds: int) -> dict[str, Cost]:
    """Returns what the import of each module costs over an interpreter that imports nothing."""
    script = "import resource; u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for module, peer in random.sample(list(modules), len(modules)):
            for name in (module, ""):
                source = f"import {name}\n{script}" if name else script
                command = [str(interpreter(peer.environment)), "-c", source]
                taken = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                found.setdefault(name, []).append(float(taken))
    bare = median(found.pop(""))
    return {module: Cost(median(times) - bare, 0.0) for module, times in found.items()}

"""Measures peers block by block, in turns, so that what disturbs the machine disturbs all of them."""

import json
import os
import random
import subprocess
import sys
import tempfile
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
    warnings: int = 0


class Worker:
    """A peer in a process of its own."""

    def __init__(self, peer: Peer, url: str, token_url: str, threads: int, pause: float) -> None:
        self.threads = threads
        self.complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the worker
        command = [interpreter(peer.environment), WORKER, peer.adapter, url, token_url, threads, pause]
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
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
        self.complaints.close()

    @property
    def warnings(self) -> int:
        """How often a connection was thrown away as the pool was full."""
        self.complaints.seek(0)
        return self.complaints.read().count("pool is full")


def measure(
    peers: Sequence[Peer],
    url: str | dict[str, str],
    *,
    token_url: str = "",
    calls: int,
    rounds: int,
    threads: int = 1,
    pause: float = 0.0,
) -> dict[str, Cost]:
    """Returns what a call of each peer costs; one that cannot be measured is named on stderr.

    Each peer may have a URL of its own, by its name.
    """
    found: dict[str, list[Cost]] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for peer in peers:
            try:
                place = url if isinstance(url, str) else url[peer.name]
                worker = Worker(peer, place, token_url, threads, pause)
            except RuntimeError as error:
                print(error, file=sys.stderr)
            else:
                workers[peer.name] = stack.enter_context(worker)
        for _ in range(rounds):
            for name in random.sample(list(workers), len(workers)):
                found.setdefault(name, []).append(workers[name].run(calls))
        warnings = {name: worker.warnings for name, worker in workers.items()}
    return {
        name: Cost(median(cost.cpu for cost in costs), median(cost.wall for cost in costs), warnings[name])
        for name, costs in found.items()
    }


def once(peer: Peer, kind: str, *arguments: str) -> list[float] | None:
    """Returns what a fresh process of a peer measures; None where it fails, which is said on stderr."""
    command = [str(interpreter(peer.environment)), str(WORKER.with_name("once.py")), kind, peer.adapter]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        print(f"{peer.name} cannot be measured: {result.stderr[-300:]}", file=sys.stderr)
        return None
    return [float(number) for number in json.loads(result.stdout.splitlines()[-1])]


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

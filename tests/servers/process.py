"""Starts a server program, waits until it listens, and ends it again."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

HOST = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 30.0
ATTEMPTS = 5
PORT_TAKEN = ("in use", "Could not create listening sockets")  # the second is tinyproxy's

T = TypeVar("T")
Configure = Callable[[list[int]], Sequence[str | Path]]


class ServerError(Exception):
    """A server program did not come up; the message carries its log."""


def require(condition: T | None, reason: str) -> T:
    """Returns `condition` when it is true; otherwise skips, or fails with CRUDS_TEST_REQUIRE=all."""
    if condition:
        return condition
    if os.environ.get("CRUDS_TEST_REQUIRE") == "all":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def program(name: str, package: str) -> str:
    """Returns the path of a program of Debian's, which may lie in a folder that is not on PATH."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return require(shutil.which(name, path=path), f"{name} is missing: apt-get install {package}")


def require_distribution(name: str) -> None:
    """Skips, or fails, when a Python package is missing."""
    require(importlib.util.find_spec(name), f"{name} is missing: pip install {name}")


def free_ports(count: int) -> list[int]:
    """Returns different ports that nothing listens on; somebody else may still take one before we do."""
    with ExitStack() as stack:
        # All are held until the last is chosen, so that none is given twice.
        servers = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


@contextmanager
def running(
    configure: Configure, log: Path, ready: str, *, ports: int = 1, cwd: Path | None = None
) -> Generator[list[int]]:
    """Runs a server for the length of a with block and yields its ports.

    Args:
        configure: Takes the ports, writes what configuration the program needs, returns the command.
        log: Receives what the program writes.
        ready: What the program writes once it listens. A port that answers would prove less: it may be
            answered by a stranger who took it before us.
        ports: How many ports the server needs.
        cwd: Where the program runs.

    Raises:
        ServerError: It ended, or was not ready after `START_SECONDS`.
    """
    for _ in range(ATTEMPTS):
        chosen = free_ports(ports)
        command = [*leash(), *map(str, configure(chosen))]
        log.write_bytes(b"")
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                start_new_session=True,
            )
        try:
            if listens(process, log, ready):
                yield chosen
                return
        finally:
            stop(process)
    msg = f"no free port in {ATTEMPTS} attempts; the log of the last:\n{log.read_text(errors='replace')}"
    raise ServerError(msg)


def listens(process: subprocess.Popen[bytes], log: Path, ready: str) -> bool:
    """Waits until the log says that the server listens; false when another program took its port."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        ended = process.poll() is not None  # asked before the log is read, which then holds its last words
        text = log.read_text(errors="replace")
        if ended or time.monotonic() > deadline:
            break
        if ready in text:
            return True
        time.sleep(0.01)
    if any(words in text for words in PORT_TAKEN):
        return False
    state = f"ended with {process.returncode}" if ended else f"is not ready after {START_SECONDS:g} s"
    msg = f"the server {state}: {process.args!r}; its log:\n{text}"
    raise ServerError(msg)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server; when it does not end by itself, with every process it started."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # it leads a session, and so a process group, of its own
        process.wait(STOP_SECONDS)


@cache
def leash() -> list[str]:
    """Returns a command prefix that ends a server when pytest itself is killed, where the system has one."""
    path = shutil.which("setpriv")
    command = [path, "--pdeathsig", "TERM"] if path else []
    # Busybox has a setpriv that lacks the option.
    works = path and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    return command if works else []

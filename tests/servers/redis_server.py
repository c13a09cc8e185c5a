"""Redis: on a port and a socket, without persistence."""

import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import kill
from pathlib import Path
from typing import Any, cast

import redis
from redis.exceptions import RedisError

from .process import HOST, program, running

PASSWORD = "a-password-of-redis"


@dataclass(frozen=True)
class RedisServer:
    """Where Redis serves. The client is the tests' own, and asks once."""

    url: str
    socket: Path
    client: Any  # whose types say little

    @contextmanager
    def paused(self) -> Generator[None]:
        """Redis takes connections, and answers nothing."""
        pid = self.client.info("server")["process_id"]
        kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            kill(pid, signal.SIGCONT)

    def record(self) -> bytes:
        """The only record that a store keeps here."""
        return cast("bytes", self.client.get(self._name()))

    def replace(self, record: bytes) -> None:
        """Put something in the place of the only record."""
        self.client.set(self._name(), record)

    def _name(self) -> bytes:
        [name] = self.client.keys("cruds:token:*")
        return bytes(name)

    def end(self) -> None:
        """End Redis, with all it holds."""
        with suppress(RedisError):
            self.client.shutdown(nosave=True)


@contextmanager
def serve(folder: Path, port: int | None = None) -> Generator[RedisServer]:
    """Serves for the length of a with block, on a free port unless one is given."""
    server = program("redis-server", "redis-server")
    socket = folder / "redis.sock"

    def configure(ports: list[int]) -> list[str | Path]:
        options = f"--bind {HOST} --port {port or ports[0]} --requirepass {PASSWORD} --save".split()
        return [server, *options, "", "--appendonly", "no", "--dir", folder, "--unixsocket", socket]

    with running(configure, folder / "redis.log", "eady to accept connections") as ports:
        library: Any = redis
        url = f"redis://:{PASSWORD}@{HOST}:{port or ports[0]}/0"
        yield RedisServer(url, socket, library.Redis.from_url(url))


def port_of(server: RedisServer) -> int:
    """Returns the port of a server, for one that comes after it."""
    return int(server.url.rsplit(":", 1)[1].split("/")[0])

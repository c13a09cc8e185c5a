"""Redis: on a port and a socket, with a password, and nothing on the disk."""

import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import kill
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import redis
from redis.exceptions import RedisError

from .process import HOST, program, running


@dataclass(frozen=True)
class Redis:
    """Where Redis serves. The client is the tests' own, and asks once.

    Attributes:
        socket: Where it listens in the file system.
    """

    port: int
    socket: Path
    password: str = "horse-of-redis"

    @property
    def url(self) -> str:
        """Its URL, with the password."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def client(self, **options: Any) -> Any:
        """Returns a client, which is closed by a with block."""
        return redis.Redis(HOST, self.port, password=self.password, **options)

    def ask(self, *command: str) -> Any:
        """Returns the answer to one command."""
        with self.client() as client:
            return client.execute_command(*command)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Redis takes connections, and answers nothing."""
        with self.client() as client:
            pid = client.info("server")["process_id"]
        kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            kill(pid, signal.SIGCONT)

    def record(self) -> bytes:
        """The only record that a store keeps here."""
        return cast("bytes", self.ask("GET", self._name()))

    def replace(self, record: bytes) -> None:
        """Put something in the place of the only record."""
        with self.client() as client:
            client.set(self._name(), record)

    def _name(self) -> str:
        [name] = self.ask("KEYS", "cruds:token:*")
        return str(name, "ascii")

    def end(self) -> None:
        """End Redis, with all it holds."""
        with self.client() as client, suppress(RedisError):
            client.shutdown(nosave=True)


@contextmanager
def serve(folder: Path, port: int | None = None) -> Generator[Redis]:
    """Serves for the length of a with block, on a free port unless one is given."""
    server = program("redis-server", "redis-server")

    def configure(ports: list[int]) -> list[str | Path]:
        options = f"--bind {HOST} --port {port or ports[0]} --requirepass {Redis.password} --save".split()
        return [server, *options, "", "--appendonly", "no", "--dir", folder, "--unixsocket", socket]

    # The path of a socket has 107 bytes at most, 103 on a Mac: a folder of pytest's may leave too few.
    with TemporaryDirectory(prefix="cruds-") as short:
        socket = Path(short) / "redis.sock"
        with running(configure, folder / "redis.log", "eady to accept connections") as (free,):
            yield Redis(port or free, socket)

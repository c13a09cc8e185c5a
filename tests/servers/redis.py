"""Redis: Debian's, with a password, and nothing on the disk."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from .process import HOST, program, running

CONFIGURATION = """
bind {host}
port {port}
dir {folder}
requirepass {password}
save ""
appendonly no
daemonize no
"""


@dataclass(frozen=True)
class Redis:
    """Where Redis listens."""

    port: int
    password: str = "horse-of-redis"

    @property
    def url(self) -> str:
        """Its URL, with the password."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def client(self, **options: Any) -> Any:
        """Returns a client, which is closed by a with block."""
        return redis.Redis(HOST, self.port, password=self.password, **options)


@contextmanager
def serve(folder: Path, more: str = "") -> Generator[Redis]:
    """Serves for the length of a with block.

    Args:
        folder: Where its configuration goes.
        more: Further lines of it.
    """
    server = program("redis-server", "redis-server")
    path = folder / "redis.conf"

    def configure(ports: list[int]) -> list[str | Path]:
        path.write_text(
            CONFIGURATION.format(host=HOST, port=ports[0], folder=folder, password=Redis.password) + more
        )
        return [server, path]

    with running(configure, folder / "redis.log", "Ready to accept connections") as (port,):
        yield Redis(port)

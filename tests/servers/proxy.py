"""tinyproxy: a forward proxy, open or with a password of its own.

It closes every plain connection after one answer, and announces that with no `Connection: close`: a client
that sends the next request just then meets a lost connection.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .process import HOST, program, running


@dataclass(frozen=True)
class Proxy:
    """Where the proxy listens, its log of every request, and the user it knows, if it asks for one."""

    url: str
    log_path: Path
    user: str | None = None
    password: str | None = None

    def log(self) -> str:
        """Returns what went through the proxy so far; a request line is there before its answer is."""
        return self.log_path.read_text(errors="replace")


@contextmanager
def serve(folder: Path, user: str | None = None, password: str | None = None) -> Generator[Proxy]:
    """Serves for the length of a with block; CONNECT is allowed to any port."""
    tinyproxy = program("tinyproxy", "tinyproxy-bin")
    path = folder / "tinyproxy.conf"
    log = folder / "tinyproxy.log"

    def configure(ports: list[int]) -> list[str | Path]:
        lines = [f"Port {ports[0]}", f"Listen {HOST}", f"Allow {HOST}", "Timeout 30", "LogLevel Info"]
        if user is not None:
            lines.append(f"BasicAuth {user} {password}")
        path.write_text("\n".join(lines) + "\n")
        return [tinyproxy, "-d", "-c", path]

    # Without a LogFile it writes its log to the output that we keep.
    with running(configure, log, "Accepting connections") as (port,):
        yield Proxy(f"http://{HOST}:{port}", log, user, password)

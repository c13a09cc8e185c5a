"""Runs all suites and writes docs/benchmarks/."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import servers.nginx
import servers.tls
from servers.process import free_ports

from cruds.demo.authorization import AuthorizationServer

from . import peers, report
from .measure import Cost, imports, measure

PLUGINS = (0, 50, 200)
THREADS = (1, 4, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--rounds", type=int, default=15, help="blocks for each peer")
    parser.add_argument("--uv", default="uv", help="the uv that makes the environments")
    options = parser.parse_args()
    rounds = options.rounds
    peers.install(options.uv, sys.executable)
    suites: list[report.Suite] = []

    def add(title: str, base: str, costs: dict[str, Cost]) -> None:
        suites.append(report.Suite(title, base, costs))
        print(report.text(suites[-1]), flush=True)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("tls", "nginx"):
            (folder / name).mkdir()
        certificates = servers.tls.issue(folder / "tls")
        nginx = stack.enter_context(servers.nginx.serve(folder / "nginx", certificates))
        authority = stack.enter_context(
            AuthorizationServer(client_id="bench", client_secret="secret", scope="read")
        )
        raw = peers.RAW.name
        for size, calls in (("small", 150), ("medium", 100), ("large", 4)):
            title = f"GET {servers.nginx.SIZES[size]} bytes of JSON with a bearer token"
            add(title, raw, measure(peers.CLIENTS, f"{nginx.url}/{size}.json", calls=calls, rounds=rounds))
        add(
            "GET 200 bytes of JSON with a token of OAuth 2.0 that is valid, and with an observer",
            raw,
            measure(
                peers.TOKENS,
                f"{nginx.url}/small.json",
                token_url=authority.token_url,
                calls=150,
                rounds=rounds,
            ),
        )
        numbers = {count: peers.with_plugins(count, folder / f"plugins{count}") for count in PLUGINS}
        add(
            "GET 200 bytes of JSON, the scheme found by its name among the plugins that are installed",
            numbers[0].name,
            measure(list(numbers.values()), f"{nginx.url}/small.json", calls=150, rounds=rounds),
        )
        delayed = stack.enter_context(delay())
        for threads in THREADS:
            add(
                f"{threads} threads, a server that takes 5 ms, 5 ms of work after each call",
                raw,
                measure(
                    peers.THREADED,
                    delayed,
                    calls=20,
                    rounds=max(3, rounds // 3),
                    threads=threads,
                    pause=0.005,
                ),
            )
    modules = [("urllib3", peers.RAW), ("cruds_core", peers.OURS), ("requests", peers.REQUESTS)]
    modules += [("httpx", peers.HTTPX), ("httpx2", peers.HTTPX2), ("niquests", peers.NIQUESTS)]
    add("import", "urllib3", imports(modules, rounds))
    report.write(peers.ROOT / "docs" / "benchmarks", suites, datetime.now(UTC).date())


@contextmanager
def delay() -> Generator[str]:
    """Runs the slow server for the length of a with block, and yields its URL."""
    port = free_ports(1)[0]
    command = [sys.executable, str(Path(__file__).with_name("delay.py")), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert server.stdout.readline() == "listening\n"
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()


if __name__ == "__main__":
    main()

"""Runs all suites and writes docs/benchmarks/."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import servers.nginx
import servers.tls
from servers.process import free_ports

from cruds.demo.authorization import AuthorizationServer

from . import peers, report
from .measure import Cost, imports, measure, once

PLUGINS = (0, 50, 200)
THREADS = (1, 2, 4, 8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--rounds", type=int, default=15, help="blocks for each peer")
    parser.add_argument("--uv", default="uv", help="the uv that makes the environments")
    options = parser.parse_args()
    rounds = options.rounds
    peers.install(options.uv, sys.executable)
    suites: list[report.Suite | report.Table] = []
    load = os.getloadavg()[0]

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
        os.environ["CA"] = str(certificates.ca_path)
        title = "GET 200 bytes of JSON over a new TLS connection, one CA"
        costs = measure(peers.NEW, f"{nginx.tls_url}/small.json", calls=20, rounds=rounds)
        add(title, peers.NEW[0].name, costs)
        for threads in THREADS:
            add_threads(stack, threads, rounds, suites)
        suites.append(stampede(stack.enter_context(delay(0)), authority))
        suites += [
            files("download", nginx.url, folder),
            files("upload", stack.enter_context(delay(0)), folder),
        ]
    modules = [("urllib3", peers.RAW), ("cruds_core", peers.OURS), ("requests", peers.REQUESTS)]
    modules += [("httpx", peers.HTTPX), ("httpx2", peers.HTTPX2), ("niquests", peers.NIQUESTS)]
    add("import", "urllib3", imports(modules, rounds))
    report.write(
        peers.ROOT / "docs" / "benchmarks",
        suites,
        datetime.now(UTC).date(),
        rounds,
        f"{load:.1f} to {os.getloadavg()[0]:.1f}",
    )


def add_threads(
    stack: ExitStack, threads: int, rounds: int, suites: list[report.Suite | report.Table]
) -> None:
    """Adds what calls cost in threads, and how many connections they take."""
    urls = {peer.name: stack.enter_context(delay(5)) for peer in peers.THREADED}
    calls, blocks = 20, max(3, rounds // 3)
    costs = measure(peers.THREADED, urls, calls=calls, rounds=blocks, threads=threads, pause=0.005)
    raw = costs[peers.RAW.name]
    rows = {
        name: [
            f"{1 / cost.wall:.0f}",
            f"{raw.wall / cost.wall:.2f}",
            f"{cost.cpu / raw.cpu:.2f}",
            f"{connections(urls[name])}",
            f"{cost.warnings}",
        ]
        for name, cost in sorted(costs.items(), key=lambda item: item[1].wall)
    }
    workers = "1 thread" if threads == 1 else f"{threads} threads"
    work = f"5 ms of work after each call; {blocks} blocks of {calls} calls each"
    title = f"{workers}, a server that takes 5 ms, {work}"
    columns = ["calls/s", "calls/s, ratio", "CPU, ratio", "connections", "warnings"]
    suites.append(report.Table(title, columns, rows))
    print(report.text(suites[-1]), flush=True)


def connections(url: str) -> int:
    """Returns how many connections the slow server had before this one."""
    with urllib.request.urlopen(url) as answer:
        return int(json.load(answer)["connections"]) - 1


def stampede(url: str, authority: AuthorizationServer) -> report.Table:
    """Returns what 32 threads do that find no valid token, by the requests that the token endpoint sees."""
    authority.delay = 0.05
    rows: dict[str, list[str]] = {}
    for peer in peers.EXPIRED:
        found: list[list[float]] = []
        for _ in range(3):
            before = len(authority.token_requests)
            if numbers := once(peer, "stampede", f"{url}/private", authority.token_url):
                found.append([len(authority.token_requests) - before, *numbers])
        if found:
            requests, failed, seconds = sorted(found)[len(found) // 2]
            rows[peer.name] = [f"{requests:.0f}", f"{failed:.0f}", f"{seconds:.2f}"]
    title = "32 threads at once on one client without a valid token, the token endpoint takes 50 ms"
    table = report.Table(title, ["token requests", "threads that failed", "seconds"], rows)
    print(report.text(table), flush=True)
    return table


def files(kind: str, url: str, folder: Path) -> report.Table:
    """Returns what the download, or multipart upload, of a large file takes."""
    places = folder / "nginx" / "www"
    for name, size in (("1.bin", 1 << 20), ("200.bin", 200_000_000)):
        with (places / name).open("wb") as file:
            file.truncate(size)
    paths = ["1.bin", "200.bin"] if kind == "download" else [str(places / "1.bin"), str(places / "200.bin")]
    rows: dict[str, list[str]] = {}
    for peer in peers.MOVING:
        if numbers := once(peer, kind, url, *paths):
            rows[peer.name] = [f"{number:.2f}" for number in numbers]
    rows = dict(sorted(rows.items(), key=lambda row: float(row[1][0])))
    words = {"download": "Download of 200 MB to a file", "upload": "Multipart upload of 200 MB from a file"}
    table = report.Table(words[kind], ["growth of peak memory, MB", "seconds"], rows)
    print(report.text(table), flush=True)
    return table


@contextmanager
def delay(milliseconds: int) -> Generator[str]:
    """Runs the slow server for the length of a with block, and yields its URL."""
    port = free_ports(1)[0]
    command = [sys.executable, str(Path(__file__).with_name("delay.py")), str(port), str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert server.stdout.readline() == "listening\n"
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


if __name__ == "__main__":
    main()

"""What a store costs where the token is valid: requests per second of processes that share one.

Run by hand, in an environment that has the tests' packages, with nginx and redis-server::

    PYTHONPATH=tests python tests/benchmarks/fleet.py

Each round measures each kind of client for a short time, in any order, so that whatever else the machine does
meets all: the ratio to the static token of the same round counts, and of these the median. How far the second
client with a static token is from 1 is what such a measurement is worth.
"""

import multiprocessing
import platform
import random
import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import servers.nginx
import servers.redis
import servers.tls

from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import FileStore, OAuth2, RedisStore
from cruds_core import Client

PROCESSES = (1, 2, 4, 8)
ROUNDS = 40
SECONDS = 0.3  # of one measurement
START_SECONDS = 5.0  # until all processes have started

STATIC, AGAIN, FILE, REDIS = "static token", "static token again", "FileStore", "RedisStore"

clients: dict[str, Client] = {}  # of this process


class Fleet(NamedTuple):
    """What a process needs to make its clients."""

    api: str
    token_url: str
    client_id: str
    client_secret: str
    token: str
    folder: Path
    redis: str


def start(fleet: Fleet) -> None:
    """Make the clients of a process, and let each of them have its token and its connection."""
    stores = {FILE: FileStore(fleet.folder / "tokens"), REDIS: RedisStore(fleet.redis)}
    clients[STATIC], clients[AGAIN] = Client(fleet.api, fleet.token), Client(fleet.api, fleet.token)
    for name, store in stores.items():
        auth = OAuth2(
            fleet.token_url, fleet.client_id, fleet.client_secret, "read", encryption_key="key", store=store
        )
        clients[name] = Client(fleet.api, auth)
    for client in clients.values():
        client.read("small.json")


def requests_of(name: str, begin: float) -> int:
    """Return how many requests one process made, from a time on (seconds since the epoch)."""
    client, count = clients[name], 0
    time.sleep(max(begin - time.time(), 0))
    while time.time() < begin + SECONDS:
        client.read("small.json")
        count += 1
    return count


@contextmanager
def served() -> Generator[tuple[Fleet, AuthorizationServer]]:
    """Run an API, an authorization server and a Redis."""
    with TemporaryDirectory() as name, AuthorizationServer() as authority:
        folder = Path(name)
        for part in ("nginx", "redis", "tls"):
            (folder / part).mkdir()
        certificates = servers.tls.issue(folder / "tls")
        with (
            servers.nginx.serve(folder / "nginx", certificates) as api,
            servers.redis.serve(folder / "redis") as redis,
        ):
            ids = (authority.client_id, authority.client_secret)
            token = OAuth2(authority.token_url, *ids, "read").access_token()
            yield Fleet(api.url, authority.token_url, *ids, str.__str__(token), folder, redis.url), authority


def measure(fleet: Fleet, processes: int) -> dict[str, list[float]]:
    """Return the requests per second of all processes together, by the kind of client, for each round."""
    rates: dict[str, list[float]] = {name: [] for name in (STATIC, AGAIN, FILE, REDIS)}
    with multiprocessing.get_context("spawn").Pool(processes, start, [fleet]) as pool:

        def rate(name: str, delay: float) -> float:
            begin = time.time() + delay
            return sum(pool.starmap(requests_of, [(name, begin)] * processes, 1)) / SECONDS

        rate(STATIC, START_SECONDS)
        for _ in range(ROUNDS):
            for name in random.sample(list(rates), len(rates)):
                rates[name].append(rate(name, 0.05))
    return rates


def main() -> None:
    """Print a table in Markdown."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("cruds-core", "cruds-auth-oauth2", "redis"))
    print(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions},")
    print(f"{multiprocessing.cpu_count()} processors, median of {ROUNDS} rounds of {SECONDS:g} s\n")
    print("| processes | static token | static token again | FileStore | RedisStore | token requests |")
    print("| --- | --- | --- | --- | --- | --- |")
    with served() as (fleet, authority):
        for processes in PROCESSES:
            rates = measure(fleet, processes)
            cells = [f"{statistics.median(rates[STATIC]):.0f}/s"]
            for name in (AGAIN, FILE, REDIS):
                ratios = [one / other for one, other in zip(rates[name], rates[STATIC], strict=True)]
                low, middle, high = statistics.quantiles(ratios, n=4)
                cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
            asked = len(authority.token_requests)
            authority.token_requests.clear()
            print(f"| {processes} | {' | '.join(cells)} | {asked} |", flush=True)


if __name__ == "__main__":
    main()

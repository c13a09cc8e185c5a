"""The libraries that are measured, and the environments that they live in: some cannot share one."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: What is installed in each environment. cruds 1.9.1 asks for a certifi of its own day.
ENVIRONMENTS = {
    "cruds": ["-e", "cruds_core", "-e", "cruds_auth_basic", "-e", "cruds_auth_oauth2"],
    "orjson": ["-e", "cruds_core", "orjson"],
    "cruds1": ["--no-deps", "cruds==1.9.1", "urllib3", "certifi"],
    "requests": ["requests", "requests-oauthlib", "authlib", "requests_oauth2client"],
    "httpx": ["httpx", "httpx-auth", "authlib"],
    "httpx2": ["httpx2"],
    "niquests": ["niquests"],  # it puts a fork in the place of urllib3
    "pycurl": ["pycurl"],
}


@dataclass(frozen=True)
class Peer:
    """A row of a table: what it is called, its adapter, where it is installed, and the package measured.

    A folder with further distributions may be on its path.
    """

    name: str
    adapter: str
    environment: str
    package: str = ""
    path: Path | None = None


RAW = Peer("urllib3 + json", "urllib3", "cruds", "urllib3")
RAW_TIMEOUT = Peer("urllib3 + json, timeout=300", "urllib3_timeout", "cruds", "urllib3")
RAW_ORJSON = Peer("urllib3 + orjson", "urllib3_orjson", "orjson", "orjson")
OURS = Peer("cruds-core", "cruds_core", "cruds", "cruds-core")
OURS_ORJSON = Peer("cruds-core[speed]", "cruds_core", "orjson", "cruds-core")
OBSERVED = Peer("cruds-core, an observer", "cruds_core_observer", "cruds", "cruds-core")
OAUTH2 = Peer("cruds-auth-oauth2", "cruds_oauth2", "cruds", "cruds-auth-oauth2")
CRUDS1 = Peer("cruds 1.9.1", "cruds1", "cruds1", "cruds")
PYCURL = Peer("pycurl + json", "pycurl", "pycurl", "pycurl")
REQUESTS = Peer("requests", "requests", "requests", "requests")
HTTPX = Peer("httpx", "httpx", "httpx", "httpx")
HTTPX2 = Peer("httpx2", "httpx2", "httpx2", "httpx2")
NIQUESTS = Peer("niquests", "niquests", "niquests", "niquests")

CLIENTS = [RAW, RAW_TIMEOUT, RAW_ORJSON, OURS, OURS_ORJSON, CRUDS1, PYCURL, HTTPX2, HTTPX, NIQUESTS, REQUESTS]
TOKENS = [
    RAW,
    OURS,
    OBSERVED,
    OAUTH2,
    Peer("Authlib (requests)", "authlib_requests", "requests", "authlib"),
    Peer("Authlib (httpx)", "authlib_httpx", "httpx", "authlib"),
    Peer("requests-oauthlib", "requests_oauthlib", "requests", "requests-oauthlib"),
    Peer("requests_oauth2client", "requests_oauth2client", "requests", "requests_oauth2client"),
    Peer("httpx-auth", "httpx_auth", "httpx", "httpx-auth"),
]
DEFAULT = Peer("urllib3 + json, its own size of pool", "urllib3_default", "cruds", "urllib3")
THREADED = [RAW, DEFAULT, OURS, CRUDS1, HTTPX, HTTPX2, NIQUESTS, REQUESTS]
NEW = [
    Peer("urllib3, ca_certs", "urllib3_new", "cruds"),
    Peer("urllib3, ssl_context", "urllib3_context_new", "cruds"),
    Peer("cruds-core", "cruds_core_new", "cruds"),
    Peer("requests", "requests_new", "requests"),
    Peer("httpx", "httpx_new", "httpx"),
    Peer("httpx2", "httpx2_new", "httpx2"),
    Peer("niquests", "niquests_new", "niquests"),
]
EXPIRED = [
    OAUTH2,
    Peer("Authlib (requests)", "authlib_requests_expired", "requests"),
    Peer("Authlib (httpx)", "authlib_httpx_expired", "httpx"),
    Peer("requests-oauthlib", "requests_oauthlib_expired", "requests"),
    Peer("requests_oauth2client", "requests_oauth2client_expired", "requests"),
    Peer("httpx-auth", "httpx_auth", "httpx"),
]
MOVING = [RAW, OURS, CRUDS1, PYCURL, HTTPX, HTTPX2, NIQUESTS, REQUESTS]


def with_plugins(count: int, folder: Path) -> Peer:
    """Returns a Client that finds its scheme by name, beside so many more that are installed."""
    for number in range(count):
        info = folder / f"bench_{number}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bench-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[cruds.auth]\nbench{number} = bench_{number}\n")
    return Peer(f"cruds-core, {count} plugins more", "cruds_basic", "cruds", "cruds-core", folder)


def interpreter(environment: str) -> Path:
    """Returns the Python of an environment."""
    return ROOT / ".venv-bench" / environment / "bin" / "python"


def install(uv: str, python: str) -> None:
    """Makes every environment, or brings it up to date."""
    for name, packages in ENVIRONMENTS.items():
        folder = ROOT / ".venv-bench" / name
        subprocess.run(
            [uv, "venv", "--quiet", "--allow-existing", "--python", python, folder], check=True, cwd=ROOT
        )
        target = str(interpreter(name))
        subprocess.run([uv, "pip", "install", "--quiet", "--python", target, *packages], check=True, cwd=ROOT)


def version(peer: Peer) -> str:
    """Returns the version of what a peer measures."""
    script = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    command = [str(interpreter(peer.environment)), "-c", script, peer.package]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

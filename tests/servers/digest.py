"""A strict Digest server: it checks proofs letter by letter, written from RFC 7616 alone."""

import base64
import hashlib
import json
import re
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Lock, Thread
from typing import NoReturn, Self
from urllib.parse import unquote_to_bytes

HOST = "127.0.0.1"
USERNAME, PASSWORD = "Mufasa", "Circle of Life"  # RFC 7616, section 3.9.1
POLL = 0.02  # seconds between two looks at whether to stop
IDLE = 20.0  # seconds that a connection is kept

HASHES: dict[str, Callable[[bytes], str]] = {
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data).hexdigest(),
}

# RFC 7616, section 3.5: which parameters a sender must write as quoted strings, and which it must not.
QUOTED = {"username", "realm", "nonce", "uri", "response", "cnonce", "opaque"}
BARE = {"username*", "algorithm", "qop", "nc", "userhash"}

PARAMETER = re.compile(r'([a-z]+\*?)=(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))(?:, *(?=.)|$)')


class Malformed(Exception):
    """An Authorization that breaks RFC 7616; the text says how."""


class Refused(Exception):
    """An Authorization that proves nothing: `stale` when only its nonce is to blame."""

    def __init__(self, *, stale: bool) -> None:
        super().__init__(stale)
        self.stale = stale


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived, with the parameters of its Authorization, and the status of the answer."""

    method: str
    target: str
    status: int
    credentials: dict[str, str]
    content: bytes


@dataclass
class Challenged:
    """What began with one challenge (section 3.6): its algorithm, and the key of a session algorithm."""

    algorithm: str | None
    key: str | None = None


@dataclass
class Nonce:
    """A nonce that was given out, and the counts that it was used with."""

    challenged: Challenged
    counts: list[int] = field(default_factory=list[int])


def parse(header: str) -> dict[str, str]:
    """Return the parameters of an Authorization, their quotes taken off.

    Raises:
        Malformed: it is not as section 3.4 and 3.5 have it.
    """
    if not header.startswith("Digest "):
        raise Malformed("the scheme is not Digest")
    credentials: dict[str, str] = {}
    position = len("Digest ")
    while position < len(header):
        match = PARAMETER.match(header, position)
        if not match:
            raise Malformed(f"not a parameter: {header[position:]}")
        name, quoted, bare = match.groups()
        if name in credentials or name not in (QUOTED if bare is None else BARE):
            raise Malformed(f"{name} is repeated, unknown or quoted in the wrong way")
        credentials[name] = re.sub(r"\\(.)", r"\1", quoted) if bare is None else bare
        position = match.end()
    return credentials


class DigestServer(ThreadingHTTPServer):
    """Serves from its construction until `close()`: a context manager.

    Args:
        username: of the one user.
        password: of the one user.
        realm: as text; it goes out in UTF-8.
        algorithms: one challenge each, in this order; None is a challenge without algorithm.
        qop: what is offered; None is a server of RFC 2069.
        uses: how often a nonce may be used.
        ordered: whether counts must grow; otherwise it is enough that none is repeated (section 3.4).
        renews: whether each answer announces a new nonce.
        userhash: whether the username must be hashed.
        charset: whether `charset=UTF-8` is announced.
        more: parameters that are added to each challenge as they stand.
        before: challenges of other schemes, which go out before ours as they stand.
        separate: whether each challenge has a field of its own.

    Attributes:
        url: where it listens.
        requests: what arrived, in the order of the answers.
        announced: nonces to announce, one with each answer.
        answers: status and headers of what is answered next in place of 200; with status 0 the connection
            is closed without an answer.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        *,
        username: str = USERNAME,
        password: str = PASSWORD,
        realm: str = "http-auth@example.org",
        algorithms: tuple[str | None, ...] = ("MD5",),
        qop: str | None = "auth",
        uses: int | None = None,
        ordered: bool = True,
        renews: bool = False,
        userhash: bool = False,
        charset: bool = False,
        more: str = "",
        before: tuple[str, ...] = (),
        separate: bool = False,
    ) -> None:
        self.username, self.password, self.realm = username, password, realm
        self.algorithms, self.qop, self.uses, self.ordered = algorithms, qop, uses, ordered
        self.renews, self.userhash, self.charset = renews, userhash, charset
        self.more, self.before, self.separate = more, before, separate
        self.opaque = secrets.token_hex(8)
        self.nonces: dict[str, Nonce] = {}
        self.announced: deque[str] = deque()
        self.answers: deque[tuple[int, dict[str, str]]] = deque()
        self.requests: list[Seen] = []
        self.lock = Lock()
        super().__init__((HOST, 0), Connection)
        self.url = f"http://{HOST}:{self.socket.getsockname()[1]}"
        self._thread = Thread(target=self.serve_forever, args=[POLL], daemon=True)
        self._thread.start()

    def server_bind(self) -> None:
        """Bind to the port. That of http.server would ask a name server for the name of the host."""
        TCPServer.server_bind(self)

    def close(self) -> None:
        """Stop listening."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def proofs(self) -> list[dict[str, str]]:
        """The parameters of each Authorization that arrived."""
        return [seen.credentials for seen in self.requests if seen.credentials]

    @property
    def statuses(self) -> list[int]:
        """The status of each answer."""
        return [seen.status for seen in self.requests]

    def new_nonce(self, challenged: Challenged, name: str | None = None) -> str:
        """Give out a nonce, and know it from now on."""
        name = name or base64.b64encode(secrets.token_bytes(15)).decode()
        self.nonces.setdefault(name, Nonce(challenged))
        return name

    def challenges(self, *, stale: bool) -> list[str]:
        """Return the values of WWW-Authenticate (section 3.3)."""
        ours = [self.challenge(algorithm, stale=stale) for algorithm in self.algorithms]
        values = [*self.before, *ours]
        return values if self.separate else [", ".join(values)]

    def challenge(self, algorithm: str | None, *, stale: bool) -> str:
        """Return one challenge, with the quotes that section 3.5 asks of a server."""
        parts = [
            f"realm={quoted(self.realm)}",
            f'nonce="{self.new_nonce(Challenged(algorithm))}"',
            f'opaque="{self.opaque}"',
            *([f'qop="{self.qop}"'] if self.qop else []),
            *([f"algorithm={algorithm}"] if algorithm else []),
            *(["stale=true"] if stale else []),
            *(["userhash=true"] if self.userhash else []),
            *(["charset=UTF-8"] if self.charset else []),
            *([self.more] if self.more else []),
        ]
        return "Digest " + ", ".join(parts)

    def check(self, method: str, target: str, content: bytes, given: dict[str, str]) -> Challenged:
        """Return what the proof belongs to.

        Raises:
            Malformed: it does not fit the challenge.
            Refused: the password, or the nonce, is not right.
        """
        qop = given.get("qop")
        expected = {"realm", "nonce", "uri", "response", "opaque"}
        expected |= {"qop", "nc", "cnonce"} if self.qop else set()
        expected |= {"username*" if "username*" in given else "username"}
        expected |= {"userhash"} if self.userhash else set()
        nonce = self.nonces.get(given.get("nonce", "")) or unfit("an unknown nonce")
        algorithm = nonce.challenged.algorithm
        expected |= {"algorithm"} if algorithm else set()
        if set(given) != expected:
            unfit(f"parameters: {sorted(set(given) ^ expected)}")
        if given["uri"] != target:
            unfit(f"uri={given['uri']} in a request for {target}")
        if (given["opaque"], given.get("algorithm")) != (self.opaque, algorithm):
            unfit("not the opaque and algorithm of the challenge")
        if given.get("userhash", "true") != "true":
            unfit("userhash")
        if self.qop and (qop not in self.qop.split(", ") or not re.fullmatch("[0-9a-f]{8}", given["nc"])):
            unfit("qop or nc")

        name, is_session = (algorithm or "MD5").removesuffix("-sess"), (algorithm or "").endswith("-sess")
        h = HASHES[name]
        username, realm = self.username.encode(), self.realm.encode()
        a1 = b"%s:%s:%s" % (username, realm, self.password.encode())
        if is_session:  # section 3.4.2: the key is computed once, on the first request after the challenge
            nonce_prime, cnonce_prime = given["nonce"], given["cnonce"]
            key = nonce.challenged.key or f"{h(a1)}:{nonce_prime}:{cnonce_prime}"
            a1 = key.encode()
        a2 = f"{method}:{target}" + (f":{h(content)}" if qop == "auth-int" else "")
        middle = f"{given['nonce']}:{given['nc']}:{given['cnonce']}:{qop}" if qop else given["nonce"]
        proof = h(f"{h(a1)}:{middle}:{h(a2.encode())}".encode())
        user = h(username + b":" + realm) if self.userhash else as_octets(self.username)
        if (self.sent_username(given), given["realm"], given["response"]) != (
            user,
            as_octets(self.realm),
            proof,
        ):
            raise Refused(stale=False)

        if is_session:
            nonce.challenged.key = a1.decode()
        count = int(given.get("nc", "0"), 16)
        used_up = self.uses is not None and len(nonce.counts) >= self.uses
        repeated = self.qop and (
            count <= max(nonce.counts, default=0) if self.ordered else count in nonce.counts
        )
        if used_up or repeated:
            raise Refused(stale=True)
        nonce.counts.append(count)
        return nonce.challenged

    def sent_username(self, given: dict[str, str]) -> str:
        """Return the username as octets, one character each, from either of its two parameters."""
        if "username*" not in given:
            return given["username"]
        encoding, language, text = given["username*"].split("'")
        if encoding != "UTF-8" or language or not self.charset or self.username.isascii():
            unfit("username* where it should not be")
        return unquote_to_bytes(text).decode("latin-1")


class Connection(BaseHTTPRequestHandler):
    """A client's connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE
    server: DigestServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def answer(self) -> None:
        """Check the request, and say what was understood of it."""
        server, content, fields = self.server, self.read(), list[tuple[str, str]]()
        header, given, text = self.headers.get("Authorization"), dict[str, str](), ""
        with server.lock:
            try:
                if header is None:
                    raise Refused(stale=False)
                given = parse(header)
                challenged = server.check(self.command, self.path, content, given)
            except Malformed as fault:
                status, text = 400, str(fault)
            except Refused as refusal:
                status = 401
                for value in server.challenges(stale=refusal.stale):
                    fields.append(("WWW-Authenticate", as_octets(value)))
            else:
                status, headers = server.answers.popleft() if server.answers else (200, {})
                fields += headers.items()
                if server.announced or server.renews:
                    name = server.announced.popleft() if server.announced else None
                    next_nonce = server.new_nonce(challenged, name)
                    fields.append(("Authentication-Info", f'qop=auth, nextnonce="{next_nonce}"'))
                text = json.dumps({"method": self.command, "target": self.path})
            server.requests.append(Seen(self.command, self.path, status, given, content))
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json" if status == 200 else "text/plain")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def read(self) -> bytes:
        """Read the content to its end."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def quoted(text: str) -> str:
    """Return a quoted-string (RFC 9110, section 5.6.4)."""
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'


def as_octets(text: str) -> str:
    """Return the octets of the text in UTF-8, each as the character that http.server has for it."""
    return text.encode().decode("latin-1")


def unfit(reason: str) -> NoReturn:
    """Refuse what no client should have sent."""
    raise Malformed(reason)

"""What a server's challenge lets us say: the computations of Digest (RFC 7616)."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from urllib3.util import parse_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cruds_core import Request

# RFC 7616, section 3.3, and the names that hashlib has for them
_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}


class Hash:
    """The hash function H and the variant that an ``algorithm`` names.

    Raises:
        ValueError: We do not know it, or this Python cannot compute it.
    """

    def __init__(self, algorithm: str) -> None:
        name = algorithm.upper()
        #: Whether A1 is that of the session's first request (section 3.4.2).
        self.is_session = name.endswith("-SESS")
        try:
            self._name = _HASHES[name.removesuffix("-SESS")]
        except KeyError:
            msg = "unknown algorithm"
            raise ValueError(msg) from None
        self(b"")

    def __call__(self, data: bytes) -> str:
        """H(data) in hexadecimal."""
        return self.of_pieces([data])

    def of_pieces(self, pieces: Iterable[bytes]) -> str:
        """The same of data that comes in pieces."""
        digest = hashlib.new(self._name, usedforsecurity=False)
        for piece in pieces:
            digest.update(piece)
        return digest.hexdigest()


@dataclass
class Session:
    """A challenge, and how often it has been answered.

    Attributes:
        realm: As the server wrote it.
        nonce: The one to use now.
        algorithm: As the server wrote it; None where it did not.
        qop: ``"auth"``, ``"auth-int"``, or None for a server of RFC 2069.
        opaque: To be sent back as it is; None where there is none.
        userhash: Whether the username is sent hashed (section 3.4.4).
        utf8: Whether the server said ``charset=UTF-8``.
        cnonce: Ours.
        first_nonce: The nonce of the challenge, whatever came after it.
        count: How often the nonce has been used.
    """

    realm: str
    nonce: str
    algorithm: str | None = None
    qop: str | None = None
    opaque: str | None = None
    userhash: bool = False
    utf8: bool = False
    cnonce: str = field(default_factory=lambda: secrets.token_hex(16))
    first_nonce: str = ""
    count: int = 0

    def __post_init__(self) -> None:
        self.first_nonce = self.nonce
        self.hash = Hash("MD5" if self.algorithm is None else self.algorithm)

    @classmethod
    def from_challenge(cls, parameters: Mapping[str, str]) -> Session:
        """A session for the parameters of a Digest challenge.

        Raises:
            ValueError: It lacks what it must have, or asks for what we do not know.
        """
        algorithm = parameters.get("algorithm")
        qop = None
        if "qop" in parameters:
            offered = {option.strip().lower() for option in parameters["qop"].split(",")}
            qop = "auth" if "auth" in offered else "auth-int"
            if qop not in offered:
                msg = "unknown qop"
                raise ValueError(msg)
        if "nonce" not in parameters or "realm" not in parameters:
            msg = "no nonce or realm"
            raise ValueError(msg)
        session = cls(
            realm=parameters["realm"],
            nonce=parameters["nonce"],
            algorithm=algorithm,
            qop=qop,
            opaque=parameters.get("opaque"),
            userhash=parameters.get("userhash", "").lower() == "true",
            utf8=parameters.get("charset", "").upper() == "UTF-8",
        )
        if qop is None and session.hash.is_session:  # there is no cnonce to make a session of
            msg = "a session algorithm without qop"
            raise ValueError(msg)
        return session

    @classmethod
    def can_answer(cls, parameters: Mapping[str, str]) -> bool:
        """Whether the parameters are those of a challenge that we can answer."""
        try:
            cls.from_challenge(parameters)
        except ValueError:
            return False
        return True

    def renew(self, nonce: str) -> None:
        """Go on with another nonce (``nextnonce``, section 3.5)."""
        self.nonce = nonce
        self.count = 0

    def authorization(self, username: str, password: str, request: Request) -> str:
        """The value of the Authorization header. Counts one more use of the nonce.

        Args:
            username: The username.
            password: The password.
            request: What it is for. Its content counts with ``auth-int``.

        Raises:
            AuthError: The content counts, and is a stream that can be read only once.
        """
        if self.utf8:  # section 4: "charset=UTF-8" asks for Normalization Form C
            username, password = (unicodedata.normalize("NFC", text) for text in (username, password))
        h = self.hash
        self.count += 1
        # The header was read as Latin-1, so this gives back the bytes that the server wrote.
        realm = self.realm.encode("latin-1")
        a1 = b":".join((username.encode(), realm, password.encode()))
        if h.is_session:
            a1 = f"{h(a1)}:{self.first_nonce}:{self.cnonce}".encode("latin-1")
        uri = parse_url(request.url).request_uri
        a2 = f"{request.method}:{uri}" + (
            f":{h.of_pieces(request.chunks())}" if self.qop == "auth-int" else ""
        )
        nc = f"{self.count:08x}"
        middle = f"{self.nonce}:{nc}:{self.cnonce}:{self.qop}" if self.qop else self.nonce
        response = h(f"{h(a1)}:{middle}:{h(a2.encode())}".encode("latin-1"))
        parts = [
            self._username(username, realm),
            f"realm={_quoted(self.realm)}",
            f"nonce={_quoted(self.nonce)}",
            f"uri={_quoted(uri)}",
            f'response="{response}"',
        ]
        if self.algorithm is not None:
            parts.append(f"algorithm={self.algorithm}")
        if self.opaque is not None:
            parts.append(f"opaque={_quoted(self.opaque)}")
        if self.qop:
            parts += [f"qop={self.qop}", f"nc={nc}", f"cnonce={_quoted(self.cnonce)}"]
        if self.userhash:
            parts.append("userhash=true")
        return "Digest " + ", ".join(parts)

    def _username(self, username: str, realm: bytes) -> str:
        if self.userhash:
            return f'username="{self.hash(username.encode() + b":" + realm)}"'
        if self.utf8 and not username.isascii():  # section 3.4: username*, as RFC 8187 encodes it
            return f"username*=UTF-8''{quote(username, safe='')}"
        return f"username={_quoted(username.encode().decode('latin-1'))}"


def _quoted(text: str) -> str:
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'

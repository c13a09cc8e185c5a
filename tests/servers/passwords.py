"""Password files as nginx and Apache read them, written without their tools."""

import base64
import hashlib


def htpasswd(user: str, password: str) -> str:
    """Returns a line for Basic, as {SHA}: both servers know it, and it never holds a colon."""
    digest = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return f"{user}:{{SHA}}{base64.b64encode(digest).decode()}\n"


def htdigest(user: str, realm: str, password: str) -> str:
    """Returns a line for Digest: H(A1) of RFC 7616, section 3.4.2, for MD5."""
    secret = hashlib.md5(f"{user}:{realm}:{password}".encode(), usedforsecurity=False).hexdigest()
    return f"{user}:{realm}:{secret}\n"

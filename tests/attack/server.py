"""A server in a process of its own, which remembers nothing, so that what grows is the client's."""

import contextlib
import subprocess
import sys
from collections.abc import Generator
from socketserver import StreamRequestHandler, ThreadingTCPServer

JSON = "Content-Type: application/json"
TOKEN = '{"access_token": "t0ken-0123456789", "expires_in": 0, "refresh_token": "refresh-0123456789"}'
DIGEST = 'WWW-Authenticate: Digest realm="r", qop="auth", nonce="n", algorithm=SHA-256'


def reply(status: int, content: str = "[]", *lines: str, length: int | None = None) -> bytes:
    """Returns an answer."""
    size = f"Content-Length: {len(content) if length is None else length}"
    return "\r\n".join([f"HTTP/1.1 {status} Status", JSON, size, *lines, "", content]).encode()


#: By the end of the path; after an answer that is cut the connection ends.
ANSWERS = {
    "ok": reply(200, '{"id": 1, "name": "thing"}'),
    "token": reply(200, TOKEN),
    "missing": reply(404),
    "failed": reply(500, '{"title": "no"}', "Content-Type: application/problem+json"),
    "refused": reply(401, "[]", DIGEST),
    "elsewhere": reply(302, "", "Location: file:///etc/passwd"),
    "no-gzip": reply(200, "no gzip", "Content-Encoding: gzip"),
    "large": reply(200, "x" * 5000),
    "cut": reply(200, '{"id"', length=100),
    "no-http": b"what?\r\n\r\n",
    "silent": b"",
}


class Connection(StreamRequestHandler):
    """A connection."""

    def handle(self) -> None:
        """Answer requests."""
        with contextlib.suppress(OSError):
            while line := self.rfile.readline():
                length = 0
                while (header := self.rfile.readline().lower()) not in (b"\r\n", b""):
                    length = (
                        int(header.partition(b":")[2]) if header.startswith(b"content-length") else length
                    )
                self.rfile.read(length)
                name = line.split()[1].decode().partition("?")[0].rpartition("/")[2]
                self.wfile.write(ANSWERS[name])
                if name in ("cut", "no-http", "silent"):
                    return


class Server(ThreadingTCPServer):
    """The server."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 128


@contextlib.contextmanager
def serve() -> Generator[str]:
    """Run it, and yield its URL."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Connection) as running:
        print(running.server_address[1], flush=True)
        running.serve_forever()

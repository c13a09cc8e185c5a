"""Where the requests of a case go: to a server that fails, or to a place that is none."""

import socket
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress

from servers.fault import Fault, Script
from servers.tls import Certificates

from .case import Case

# Longer than a name can be (RFC 1035, section 2.3.4): the resolver refuses it without asking anybody.
_UNRESOLVABLE = ".".join(["x" * 60] * 5)


@contextmanager
def place(case: Case, tls: Certificates) -> Generator[tuple[str, Fault | None]]:
    """Yields the URL to ask, and the server that is there."""
    with ExitStack() as stack:
        match case.place:
            case "refused":
                with socket.create_server(("127.0.0.1", 0)) as gone:
                    port = gone.getsockname()[1]
                yield f"http://127.0.0.1:{port}", None
            case "unresolved":
                yield f"http://{_UNRESOLVABLE}:80", None
            case "unanswered":
                full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
                for _ in range(4):
                    waiting = stack.enter_context(socket.socket())
                    waiting.setblocking(False)
                    waiting.connect_ex(full.getsockname())
                yield f"http://127.0.0.1:{full.getsockname()[1]}", None
            case "mute" | "dripping" | "plain":
                # A record of TLS that is announced with 16 KB (RFC 8446, section 5.1), and comes slowly.
                says = {"dripping": b"\x16\x03\x03\x40\x00", "plain": b"HTTP/1.1 400 Bad Request\r\n\r\n"}
                yield stack.enter_context(_no_handshake(says.get(case.place, b""))), None
            case _:
                certificates = {
                    "good": tls.good_path,
                    "unknown": tls.good_path,
                    "expired": tls.expired_path,
                    "wrong_name": tls.wrong_name_path,
                }
                server = stack.enter_context(Fault(b"", certificate=certificates.get(case.place)))
                port = server.url.rpartition(":")[2].encode()
                server.scripts[:] = [_put(script, port) for script in case.scripts]
                yield server.url, server


def _put(script: Script, port: bytes) -> Script:
    """Returns a script with the port in it."""
    if isinstance(script, bytes):
        return script.replace(b"@PORT@", port)
    return script


@contextmanager
def _no_handshake(says: bytes) -> Generator[str]:
    """Yields the URL of a server that says something in place of a handshake, then a byte now and then."""
    ended = threading.Event()

    def serve() -> None:
        with suppress(OSError):  # of accept() at the end
            while True:
                connection, _ = server.accept()
                with connection, suppress(OSError):  # the client has given up
                    connection.sendall(says)
                    while not ended.wait(0.02):
                        connection.sendall(says and b"\x02")
                        if not says and not connection.recv(4096):
                            break

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()

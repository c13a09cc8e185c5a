"""Relays between TCP and sockets in the file system, which pass from one network namespace to another."""

import fcntl
import socket
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, BaseServer, ThreadingTCPServer, ThreadingUnixStreamServer

from .process import HOST

SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # netdevice(7)


def loopback_up() -> None:
    """Let this network namespace reach itself."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def to_path(port: int, path: Path) -> None:
    """Relay what comes to a port, as long as this process lives."""
    _serve(ThreadingTCPServer((HOST, port), _handler(lambda: _connect(path))))


@contextmanager
def from_path(path: Path, port: int) -> Generator[None]:
    """Relay what comes to a socket in the file system to a port."""
    server = ThreadingUnixStreamServer(str(path), _handler(lambda: socket.create_connection((HOST, port))))
    server.block_on_close = False
    _serve(server)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _serve(server: BaseServer) -> None:
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


def _handler(connect: Callable[[], socket.socket]) -> type[BaseRequestHandler]:
    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with connect() as other:
                back = threading.Thread(target=_copy, args=[other, self.request], daemon=True)
                back.start()
                _copy(self.request, other)
                back.join()

    return Handler


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(1 << 16):
            target.sendall(content)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)

"""A server that takes its time for each answer, and counts its connections.

Below /private it refuses requests without a token that is new.
"""

import asyncio
import re
import sys

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
TOKEN = re.compile(rb"\r\nauthorization: *bearer (?!old\r)", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Server:
    """Answers every request alike."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers on one connection until it ends."""
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = LENGTH.search(head)
                rest = int(length[1]) if length else 0
                while rest:
                    rest -= len(await reader.read(min(rest, 1 << 20)) or b"x" * rest)
                await asyncio.sleep(self.seconds)
                body = b'{"connections": %d}' % self.connections
                if b" /private" in head and not TOKEN.search(head):
                    body = b"not JSON"
                writer.write(HEAD % len(body) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def main() -> None:
    port, milliseconds = map(int, sys.argv[1:])
    server = await asyncio.start_server(Server(milliseconds / 1000).serve, "127.0.0.1", port)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

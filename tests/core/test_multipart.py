"""Forms and files: what is sent, how much of it, and in how little memory."""

import hashlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from enum import Enum
from http.client import HTTPConnection
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any, BinaryIO, cast

import pytest
import urllib3
from servers.apache import Apache
from servers.fault import End, Fault, Script, reply
from servers.process import HOST
from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from cruds.demo.api import DemoAPI
from cruds_core import Client, ContentError
from cruds_core.multipart import Stream, encode_form

MIB = 1 << 20
SIZE = MIB + 5  # bytes of a file that are read in several pieces, the last one not full
GROWTH = 2 * MIB  # bytes of memory that sending a large file may take


def field(name: str, data: str | bytes, **headers: str) -> RequestField:
    """Returns a RequestField with headers of its own."""
    made = RequestField(name, data, headers=dict(headers))
    made.make_multipart(content_type="text/csv")
    return made


def boundary_of(content_type: str) -> str:
    """Returns the boundary that a Content-Type names."""
    found = re.fullmatch(r"multipart/form-data; boundary=([0-9a-f]{32})", content_type)
    assert found
    return found[1]


def content_of(fields: Any) -> bytes:
    """Returns the form as one text, with the boundary of each call alike."""
    content, content_type = encode_form(fields)
    text = content if isinstance(content, bytes) else content.read()
    return text.replace(boundary_of(content_type).encode(), b"boundary")


#: Its members are texts, but write their names where a text is made of them.
Colour: Any = Enum("Colour", {"RED": "red"}, type=str)


class Array:
    """Has no truth, as an array of several numbers has none."""

    def __bool__(self) -> bool:
        raise ValueError

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])


class Forgetful(io.BytesIO):
    """A file that does not say where it is, as one of codecs."""

    def seek(self, *place: int) -> Any:
        """Go there, and return nothing."""
        super().seek(*place)


def released() -> memoryview:
    """Returns a memoryview of nothing any more."""
    view = memoryview(b"x")
    view.release()
    return view


IN_MEMORY: dict[str, Any] = {
    "text": {"a": "text"},
    "bytes": {"a": b"\x00\xff"},
    "int": {"a": 5},
    "text of an enumeration": {"a": Colour.RED},
    "empty": {"a": "", "b": b""},
    "not ASCII": {"ä": "ü☃"},
    "name and text": {"a": ("a.txt", "text")},
    "name and bytes": {"a": ("a.bin", b"\x00\xff")},
    "name, bytes and type": {"a": ("a.bin", b"\x00\xff", "image/png")},
    "no name": {"a": (None, "text")},
    "unknown type": {"a": ("a.unknown-suffix", b"x")},
    "quotes and line breaks": {'a"\r\nb': ('c"\r\nd', "text")},
    "name that is not ASCII": {"a": ("übung ☃.txt", b"x")},
    "pairs": [("a", "1"), ("a", "2"), ("b", ("b.txt", b"3"))],
    "RequestField": [field("a", b"1;2"), ("b", "text"), field("c", "3;4", **{"X-Own": "1"})],
    "mixed": {"a": "text", "b": b"bytes", "c": 5, "d": ("d.txt", "x"), "e": ("e", b"x", "text/plain")},
}


@pytest.mark.parametrize("fields", IN_MEMORY.values(), ids=IN_MEMORY)
def test_fields_are_written_as_urllib3_writes_them(fields: Any) -> None:
    """Each form of a field gives the bytes that encode_multipart_formdata gives."""
    theirs, _ = encode_multipart_formdata(fields, "boundary")
    assert content_of(fields) == theirs


@pytest.mark.parametrize("fields", IN_MEMORY.values(), ids=IN_MEMORY)
def test_files_are_written_like_bytes(fields: Any) -> None:
    """A file in place of bytes is sent as those bytes would be."""
    theirs, _ = encode_multipart_formdata([*listed(fields), ("z", ("z.bin", b"\x00z", "x/y"))], "boundary")
    assert content_of([*listed(fields), ("z", ("z.bin", io.BytesIO(b"\x00z"), "x/y"))]) == theirs


def listed(fields: Any) -> list[Any]:
    """Returns the pairs of a mapping, or the pairs."""
    return list(fields.items() if hasattr(fields, "items") else fields)


def test_an_open_file_is_sent_under_its_own_name(tmp_path: Path) -> None:
    """A bare file needs no tuple: it has its name, and the type that the name stands for."""
    path = tmp_path / "übung.png"
    path.write_bytes(b"\x89PNG")
    with path.open("rb") as file:
        content = content_of({"a": file})
    assert content == encode_multipart_formdata({"a": ("übung.png", b"\x89PNG")}, "boundary")[0]


def test_a_file_without_a_name_is_sent_under_the_name_of_its_field() -> None:
    """A reader that has no name of its own is a file all the same, named like the field."""
    expected = encode_multipart_formdata({"a": ("a", b"x")}, "boundary")[0]
    assert content_of({"a": io.BytesIO(b"x")}) == expected


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a://[.txt", "text/plain"),
        ("//[.txt", "text/plain"),
        ("data:text/html,x.png", "image/png"),
        ("a?.x#.txt", "text/plain"),
    ],
)
def test_the_name_of_a_file_is_no_url(name: str, content_type: str) -> None:
    """The type is that of the last suffix, whatever a URL of these characters would mean."""
    assert f"Content-Type: {content_type}\r\n".encode() in content_of({"a": (name, b"x")})


def test_one_file_can_stand_in_several_fields() -> None:
    """The same open file may be given twice, and is sent whole each time."""
    file = io.BytesIO(b"content")
    expected = encode_multipart_formdata({"a": ("x", b"content"), "b": ("y", b"content")}, "boundary")[0]
    assert content_of({"a": ("x", file), "b": ("y", file)}) == expected


BAD_FIELDS: dict[str, Any] = {
    "None": {"a": None},
    "float": {"a": 1.5},
    "bool": {"a": True},
    "list": {"a": ["x"]},
    "mapping": {"a": {"b": "x"}},
    "one in a tuple": {"a": ("a.txt",)},
    "four in a tuple": {"a": ("a.txt", b"x", "text/plain", {})},
    "no data in a tuple": {"a": ("a.txt", None)},
    "number as filename": {"a": (5, b"x")},
    "number as name": {5: "x"},
    "str": "a=1",
    "bytes": b"a=1",
    "number": 5,
    "names alone": ["a", "b"],
    "triple": [("a", "b", "c")],
    "text file": {"a": io.StringIO("x")},
    "text file in a tuple": {"a": ("a.txt", io.StringIO("x"))},
    "surrogate in text": {"a": "\ud800"},
    "surrogate in the name": {"\ud800": "x"},
    "surrogate in the filename": {"a": ("\udcff.txt", b"x")},
    "number as type": {"a": ("a.txt", b"x", 5)},
    "line break in the type": {"a": ("a.txt", b"x", "text/plain\r\nX-Own: 1")},
    "line break in a header": [field("a", b"x", **{"X-Own": "1\n2"})],
    "line break in the name of a header": [field("a", b"x", **{"X\r\nX-Own": "1"})],
    "array": Array(),
    "long integer": {"a": 10**5000},
    "released memoryview": {"a": released()},
    "file that tells no place": {"a": Forgetful(b"x")},
    "number as the name of a header": [RequestField("a", b"x", headers=cast("Any", {1: "x"}))],
    "number in a header": [field("a", b"x", **cast("Any", {"X-Own": 1}))],
}


@pytest.mark.parametrize("fields", BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_bad_fields(fields: Any) -> None:
    """A field of another form is a ContentError, and nothing is sent."""
    with Fault(reply(200)) as server, Client(server.url, retries=0, timeout=10) as client:
        with pytest.raises(ContentError, match="file"):
            client.create("x", None, files=fields)
        assert server.received == []


def test_a_file_in_text_mode_is_refused(tmp_path: Path) -> None:
    """A file that was opened without "b" is refused, and the message says how to open it."""
    path = tmp_path / "a.txt"
    path.write_text("ü")
    with (
        path.open(encoding="utf-8") as file,
        Client("http://127.0.0.1:9", retries=0, serialize=False) as client,
    ):
        with pytest.raises(ContentError, match='"rb"'):
            client.create("x", file)
        with pytest.raises(ContentError, match='"rb"'):
            client.create("x", None, files={"a": file})


def test_files_win_over_data() -> None:
    """With files the content is the form alone, under the Content-Type that names its boundary."""
    with Fault(reply(200)) as server, Client(server.url, retries=0) as client:
        client.create("x", {"not": "sent"}, files={"a": "1"}, headers={"Content-Type": "text/plain"})
    (received,) = server.received
    boundary = boundary_of(received.headers["Content-Type"])
    assert received.content == encode_multipart_formdata({"a": "1"}, boundary)[0]


@pytest.mark.parametrize("files", [None, {}, []])
def test_no_files_is_data(files: Any) -> None:
    """Without files, or with none among them, data is sent."""
    with Fault(reply(200)) as server, Client(server.url, retries=0) as client:
        client.create("x", {"a": 1}, files=files)
    assert server.received[0].content == b'{"a":1}'


@pytest.mark.parametrize(("replace", "method"), [(False, "PATCH"), (True, "PUT")])
def test_update_sends_files(replace: bool, method: str) -> None:
    """An update sends a form as a create does."""
    with Fault(reply(200)) as server, Client(server.url, retries=0) as client:
        client.update("x", None, None, replace, {"a": "1"})
    (received,) = server.received
    assert received.method == method
    assert b'name="a"' in received.content


def test_a_form_arrives_at_the_api(api: DemoAPI, tmp_path: Path) -> None:
    """Fields and files arrive whole at the embedded API, named and typed."""
    path = tmp_path / "übung ☃.bin"
    path.write_bytes(os.urandom(300_000))
    with Client(api.url, api.token, retries=0) as client, path.open("rb") as file:
        client.create("things", {"name": "lamp"})
        fields = [("note", "ü"), ("count", 2), ("tag", "a"), ("tag", "b"), ("file", file)]
        answer = client.create("things/1/files", None, files=[*fields, ("text", ("a.txt", "x"))])
        content = client.read("things/1/files/%C3%BCbung%20%E2%98%83.bin")
    assert answer["fields"] == {"note": "ü", "count": "2", "tag": ["a", "b"]}
    assert [(about["filename"], about["content_type"], about["size"]) for about in answer["files"]] == [
        ("übung ☃.bin", "application/octet-stream", 300_000),
        ("a.txt", "text/plain", 1),
    ]
    assert content == path.read_bytes()


def test_a_form_arrives_at_httpbin(httpbin: str) -> None:
    """Fields and files arrive whole at httpbin."""
    files = {"note": "ü", "a": ("a.txt", "text ☃"), "b": ("b.txt", io.BytesIO(b"from a file"))}
    with Client(httpbin, retries=0) as client:
        answer = client.create("post", None, files=files)
    assert answer["form"] == {"note": "ü"}
    assert answer["files"] == {"a": "text ☃", "b": "from a file"}


@pytest.mark.parametrize("seekable", [True, False], ids=["file", "pipe"])
def test_a_form_arrives_at_apache(apache: Apache, seekable: bool) -> None:
    """A streamed form arrives at Apache byte for byte, with a length or in chunks."""
    content = os.urandom(50_000)
    file = io.BytesIO(content) if seekable else pipe(content)
    with Client(apache.url, retries=0) as client, file:
        answer = client.create("echo", None, files={"a": "text", "b": ("b.bin", file)})
    boundary = boundary_of(answer["content_type"])
    sent, _ = encode_multipart_formdata({"a": "text", "b": ("b.bin", content)}, boundary)
    assert (answer["length"], answer["sha256"]) == (len(sent), hashlib.sha256(sent).hexdigest())


def pipe(content: bytes) -> BinaryIO:
    """Returns a file that can be read once: the end of a pipe."""
    source, target = os.pipe()
    with os.fdopen(target, "wb") as file:
        file.write(content)
    return os.fdopen(source, "rb")


@pytest.mark.parametrize("form", [True, False], ids=["form", "raw"])
def test_a_file_announces_its_length(form: bool) -> None:
    """A file that can seek is sent with its length, and from where it stands."""
    file = io.BytesIO(b"skipped, sent")
    file.seek(9)
    assert send(file, form) == [(str(len(written(b"sent", form))), None, written(b"sent", form))]


@pytest.mark.parametrize("form", [True, False], ids=["form", "raw"])
def test_a_reader_that_cannot_seek_is_chunked(form: bool) -> None:
    """A file that cannot seek is sent in chunks, without a length."""
    with pipe(b"sent") as file:
        assert send(file, form) == [(None, "chunked", written(b"sent", form))]


@pytest.mark.parametrize("form", [True, False], ids=["form", "raw"])
@pytest.mark.parametrize("retried", [503, 429, 408])
def test_a_file_is_sent_again_from_where_it_stood(form: bool, retried: int) -> None:
    """A retry sends the file from the place where it stood at the call, not from its start."""
    file = io.BytesIO(b"skipped, sent")
    file.seek(9)
    expected = (str(len(written(b"sent", form))), None, written(b"sent", form))
    assert send(file, form, reply(retried), reply(200)) == [expected, expected]


def written(content: bytes, form: bool) -> bytes:
    """Returns the content of a request with the file, by itself or in a form."""
    return encode_multipart_formdata({"a": ("a.bin", content)}, "b" * 32)[0] if form else content


def send(file: BinaryIO, form: bool, *answers: bytes) -> list[tuple[str | None, str | None, bytes]]:
    """Sends a file, and returns the length, the coding and the content of each request that arrived."""
    options: dict[str, Any] = {"retries": 1, "backoff_factor": 0, "serialize": form, "timeout": 10}
    with Fault(*(answers or [reply(200)])) as server, Client(server.url, **options) as client:
        if form:
            client.create("x", None, files={"a": ("a.bin", file)})
        else:
            client.create("x", file)
    seen: list[tuple[str | None, str | None, bytes]] = []
    for received in server.received:
        content = received.content
        if form:
            content = content.replace(boundary_of(received.headers["Content-Type"]).encode(), b"b" * 32)
        seen.append((received.headers["Content-Length"], received.headers["Transfer-Encoding"], content))
    return seen


class Changing(io.FileIO):
    """A file that somebody else cuts, or writes to, after the first piece of it was read."""

    size = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and let the other one at the file."""
        content = super().read(size)
        os.truncate(self.fileno(), self.size)
        return content


@pytest.fixture
def changing(tmp_path: Path) -> Iterator[Changing]:
    """An open file."""
    path = tmp_path / "changing.bin"
    path.write_bytes(b"x" * SIZE)
    with Changing(path, "rb+") as file:
        yield file


def test_a_file_that_shrinks(changing: Changing) -> None:
    """A file that gets shorter while it is sent is a ContentError, and the Client goes on working."""
    with Fault(reply(200)) as server, Client(server.url, retries=2, backoff_factor=0) as client:
        with pytest.raises(ContentError, match="shorter"):
            client.create("x", None, files={"a": ("a.bin", changing)})
        client.create("y", {"a": 1})
        assert server.connections == 2  # the first is broken; there was no third
    (second,) = [received for received in server.received if received.target == "/y"]
    assert second.content == b'{"a":1}'


@pytest.mark.parametrize("library", ["urllib3", "http.client"])
def test_an_answer_that_breaks_while_it_is_sent(library: str) -> None:
    """Another server's answer that breaks while it is sent on is a ContentError, no fault of this one."""
    cut: Script = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", End.CLOSE]
    with (
        Fault(cut) as source,
        closing(HTTPConnection(HOST, source.server_address[1])) as connection,
        Fault(reply(200)) as server,
        Client(server.url, serialize=False) as client,
    ):
        answer: Any
        if library == "urllib3":
            answer = urllib3.request("GET", source.url, preload_content=False)
        else:
            connection.request("GET", "/")
            answer = connection.getresponse()
        with answer, pytest.raises(ContentError, match="could not be read while it was being sent"):
            client.update("x", answer, replace=True)


def test_a_file_that_grows(changing: Changing) -> None:
    """Of a file that gets longer while it is sent, only what was there at first is sent."""
    changing.size = 2 * MIB
    with Fault(reply(200)) as server, Client(server.url, retries=0) as client:
        client.create("x", None, files={"a": ("a.bin", changing)})
        client.create("y", {"a": 1})
    form, _ = server.received
    boundary = boundary_of(form.headers["Content-Type"])
    assert form.content == encode_multipart_formdata({"a": ("a.bin", b"x" * SIZE)}, boundary)[0]


@pytest.mark.parametrize("form", [False, True])
def test_a_file_that_stands_beyond_its_end(form: bool) -> None:
    """A file that was put beyond its end has nothing to send, and makes nothing else shorter."""
    file = io.BytesIO(b"x" * 10)
    file.seek(100)
    stream = Stream([b"head", file, b"tail"] if form else [file])
    content = b"headtail" if form else b""
    assert stream.length == len(content)
    assert stream.read() == content


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_a_file_that_cannot_seek_to_its_end() -> None:
    """A file of which nobody can tell the length is sent in chunks."""
    with (
        Fault(reply(200)) as server,
        Client(server.url, serialize=False) as client,
        Path("/proc/self/status").open("rb") as file,
    ):
        client.create("x", file)
    (received,) = server.received
    assert received.headers["transfer-encoding"] == "chunked"
    assert b"Name:" in received.content


class Strings:
    """A reader that returns str."""

    def read(self, size: int = -1, /) -> Any:
        """Read as a file in text mode does."""
        return "text"


def test_a_reader_of_text_is_refused() -> None:
    """A reader that returns no bytes is a ContentError, and is not sent as something else."""
    with Fault(reply(200)) as server, Client(server.url, retries=0, timeout=10) as client:
        with pytest.raises(ContentError, match="must return bytes"):
            client.create("x", None, files={"a": ("a.txt", Strings())})
        assert [received.target for received in server.received] == []


class TooMuch(io.BytesIO):
    """A file that gives a byte more than it is asked for, three times."""

    times = 3

    def read(self, size: int | None = -1, /) -> bytes:
        """Give as much, and a byte."""
        self.times -= 1
        return b"x" * ((size or 0) + 1 if self.times >= 0 else 0)


def test_reader_that_gives_more_than_it_has() -> None:
    """Bytes beyond the announced length are not sent: the server would take them for another request."""
    with Fault(reply(200)) as server, Client(server.url, serialize=False, retries=0) as client:
        with pytest.raises(ContentError, match="more bytes than it was asked for"):
            client.create("x", TooMuch(b"content"))
        assert client.read("x") == b"{}"
        assert [request.method for request in server.received] == ["GET"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, -1])
def test_a_stream_is_read_in_pieces_of_any_size(size: int) -> None:
    """The pieces of a stream make up its content, whatever their size, and once more after a rewind."""
    stream = Stream([b"head ", io.BytesIO(b"middle"), b"", io.BytesIO(b""), b" tail"])
    assert stream.length == len(b"head middle tail")
    for _ in range(2):
        pieces = list(iter(lambda: stream.read(size), b""))
        assert b"".join(pieces) == b"head middle tail"
        assert size < 0 or max(map(len, pieces)) <= size
        stream.seek(0)


class Drain(StreamRequestHandler):
    """Counts the bytes of a request in constant memory, and answers with their number."""

    def handle(self) -> None:
        """Answer one request."""
        length = 0
        while (line := self.rfile.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        count = 0
        while count < length and (read := len(self.rfile.read1(MIB))):
            count += read
        answer = str(count).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(answer))
        self.wfile.write(answer)


@pytest.fixture
def drain() -> Iterator[str]:
    """The URL of a server that keeps nothing of what it is sent."""
    with ThreadingTCPServer((HOST, 0), Drain) as server:
        thread = Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield f"http://{HOST}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


# VmHWM is the peak of this process alone; ru_maxrss would begin with that of the process that started it.
UPLOAD = """
import re, sys
from pathlib import Path
from cruds_core import Client

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10

url, small, large = sys.argv[1:]
with Client(url, retries=0) as client:
    with open(small, "rb") as file:
        client.create("warm", None, files={"file": file})
    before = peak()
    with open(large, "rb") as file:
        sent = client.create("large", None, files={"note": "x", "file": file})
print(sent, peak() - before)
"""


def test_a_large_file_is_sent_in_constant_memory(drain: str, tmp_path: Path) -> None:
    """An upload of 200 MiB arrives whole, and takes less than 2 MiB of memory."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of memory is read from Linux's /proc")
    small, large = tmp_path / "small.bin", tmp_path / "large.bin"
    small.write_bytes(b"x")
    with large.open("wb") as file:
        file.truncate(200 * MIB)  # sparse: it takes no room on the disk
    command = [sys.executable, "-c", UPLOAD, drain, str(small), str(large)]
    output = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout
    sent, growth = map(int, output.split())
    assert sent > 200 * MIB
    assert growth < GROWTH

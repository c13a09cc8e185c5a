"""Downloads: under a safe name, whole or not at all, over no other file, in constant memory."""

import errno
import gzip
import os
import re
import resource
import subprocess
import sys
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.fault import End, Fault, Script, reply

from cruds.demo.api import DemoAPI
from cruds_core import (
    Client,
    ClientError,
    DecompressionError,
    RequestTimeoutError,
    ServerError,
    StatusError,
    TruncatedResponseError,
)
from cruds_core.download import safe_name

MIB = 1 << 20
GROWTH = 2 * MIB  # bytes of memory that receiving a large file may take


def answer(disposition: bytes | None = None, content: bytes = b"content") -> bytes:
    """Returns a whole answer with a Content-Disposition as it stands."""
    header = b"" if disposition is None else b"Content-Disposition: " + disposition + b"\r\n"
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(content), header) + content


def download(folder: Path, *scripts: Script, uri: str = "files/url.txt", **options: Any) -> Path:
    """Downloads from a server that answers with the scripts."""
    arguments: dict[str, Any] = {"retries": 2, "backoff_factor": 0} | options
    filename = arguments.pop("filename", None)
    with Fault(*scripts) as server, Client(server.url, **arguments) as client:
        return client.download(uri, folder, filename)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="a.txt"', "a.txt"),
        ("attachment; filename=a.txt", "a.txt"),
        ("attachment;filename=a.txt", "a.txt"),
        ('ATTACHMENT; FileName="a.txt"', "a.txt"),
        ('inline; filename="a.txt"', "a.txt"),
        ('attachment; size=5; filename="a.txt"; x=y', "a.txt"),
        ('attachment; filename="a b;c.txt"', "a b;c.txt"),
        ('attachment; filename="a\\"b.txt"', "a_b.txt"),
        ("attachment; filename*=UTF-8''na%C3%AFve%20%E2%98%83.txt", "naïve ☃.txt"),
        ("attachment; filename*=utf-8'en'a.txt", "a.txt"),
        ("attachment; filename*=ISO-8859-1''na%EFve.txt", "naïve.txt"),
        ("attachment; filename*=UTF-8''%C3%83%C2%A9.txt", "Ã©.txt"),
        ("attachment; filename=\"plain.txt\"; filename*=UTF-8''full.txt", "full.txt"),
        ("attachment; filename*=UTF-8''full.txt; filename=\"plain.txt\"", "full.txt"),
        ('attachment; filename="naïve ☃.txt"', "naïve ☃.txt"),
        ('attachment; filename="50% off.txt"', "50% off.txt"),
    ],
)
def test_name_from_content_disposition(tmp_path: Path, disposition: str, name: str) -> None:
    """Each form of a filename in Content-Disposition names the file (RFC 6266, RFC 8187)."""
    path = download(tmp_path, answer(disposition.encode()))
    assert path == tmp_path / name
    assert path.read_bytes() == b"content"


def test_name_in_latin_1(tmp_path: Path) -> None:
    """A filename in Latin-1, which headers were made of once, is read as that."""
    path = download(tmp_path, answer('attachment; filename="naïve.txt"'.encode("latin-1")))
    assert path.name == "naïve.txt"


@pytest.mark.parametrize(
    "disposition",
    [
        None,
        "",
        ";;;",
        "attachment",
        "attachment; filename",
        'attachment; filename=""',
        'attachment; filename=".."',
        'attachment; filename="/"',
        "attachment; filename*=UTF-8''",
        "attachment; filename*=undefined''x",
        "attachment; filename*=idna''x",
        "attachment; filename*=no-such-charset''x",
    ],
)
def test_name_from_the_url(tmp_path: Path, disposition: str | None) -> None:
    """Without a usable filename in Content-Disposition, the last segment of the URL names the file."""
    script = answer(None if disposition is None else disposition.encode())
    assert download(tmp_path, script, filename="fallback").name == "url.txt"


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("a/b.txt", "b.txt"),
        ("a/b.txt?name=c.txt", "b.txt"),
        ("a/na%C3%AFve%20b.txt", "naïve b.txt"),
        ("a/x%2Fy%2Fb.txt", "b.txt"),
        ("a/.bashrc", "bashrc"),
    ],
)
def test_name_in_the_url(tmp_path: Path, uri: str, name: str) -> None:
    """The name from the URL is decoded, made safe, and has no query."""
    assert download(tmp_path, answer(), uri=uri).name == name


@pytest.mark.parametrize("uri", ["", "files/", "files/...", "?a=1"])
def test_name_from_the_call(tmp_path: Path, uri: str) -> None:
    """Where neither the answer nor the URL has a name, filename= gives it, made safe."""
    assert download(tmp_path, answer(), uri=uri, filename="../own name.txt").name == "own name.txt"
    with pytest.raises(ValueError, match="pass filename="):
        download(tmp_path, answer(), uri=uri)
    assert [path.name for path in tmp_path.iterdir()] == ["own name.txt"]


UNSAFE: dict[str, tuple[str, str]] = {
    "absolute path": ("/etc/passwd", "passwd"),
    "parent folders": ("../../etc/passwd", "passwd"),
    "Windows path": ("C:\\Windows\\system.ini", "system.ini"),
    "Windows parent folders": ("..\\..\\x", "x"),
    "drive": ("C:x", "C_x"),
    "hidden": (".bashrc", "bashrc"),
    "hidden after spaces": (" . .profile", "profile"),
    "dots at the end": ("a.txt. .", "a.txt"),
    "stream of NTFS": ("a.txt:hidden", "a.txt_hidden"),
    "forbidden on Windows": ('a<b>c"d|e?f*g', "a_b_c_d_e_f_g"),
    "device": ("CON", "_CON"),
    "device with a suffix": ("nul.tar.gz", "_nul.tar.gz"),
    "device with a space": ("aux .txt", "_aux.txt"),
    "port": ("com1.txt", "_com1.txt"),
    "superscript port": ("LPT²", "_LPT²"),
    "console": ("CONIN$", "_CONIN$"),
    "like a device": ("console.txt", "console.txt"),
    "control characters": ("a\x00b\nc\x1bd\x7f", "abcd"),
    "bidi": ("invoice\u202exslx.exe", "invoicexslx.exe"),
    "isolates and zero width": ("a\u2066\u200b\ufeffb", "ab"),
    "line separator": ("a\u2028b", "ab"),
    "surrogate": ("a\udcffb", "ab"),
    "long": ("x" * 300 + ".txt", "x" * 251 + ".txt"),
    "long, without a suffix": ("x" * 300, "x" * 255),
    "long, not ASCII": ("ü" * 200 + ".txt", "ü" * 125 + ".txt"),
    "long suffix": ("a." + "b" * 300, "a." + "b" * 253),
    "nothing left": ("...", ""),
    "folder": ("a/", ""),
}


@pytest.mark.parametrize(("text", "name"), UNSAFE.values(), ids=UNSAFE)
def test_unsafe_names(text: str, name: str) -> None:
    """What leads out of the folder, hides a file or means something on some system is taken out of a name."""
    assert safe_name(text) == name


NAMED = """
import sys
from cruds_core import Client

print(ascii(Client(sys.argv[1]).download("file", sys.argv[2]).name))
"""


def test_name_that_the_system_cannot_encode(tmp_path: Path) -> None:
    """Where names are ASCII, as in the locale C without UTF-8, another character becomes "_"."""
    ascii_names = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with Fault(answer('attachment; filename="naïve ☃.txt"'.encode())) as server:
        command = [sys.executable, "-c", NAMED, server.url, str(tmp_path)]
        output = subprocess.run(
            command, env=os.environ | ascii_names, capture_output=True, check=True, text=True, timeout=60
        ).stdout
    assert output == "'na_ve _.txt'\n"
    assert (tmp_path / "na_ve _.txt").read_bytes() == b"content"


NAMES = st.text() | st.text(st.sampled_from("./\\ a:ü\x00\u202econ1")) | st.text("ü.", min_size=130)


@given(NAMES)
def test_any_name_is_safe(text: str) -> None:
    """Whatever the text, the name is one segment that every file system takes, or nothing."""
    name = safe_name(text)
    assert not re.search(r'[<>:"/\\|?*]', name)
    assert all(unicodedata.category(character) not in ("Cc", "Cf", "Cs") for character in name)
    assert name == name.strip(" .")
    assert len(name.encode()) <= 255
    assert not re.match(r"(con|prn|aux|nul|com[1-9]|lpt[1-9]) *(\.|$)", name, re.IGNORECASE)
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "text", ["../../escaped.txt", "/etc/escaped.txt", "..\\escaped.txt", "%2e%2e%2fescaped.txt"]
)
def test_a_server_cannot_choose_the_folder(tmp_path: Path, text: str) -> None:
    """A file lands in the folder that was asked for, whatever path the server names."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    extended = text.replace("%2e", ".").replace("%2f", "/").replace("/", "%2F").replace("\\", "%5C")
    for disposition in (f'attachment; filename="{text}"', f"attachment; filename*=UTF-8''{extended}"):
        path = download(folder, answer(disposition.encode()))
        assert path.parent == folder
        path.unlink()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, or one without."""

    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "as of vfat")

    if not request.param:
        monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("links")
def test_one_file_is_left(tmp_path: Path) -> None:
    """What is left of a download is its file, with or without hard links."""
    download(tmp_path, answer())
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("url.txt", b"content")]


@pytest.mark.usefixtures("links")
@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link"])
def test_nothing_is_replaced(tmp_path: Path, kind: str) -> None:
    """A download replaces no file, folder or link, and leaves the one that is there as it is."""
    path, elsewhere = tmp_path / "url.txt", tmp_path / "elsewhere"
    match kind:
        case "file":
            path.write_bytes(b"mine")
        case "folder":
            path.mkdir()
        case "link":
            elsewhere.write_bytes(b"mine")
            path.symlink_to(elsewhere)
        case _:
            path.symlink_to(elsewhere)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FileExistsError, match=r"url\.txt"):
        download(tmp_path, answer())
    assert sorted(tmp_path.iterdir()) == before
    assert not path.is_file() or path.read_bytes() == b"mine"


@pytest.mark.usefixtures("links")
def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    """A file that somebody else makes during the download is not replaced either."""
    path = tmp_path / "url.txt"

    def appear() -> None:
        path.write_bytes(b"mine")

    script: Script = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 200_000,
        appear,
        b"x" * 100_000,
    ]
    with pytest.raises(FileExistsError, match=r"url\.txt"):
        download(tmp_path, script)
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("url.txt", b"mine")]


PART = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 200_000


def compressed(content: bytes) -> bytes:
    """Returns an answer that says of its content that it is gzip."""
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(content) + content


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([PART, End.CLOSE], TruncatedResponseError),
        ([PART, 5.0], RequestTimeoutError),
        (compressed(gzip.compress(b"x" * 1000)[:-20] + b"y" * 20), DecompressionError),
        (reply(404), ClientError),
        (reply(500), ServerError),
    ],
    ids=["truncated", "timeout", "compression", "404", "500"],
)
def test_a_broken_transfer_leaves_nothing(tmp_path: Path, script: Script, error: type[Exception]) -> None:
    """After an answer that is no file, or not a whole one, the folder is as empty as before."""
    with pytest.raises(error):
        download(tmp_path, script, timeout=0.5, retries=1)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def largest_file(size: int) -> Generator[None]:
    """Lets this process write no file over so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """When the file cannot be written, the error of the system is raised, and nothing is left."""
    with largest_file(100_000), pytest.raises(OSError, match="File too large"):
        download(tmp_path, answer(content=b"x" * 300_000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "script", [[PART, End.CLOSE], End.RESET, reply(503)], ids=["truncated", "reset", "503"]
)
def test_a_broken_download_is_tried_again(tmp_path: Path, script: Script) -> None:
    """A transfer that broke begins anew, and the file holds the content of the last one alone."""
    path = download(tmp_path, script, answer(content=b"whole"))
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("script", "error"),
    [(reply(404), ClientError), (b"HTTP/1.1 304 Not Modified\r\n\r\n", StatusError)],
    ids=["404", "304"],
)
def test_a_tolerated_status_is_no_file(tmp_path: Path, script: bytes, error: type[StatusError]) -> None:
    """An answer that is no file raises, though its status is tolerated elsewhere."""
    with Fault(script) as server, Client(server.url, raise_status=False, retries=0) as client:
        client.status_ignore.update({404, 304})
        with pytest.raises(StatusError) as caught:
            client.download("url.txt", tmp_path)
    assert type(caught.value) is error
    assert list(tmp_path.iterdir()) == []


def test_a_download_has_no_limit(tmp_path: Path) -> None:
    """A download may be larger than max_response_size."""
    path = download(tmp_path, answer(content=b"x" * 300_000), max_response_size=10)
    assert path.stat().st_size == 300_000


def test_a_compressed_download_is_written_decompressed(tmp_path: Path) -> None:
    """What came compressed for the transfer is the file itself on disk."""
    path = download(tmp_path, compressed(gzip.compress(b"x" * 300_000)))
    assert path.read_bytes() == b"x" * 300_000


@pytest.mark.parametrize(
    "script", [answer(content=b""), b"HTTP/1.1 204 No Content\r\n\r\n"], ids=["200", "204"]
)
def test_an_empty_download_is_an_empty_file(tmp_path: Path, script: bytes) -> None:
    """An answer without content is an empty file."""
    assert download(tmp_path, script).read_bytes() == b""


@pytest.mark.parametrize("serialize", [True, False])
def test_json_is_written_as_it_came(tmp_path: Path, serialize: bool) -> None:
    """JSON is not decoded on its way to the file."""
    path = download(tmp_path, reply(200, b'{"a":  1}'), serialize=serialize)
    assert path.read_bytes() == b'{"a":  1}'


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_mode_honours_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    """A downloaded file has the mode of any new file, and the umask stays as it was."""
    before = os.umask(umask)
    try:
        path = download(tmp_path, answer())
    finally:
        after = os.umask(before)
    assert path.stat().st_mode & 0o777 == mode
    assert after == umask


def test_the_current_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without path= the file lands in the current folder."""
    monkeypatch.chdir(tmp_path)
    with Fault(answer()) as server, Client(server.url, retries=0) as client:
        assert client.download("url.txt") == tmp_path / "url.txt"


@pytest.mark.parametrize("as_text", [True, False])
def test_path_may_be_text(tmp_path: Path, as_text: bool) -> None:
    """The folder may be a str or a path, and a Path comes back."""
    with Fault(answer()) as server, Client(server.url, retries=0) as client:
        path = client.download("url.txt", str(tmp_path) if as_text else tmp_path)
    assert path == tmp_path / "url.txt"


class BadPath(os.PathLike[str]):
    """A path that says a number where it is to say a text."""

    def __fspath__(self) -> Any:
        return 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": "no/such/folder"}, NotADirectoryError, "path"),
        ({"path": __file__}, NotADirectoryError, "path"),
        ({"path": 5}, TypeError, "path"),
        ({"path": BadPath()}, TypeError, "path must be a str or a path"),
        ({"filename": 5}, TypeError, "filename"),
        ({"uri": 5}, TypeError, "uri"),
    ],
    ids=["no folder", "file", "path", "path of a number", "filename", "uri"],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """A bad argument is an error that names it, before anything is asked for."""
    given: dict[str, Any] = {"uri": "url.txt", **arguments}
    with Fault(answer()) as server, Client(server.url, retries=0) as client:
        with pytest.raises(error, match=message):
            client.download(**given)
        assert server.received == []


def test_an_uploaded_file_comes_back(api: DemoAPI, tmp_path: Path) -> None:
    """A file that was uploaded is downloaded byte for byte, under its own name."""
    content = os.urandom(300_000)
    with Client(api.url, api.token, retries=0) as client:
        client.create("things", {"name": "lamp"})
        client.create("things/1/files", None, files={"file": ("übung ☃.bin", content)})
        path = client.download("things/1/files/%C3%BCbung%20%E2%98%83.bin", tmp_path, params={"v": 2})
    assert path == tmp_path / "übung ☃.bin"
    assert path.read_bytes() == content
    assert api.requests[-1].target.endswith("?v=2")


# VmHWM is the peak of this process alone; ru_maxrss would begin with that of the process that started it.
DOWNLOAD = """
import re, sys
from pathlib import Path
from cruds_core import Client

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10

with Client(sys.argv[1], retries=0) as client:
    client.download("small", sys.argv[2])
    before = peak()
    path = client.download("large", sys.argv[2])
print(path.stat().st_size, peak() - before)
"""


def test_a_large_file_is_received_in_constant_memory(tmp_path: Path) -> None:
    """A download of 100 MiB arrives whole, and takes less than 2 MiB of memory."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of memory is read from Linux's /proc")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (100 * MIB)
    with Fault(answer(), [head, *[b"x" * MIB] * 100]) as server:
        command = [sys.executable, "-c", DOWNLOAD, server.url, str(tmp_path)]
        output = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout
    size, growth = map(int, output.split())
    assert size == 100 * MIB
    assert growth < GROWTH

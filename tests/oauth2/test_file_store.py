"""FileStore: who can read its folder, what is on the disk and when, and what a killed writer leaves."""

import errno
import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from servers.fault import Fault, reply

from cruds_auth_oauth2 import FileStore, OAuth2, OAuthStoreError

KEY = "0123456789abcdef" * 4
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has other permissions")


def mode(path: Path) -> int:
    """Returns the permissions of a file."""
    return stat.S_IMODE(path.lstat().st_mode)


def save(store: FileStore, record: str = "record", key: str = KEY) -> None:
    """Saves a record under the lock."""
    with store.lock(key, lease=10, wait=10):
        store.save(key, record, None)


# Who can read it


@posix
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o177])
def test_permissions(tmp_path: Path, umask: int) -> None:
    """The folder is 0700 and each file 0600, whatever the umask allows."""
    before = os.umask(umask)
    try:
        if umask == 0o177:  # takes the x of new folders, too
            (tmp_path / "tokens").mkdir()
            (tmp_path / "tokens").chmod(0o700)
        store = FileStore(tmp_path / "tokens")
        save(store)
    finally:
        os.umask(before)
    assert mode(store.path) == 0o700
    files = list(store.path.iterdir())
    assert {path.suffix for path in files} == {".token", ".lock"}
    assert {mode(path) for path in files} == {0o600}


@posix
@pytest.mark.parametrize("others", [0o701, 0o710, 0o704, 0o740, 0o702, 0o720, 0o755, 0o777, 0o1777])
def test_folder_that_is_open_to_others(tmp_path: Path, others: int) -> None:
    """A folder in which others can do anything at all is refused, with what it is and the remedy."""
    tmp_path.chmod(others)
    with pytest.raises(OAuthStoreError) as caught:
        FileStore(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} must be a folder of this user, open to nobody else (got mode {others:04o}); "
        "chmod 700, or choose another"
    )


@posix
def test_folder_that_is_opened_later(tmp_path: Path) -> None:
    """No lock is to be had in a folder that somebody has opened since: nothing is written there."""
    store = FileStore(tmp_path / "tokens")
    store.path.chmod(0o750)
    with pytest.raises(OAuthStoreError, match=r"got mode 0750"):
        save(store)
    assert list(store.path.iterdir()) == []


@posix
def test_folder_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of another user is refused, who could read what this one puts there."""
    tmp_path.chmod(0o700)
    user = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(OAuthStoreError, match="must be a folder of this user"):
        FileStore(tmp_path)


@posix
def test_folder_behind_a_symlink(tmp_path: Path) -> None:
    """The folder that a symlink leads to is the one that is judged."""
    for name, permissions in (("open", 0o755), ("closed", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(permissions)
        (tmp_path / f"to {name}").symlink_to(tmp_path / name)
    with pytest.raises(OAuthStoreError, match="got mode 0755"):
        FileStore(tmp_path / "to open")
    save(FileStore(tmp_path / "to closed"))
    assert FileStore(tmp_path / "closed").load(KEY) == "record"


@posix
def test_file_that_is_a_symlink(tmp_path: Path) -> None:
    """A symlink in place of a token is replaced; what it leads to stays as it is."""
    other = tmp_path / "other"
    other.write_text("of somebody else")
    store = FileStore(tmp_path / "tokens")
    (store.path / f"{KEY}.token").symlink_to(other)
    save(store)
    assert other.read_text() == "of somebody else"
    assert not (store.path / f"{KEY}.token").is_symlink()
    assert store.load(KEY) == "record"


@posix
def test_lock_that_is_a_symlink(tmp_path: Path) -> None:
    """A symlink in place of a lock is not followed: an OAuthStoreError, and nothing is changed."""
    store = FileStore(tmp_path / "tokens")
    (store.path / f"{KEY}.lock").symlink_to(tmp_path / "other")
    with pytest.raises(OAuthStoreError, match="the lock cannot be taken"):
        save(store)
    assert not (tmp_path / "other").exists()


# What is on the disk


@posix
def test_record_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is on the disk before it is renamed, then the folder; so is what was removed."""
    store, steps = FileStore(tmp_path / "tokens"), list[str]()
    fsync, replace, unlink = os.fsync, Path.replace, Path.unlink

    def note_fsync(handle: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        steps.append("fsync folder" if is_folder else f"fsync {os.fstat(handle).st_size} bytes")
        fsync(handle)

    def note_replace(path: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(path, target)

    def note_unlink(path: Path, missing_ok: bool = False) -> None:
        steps.append("unlink")
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    monkeypatch.setattr(Path, "unlink", note_unlink)
    store.save(KEY, "record", None)
    assert steps == ["fsync 6 bytes", "rename", "fsync folder"]
    steps.clear()
    store.delete(KEY)
    assert steps == ["unlink", "fsync folder"]


@posix
def test_folder_without_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that has no fsync for folders records are kept; where it fails they may not be."""
    store, fsync, fault = FileStore(tmp_path / "tokens"), os.fsync, errno.EINVAL

    def fsync_of_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(fault, os.strerror(fault))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fsync_of_files)
    save(store)
    assert store.load(KEY) == "record"
    store.delete(KEY)
    assert store.load(KEY) is None
    fault = errno.EIO
    with pytest.raises(OAuthStoreError, match="the token cannot be written: Input/output error"):
        save(store)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_write_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Where a record cannot be written the one before it stays, and nothing else does."""
    store = FileStore(tmp_path / "tokens")
    save(store, "before")
    files = sorted(store.path.iterdir())

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", fail) if step == "fsync" else (Path, "replace", fail)))
        with pytest.raises(OAuthStoreError, match="the token cannot be written: No space left on device"):
            save(store, "after")
    assert sorted(store.path.iterdir()) == files
    assert store.load(KEY) == "before"


def test_folder_is_never_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a token costs does not grow with the number of those of other users."""
    store = FileStore(tmp_path / "tokens")

    def fail(*_: object) -> None:
        pytest.fail("the folder was listed")

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, fail)
    save(store, "record")
    assert store.load(KEY) == "record"


def test_replacement_is_another_file(tmp_path: Path) -> None:
    """Who has opened the old record reads it to its end, though it has been replaced."""
    store = FileStore(tmp_path / "tokens")
    save(store, "old " * 1000)
    with (store.path / f"{KEY}.token").open() as file:
        start = file.read(10)
        save(store, "new")
        assert start + file.read() == "old " * 1000
    assert store.load(KEY) == "new"


KILLED = """
import os, sys
from cruds_auth_oauth2 import FileStore
store = FileStore(sys.argv[1])
os.fsync = lambda _: os.kill(os.getpid(), 9)
with store.lock(sys.argv[2], lease=1000, wait=0):
    store.save(sys.argv[2], "half a record", None)
"""


@posix
def test_leftovers_of_a_killed_writer(tmp_path: Path) -> None:
    """What a writer left that was killed is read by nobody, and its lock is free at once."""
    store = FileStore(tmp_path / "tokens")
    save(store, "before")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(store.path), KEY], check=False)
    assert killed.returncode == -9
    (left,) = [path for path in store.path.iterdir() if path.suffix not in (".token", ".lock")]
    assert left.read_text() == "half a record"
    assert mode(left) == 0o600
    assert store.load(KEY) == "before"
    with store.lock(KEY, lease=10, wait=0):
        store.save(KEY, "after", None)
    assert store.load(KEY) == "after"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", "ä".encode(), b"x" * 9_000_000], ids=range(4))
def test_file_that_was_garbled(tmp_path: Path, content: bytes) -> None:
    """Any bytes come as a text that opens as nothing, of at most 8 MiB."""
    store = FileStore(tmp_path / "tokens")
    (store.path / f"{KEY}.token").write_bytes(content)
    assert store.load(KEY) == content[: 8 << 20].decode("ascii", "replace")


@posix
def test_file_that_is_a_pipe(tmp_path: Path) -> None:
    """A FIFO, which nobody writes to, is read as a text that opens as nothing: nobody waits for it."""
    store = FileStore(tmp_path / "tokens")
    os.mkfifo(store.path / f"{KEY}.token")
    found: list[str | None] = []
    reading = threading.Thread(target=lambda: found.append(store.load(KEY)), daemon=True)
    reading.start()
    reading.join(10)
    assert found == [""]


@pytest.mark.parametrize("text", ["x", "é", "\U0001f511", '"'])
def test_largest_token(tmp_path: Path, text: str) -> None:
    """The token of the largest answer that is read is found again, whatever it grows to when it is sealed."""
    room = (1 << 20) - 200
    written = json.dumps(text, ensure_ascii=False)[1:-1]
    pad = text * (room // len(written.encode()))
    answer = {"access_token": "t", "expires_in": 3600, "pad": pad}
    content = json.dumps(answer, ensure_ascii=False).encode()
    with Fault(reply(200, content)) as server:
        first, second = (
            OAuth2(
                f"{server.url}/token",
                "a-client",
                "a secret",
                "read",
                encryption_key=KEY,
                store=FileStore(tmp_path),
            )
            for _ in range(2)
        )
        assert first.access_token() == second.access_token() == "t"
    assert len(server.received) == 1


def test_token_that_is_a_folder(tmp_path: Path) -> None:
    """What cannot be read, written or removed is an OAuthStoreError that says which, why and where."""
    store = FileStore(tmp_path / "tokens")
    (store.path / f"{KEY}.token" / "more").mkdir(parents=True)
    acts: dict[str, Callable[[], object]] = {
        "read": lambda: store.load(KEY),
        "written": lambda: save(store),
        "removed": lambda: store.delete(KEY),
    }
    for what, act in acts.items():
        message = rf"^the token cannot be {what}: .+ \({re.escape(str(store.path))}\)$"
        with pytest.raises(OAuthStoreError, match=message):
            act()


# Names and paths


def test_names_for_windows(tmp_path: Path) -> None:
    """The names of all files are short, of letters and digits in one case, as every file system has them."""
    store = FileStore(tmp_path / "tokens")
    save(store)
    names = {path.name for path in store.path.iterdir()}
    assert names == {f"{KEY}.token", f"{KEY}.lock"}
    assert all(re.fullmatch(r"[a-z0-9.]{1,80}", name) for name in names)


@pytest.mark.parametrize("kind", [str, Path, PurePosixPath], ids=lambda kind: kind.__name__)
def test_kinds_of_paths(tmp_path: Path, kind: Any) -> None:
    """A str and anything like a path name the folder."""
    store = FileStore(kind(str(tmp_path / "a" / "b" / "tokens")))
    save(store)
    assert store.path == tmp_path / "a" / "b" / "tokens"
    assert repr(store) == f"FileStore({str(store.path)!r})"


def test_path_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is meant from where the program was, and ~ is the user's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    relative, home = FileStore("tokens"), FileStore("~/tokens")
    monkeypatch.chdir("/")
    save(relative)
    assert FileStore(tmp_path / "tokens").load(KEY) == "record"
    assert home.path == tmp_path / "home" / "tokens"


@pytest.mark.parametrize("path", [None, 1, b"tokens", ["tokens"]], ids=repr)
def test_what_is_no_path(path: Any) -> None:
    """What is neither a str nor like a path is a TypeError."""
    with pytest.raises(TypeError, match=rf"^path must be a str or a Path \(got {type(path).__name__}\)$"):
        FileStore(path)


@pytest.mark.parametrize("path", ["", "tok\0ens", "~nobody-of-this-name/tokens"])
def test_what_names_no_folder(path: str) -> None:
    """A path that can be no folder is a ValueError that shows it."""
    with pytest.raises(ValueError, match=r"^path must name a folder \(got ") as caught:
        FileStore(path)
    assert repr(path) in str(caught.value)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way is an OAuthStoreError when the store is made."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "tokens"):
        with pytest.raises(OAuthStoreError, match=r"^the folder cannot be made: (File|Not a dir)"):
            FileStore(path)


def test_threads_make_the_folder(tmp_path: Path) -> None:
    """Programs that start at a time make one folder."""
    start, failed = threading.Barrier(8), list[BaseException]()

    def make() -> None:
        start.wait()
        try:
            for number in range(20):
                save(FileStore(tmp_path / f"tokens {number}"))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []

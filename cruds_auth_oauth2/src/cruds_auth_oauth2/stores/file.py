"""Tokens in the files of a folder, for the processes of one machine."""

from __future__ import annotations

import errno
import importlib
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cruds_core import arguments

from ..exceptions import OAuthStoreError, OAuthStoreLockedError
from .base import TokenStore

if TYPE_CHECKING:
    from collections.abc import Generator

_POLL = 0.02  # seconds between two attempts to take a lock

_ROOM = 16384  # bytes that a record takes at most, with few exceptions

_LARGEST = 8 << 20  # bytes: what an answer of 1 MiB becomes when it is written as JSON twice and sealed


def folder(path: str | os.PathLike[str], name: str) -> Path:
    """The folder that an argument names.

    Args:
        path: What was given.
        name: What the argument is called in a message.

    Raises:
        TypeError: It is no path.
        ValueError: It is empty, holds a NUL or a lone surrogate, or names the home of a user who is unknown.
    """
    given = arguments.path(name, path, "a str or a Path")
    try:
        found = Path(given).expanduser().absolute()
        os.fsencode(found)
    except (RuntimeError, UnicodeError):  # "~user" of nobody, a lone surrogate
        found = Path()
    if not given or "\0" in given or found == Path():
        msg = f"{name} must name a folder (got {given!r})"
        raise ValueError(msg)
    return found


class FileStore(TokenStore):
    """A folder with a file for each token, for the processes of one user on one machine.

    The folder is made where it is missing, and must be open to nobody else (mode 0700). Each file is replaced
    whole, and is on the disk before its token is used. The lock is one of the operating system (flock), which
    ends with the process that holds it, however that ends; put the folder on no network file system.

    Args:
        path: The folder.

    Raises:
        TypeError: ``path`` is no path.
        ValueError: It is empty, holds a NUL or a lone surrogate, or names the home of a user who is unknown.
        OAuthStoreError: The folder cannot be made, or is open to others.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = folder(path, "path")
        with self._errors("the folder cannot be made"):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check()
        importlib.import_module("filelock")  # not by the first request: see Pool of the core

    def load(self, key: str) -> str | None:
        """The record of a key; None where there is none."""
        with self._errors("the token cannot be read"):
            try:
                # Of a FIFO nothing is read; without O_NONBLOCK that would wait for ever.
                flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
                with os.fdopen(os.open(self._file(key), flags), "rb") as file:
                    content = file.read(_LARGEST)
            except FileNotFoundError:
                return None
        return content.decode("ascii", "replace")

    def prepare(self, key: str) -> None:
        """Have the room on the disk that a token takes."""
        self._write(key, b"\0" * _ROOM)

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """Replace the file of a key. It is on the disk when this returns (fsync)."""
        self._write(key, record.encode("ascii"))
        with self._errors("the token cannot be written"):
            self._new(key).replace(self._file(key))
            self._sync()

    def _write(self, key: str, content: bytes) -> None:
        """Write what is to be the file of a key. Only the holder of its lock does."""
        with self._errors("the token cannot be written"):
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(self._new(key), flags, 0o600), "r+b") as file:
                file.write(content)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())

    def delete(self, key: str) -> None:
        """Remove the file of a key."""
        with self._errors("the token cannot be removed"):
            self._file(key).unlink(missing_ok=True)
            self._sync()

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """Hold the lock of a key, at most as long as this process lives."""
        from filelock import FileLock, Timeout  # imported late: nobody needs it without a store

        self._check()
        held = FileLock(self.path / f"{key}.lock", mode=0o600, fallback_to_soft=False)
        with self._errors("the lock cannot be taken"):
            try:
                held.acquire(timeout=wait, poll_interval=_POLL)
            except Timeout:
                msg = f"another process has held {held.lock_file} for {wait:g} s; look what keeps it"
                raise OAuthStoreLockedError(msg) from None
        try:
            yield
        finally:
            with self._errors("the lock cannot be given back"):
                with suppress(OSError):  # what was not saved
                    self._new(key).unlink()
                held.release()

    def _new(self, key: str) -> Path:
        return self.path / f"{key}.new"

    def _file(self, key: str) -> Path:
        return self.path / f"{key}.token"

    def _check(self) -> None:
        """Refuse a folder that others could read, or have put something into."""
        with self._errors("the folder cannot be read"):
            found = self.path.stat()
        if os.name == "posix" and (stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid != os.geteuid()):
            msg = (
                f"{self.path} must be a folder of this user, open to nobody else "
                f"(got mode {stat.S_IMODE(found.st_mode):04o}); chmod 700, or choose another"
            )
            raise OAuthStoreError(msg)

    def _sync(self) -> None:
        """Have the disk know of what was renamed or removed."""
        if os.name == "posix":
            handle = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(handle)
            except OSError as error:
                if error.errno != errno.EINVAL:  # of a file system that has no fsync for folders, only files
                    raise
            finally:
                os.close(handle)

    @contextmanager
    def _errors(self, fact: str) -> Generator[None]:
        try:
            yield
        except OAuthStoreError:
            raise
        except OSError as error:
            msg = f"{fact}: {error.strerror or type(error).__name__} ({self.path})"
            raise OAuthStoreError(msg) from error

    def __repr__(self) -> str:
        return f"FileStore({str(getattr(self, 'path', '?'))!r})"

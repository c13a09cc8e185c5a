"""An answer into a file: under a safe name, whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import sys
import unicodedata
from contextlib import suppress
from email.message import Message
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from . import arguments
from .content import chunks

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_LONGEST = 255  # bytes: what a name may have on the usual file systems
# What Windows forbids or gives a meaning in a name, the separators of all systems among it.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³]) *(\.|$)", re.IGNORECASE)
_LONGEST_HEADER = 8192  # characters: the time to take one apart grows with the square of its length
_LONGEST_SUFFIX = 16  # characters: what is longer is no suffix


class FileSink:
    """Takes an answer's content into a new file.

    Args:
        path: The folder in which the file is made; the current one unless given.
        fallback: The name of the file where neither the answer nor the URL has one.

    Raises:
        TypeError: ``path`` is no path, or ``filename`` no str.
        NotADirectoryError: ``path`` is no folder.
    """

    def __init__(self, path: str | os.PathLike[str] | None, fallback: str | None) -> None:
        folder = None if path is None else arguments.path("path", path)
        if fallback is not None and not isinstance(fallback, str):
            msg = f"filename must be a str (got {type(fallback).__name__})"
            raise TypeError(msg)
        self._folder = Path.cwd() if folder is None else Path(folder)
        if not self._folder.is_dir():
            msg = f'path must be an existing folder (got "{self._folder}")'
            raise NotADirectoryError(msg)
        self._fallback = fallback
        #: The file, once it is there.
        self.path: Path | None = None

    def __call__(self, response: BaseHTTPResponse) -> None:
        """Write the content. An error leaves no file behind.

        Raises:
            FileExistsError: There is a file of this name.
            ValueError: Nothing names the file.
        """
        path = self._folder / self._name(response)
        if path.exists():
            raise FileExistsError(_taken(path))
        part = self._folder / f".{secrets.token_hex(8)}.part"
        try:
            with part.open("xb") as file:
                for chunk in chunks(response):
                    file.write(chunk)
            _publish(part, path)
            self.path = path
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _name(self, response: BaseHTTPResponse) -> str:
        last_segment = unquote(urlsplit(response.url or "").path.rpartition("/")[2])
        for candidate in (
            _disposition(response.headers.get("Content-Disposition")),
            last_segment,
            self._fallback,
        ):
            if candidate and (name := safe_name(candidate)):
                return name
        msg = "neither the answer nor the uri names the file; pass filename="
        raise ValueError(msg)


def _publish(part: Path, path: Path) -> None:
    """Give a file its name, unless somebody has it by now. Interrupted, it leaves all of the file or none."""
    try:
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            path.touch(exist_ok=False)
            part.replace(path)
        else:
            part.unlink()
    except FileExistsError:
        raise FileExistsError(_taken(path)) from None


def safe_name(text: str) -> str:
    """A name that stays in its folder on every system: ``""`` where nothing is left of the text."""
    last = text.replace("\\", "/").rpartition("/")[2]
    visible = "".join(c for c in last if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    # "?" stands for what this system's names cannot have, as where their encoding is ASCII.
    encoding = sys.getfilesystemencoding()
    known = visible.encode(encoding, "replace").decode(encoding)
    # A leading dot hides a file, or makes it the settings of a program.
    name = _FORBIDDEN.sub("_", known).strip(" .")
    if _RESERVED.match(name):
        name = f"_{name}"
    stem, suffix = PurePath(name).stem, PurePath(name).suffix
    if len(suffix) > _LONGEST_SUFFIX:
        stem, suffix = name, ""
    stem = stem[:_LONGEST]
    while len((stem + suffix).encode()) > _LONGEST:
        stem = stem[:-1]
    return stem.rstrip(" .") + suffix


def _disposition(value: str | None) -> str | None:
    """The filename of a Content-Disposition (RFC 6266, section 4.3), by ``filename*`` where that is there."""
    if value is None or len(value) > _LONGEST_HEADER:
        return None
    message = Message()
    message["Content-Disposition"] = value
    plain, params = None, list[tuple[str, Any]]()
    with suppress(TypeError, ValueError):  # of the e-mail parser, where pieces of a name do not fit together
        params = cast("list[tuple[str, Any]]", message.get_params([], "Content-Disposition"))
    for name, text in params:
        if name != "filename":
            continue
        if isinstance(text, str):
            plain = text.strip('"') if plain is None else plain
            continue
        charset, _, encoded = text
        # RFC 8187, section 3.2.1, asks for UTF-8; its forerunner had Latin-1, too.
        if str(charset).lower() in ("utf-8", "iso-8859-1"):
            return str(encoded.encode("latin-1").decode(charset, "replace"))
    if plain is not None:
        with suppress(UnicodeError):  # headers are read as Latin-1, and servers write UTF-8
            return plain.encode("latin-1").decode()
    return plain


def _taken(path: Path) -> str:
    return f'"{path}" exists, and download() replaces no file; move it away, or choose another folder'

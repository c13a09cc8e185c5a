"""A JSON API with collections in SQLite, for the demo and the tests; `ROUTES` lists what it serves."""

import hmac
import json
import re
import secrets
import sqlite3
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from email import message_from_string
from email.message import Message
from hashlib import sha256
from threading import Lock
from typing import TypeAlias
from urllib.parse import quote, unquote, urlencode

from cruds_core.testing.server import Connection, Reply, Seen, Server, encode

__all__ = ["ROUTES", "DemoAPI", "Seen"]

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | float | bool | None"

SCHEMA = (
    "CREATE TABLE object (name, body, collection, id, UNIQUE (collection, id), UNIQUE (collection, name))"
)
INSERT = "INSERT INTO object (name, body, collection, id) VALUES (?, ?, ?, ?)"
UPDATE = "UPDATE object SET name = ?, body = ? WHERE collection = ? AND id = ?"
DELETE = "DELETE FROM object WHERE collection = ? AND id = ?"
SELECT = "SELECT body FROM object WHERE collection = ? AND id = ?"
SELECT_ALL = "SELECT body FROM object WHERE collection = ? ORDER BY rowid"

MANY = 10**9  # more objects than there can be, and more attempts than anybody makes


def object_reply(status: int, value: JSON, **headers: str) -> Reply:
    """Return a stored object with a strong entity tag (RFC 9110, section 8.8.3)."""
    return Reply.json(value, status, ETag=f'"{sha256(encode(value)).hexdigest()[:32]}"', **headers)


def merge_patch(target: JSON, patch: JSON) -> JSON:
    """Return the target with a patch applied as RFC 7396, section 2 has it: null removes a member."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def matches(value: dict[str, JSON], wanted: dict[str, list[str]]) -> bool:
    """Say whether each wanted field has one of its values, those that are no strings written as JSON."""
    return all(
        name in value and (field if isinstance(field := value[name], str) else json.dumps(field)) in texts
        for name, texts in wanted.items()
    )


class Resources(Connection):
    """A client's connection to the collections."""

    server: "DemoAPI"  # pyright: ignore[reportIncompatibleVariableOverride]

    def reply(self) -> Reply:
        """Answer one request at a time."""
        with self.server.lock:
            return self.route()

    def route(self) -> Reply:
        """Check the credentials, then answer by the first route that fits the path."""
        if self.path not in ("/", "/health"):
            self.authenticate()
        for template, methods in ROUTES.items():
            if found := re.fullmatch(re.sub(r"{\w+}", "([^/]+)", template), self.path):
                if method := methods.get("GET" if self.command == "HEAD" else self.command):
                    return method(self, *map(unquote, found.groups()))
                allowed = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
                raise self.problem(405, f"{self.command} is not allowed here", {"Allow": allowed})
        raise self.problem(404, "there is nothing at this path")

    def authenticate(self) -> None:
        """Refuse a request without the credentials, Basic (RFC 7617) or Bearer (RFC 6750)."""
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        basic = b64encode(f"{self.server.username}:{self.server.password}".encode())
        expected = {"basic": basic, "bearer": self.server.token.encode()}.get(scheme.lower())
        accepted = expected is not None and hmac.compare_digest(credentials.strip().encode(), expected)
        if self.server.is_token and scheme.lower() == "bearer":
            accepted = self.server.is_token(credentials.strip())
        if not accepted:
            # RFC 9110, section 11.6.1: one field may hold several challenges.
            challenges = 'Basic realm="CRUDs demo", charset="UTF-8", Bearer realm="CRUDs demo"'
            if scheme.lower() == "bearer":
                challenges += ', error="invalid_token"'  # RFC 6750, section 3.1
            raise self.problem(401, "the credentials are missing or wrong", {"WWW-Authenticate": challenges})

    def number(self, name: str, default: int, least: int = 0, most: int = MANY) -> int:
        """Return a number from the query."""
        text = self.query.get(name, [str(default)])[-1]
        if not re.fullmatch("[0-9]{1,10}", text) or not least <= int(text) <= most:
            raise self.problem(400, f'"{name}" must be a number from {least} to {most}')
        return int(text)

    def is_named(self, field: str, etag: str) -> bool:
        """Say whether If-Match (strongly) or If-None-Match (weakly) names an entity tag (RFC 9110, 13.1)."""
        tags = ", ".join(self.headers.get_all(field, []))
        if field == "If-None-Match":
            tags = tags.replace('W/"', '"')
        return tags.strip() == "*" or etag in re.findall(r'(?:W/)?"[^"]*"', tags)

    def decode(self) -> JSON:
        """Return the content decoded from JSON."""
        accepted = ["application/json", *["application/merge-patch+json"] * (self.command == "PATCH")]
        media_type = self.headers.get_content_type()
        if media_type not in accepted:
            detail = f'the content must be "{accepted[-1]}" (got "{media_type}")'
            raise self.problem(415, detail, {"Accept": ", ".join(accepted)})
        try:
            value: JSON = json.loads(self.content)
            encode(value)
        except ValueError as error:
            raise self.problem(400, f"the content is not valid JSON: {error}") from error
        return value

    def parts(self) -> Iterator[tuple[str, Message, bytes]]:
        """Return name, header and content of each part of multipart/form-data (RFC 7578)."""
        boundary = self.headers.get_boundary()
        if self.headers.get_content_type() != "multipart/form-data" or not boundary:
            raise self.problem(415, 'the content must be "multipart/form-data" with a boundary')
        # RFC 2046, section 5.1.1: the delimiter owns the line break before it, and a preamble is no part.
        _, *sections = (b"\r\n" + self.content).split(b"\r\n--" + boundary.encode())
        for section in sections:
            if section.startswith(b"--"):
                return
            head, blank, content = section.partition(b"\r\n\r\n")
            # RFC 7578, section 5.1: names are UTF-8 as they stand.
            part = message_from_string(head.decode(errors="replace").lstrip())
            name = part.get_param("name", header="Content-Disposition")
            if not blank or not isinstance(name, str):
                break
            yield name, part, content
        raise self.problem(400, "the content is not valid multipart/form-data")

    def health(self) -> Reply:
        """Say that the server runs."""
        return Reply.json({"status": "ok"})

    def flaky(self) -> Reply:
        """Refuse the first attempts for a key, as the query says, and answer the later ones."""
        key, times = self.query.get("key", [""])[-1], self.number("times", 1)
        status, retry_after = self.number("status", 503, 400, 599), self.query.get("retry_after")
        self.server.attempts[key] += 1
        attempts = self.server.attempts[key]
        if attempts <= times:
            headers = {"Retry-After": retry_after[-1]} if retry_after else {}
            raise self.problem(status, f"attempt {attempts} of {times} that fail", headers)
        return Reply.json({"key": key, "attempts": attempts})

    def page(self, collection: str) -> Reply:
        """Return a page of the objects whose fields have the values asked for."""
        wanted = {name: texts for name, texts in self.query.items() if name not in ("limit", "offset")}
        offset, limit = self.number("offset", 0), self.number("limit", MANY, least=1)
        rows = self.server.database.execute(SELECT_ALL, [collection])
        found = [value for row in rows if matches(value := json.loads(row[0]), wanted)]
        headers = {"X-Total-Count": str(len(found))}
        if offset + limit < len(found):
            query = urlencode({**wanted, "limit": limit, "offset": offset + limit}, doseq=True)
            headers["Link"] = f'</{quote(collection, safe="")}?{query}>; rel="next"'  # RFC 8288, section 3
        return Reply.json(found[offset : offset + limit], 200, **headers)

    def create(self, collection: str) -> Reply:
        """Store a new object under the next id of the collection."""
        number = self.server.ids[collection] + 1
        value = self.save(INSERT, self.decode(), collection, str(number))
        self.server.ids[collection] = number
        return object_reply(201, value, Location=f"/{quote(collection, safe='')}/{number}")

    def save(self, statement: str, value: JSON, collection: str, number: str) -> JSON:
        """Store a valid object under this id, whatever id the client wrote, and return it."""
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(name, str) or not name:
            errors = [{"field": "name", "detail": "must be a non-empty string"}]
            raise self.problem(422, 'the content must be an object with a "name"', errors=errors)
        value = {"id": int(number)} | value | {"id": int(number)}
        try:
            self.server.database.execute(statement, [name, json.dumps(value), collection, number])
        except sqlite3.IntegrityError as error:
            raise self.problem(409, f'the name "{name}" is taken') from error
        return value

    def find(self, collection: str, number: str) -> JSON:
        """Return a stored object."""
        row = self.server.database.execute(SELECT, [collection, number]).fetchone()
        if row is None:
            raise self.problem(404, "there is no such object")
        value: JSON = json.loads(row[0])
        return value

    def single(self, collection: str, number: str) -> Reply:
        """Read, replace, change or delete an object."""
        value = self.find(collection, number)
        reply = object_reply(200, value)
        # RFC 9110, section 13.2.2: conditions are weighed before the method acts.
        etag = reply.headers["ETag"]
        changed = "If-Match" in self.headers and not self.is_named("If-Match", etag)
        known = self.is_named("If-None-Match", etag)
        if changed or (known and self.command not in ("GET", "HEAD")):
            raise self.problem(412, "the object is not in the state that the request asks for")
        match self.command:
            case "PUT":
                return object_reply(200, self.save(UPDATE, self.decode(), collection, number))
            case "PATCH":
                patched = merge_patch(value, self.decode())
                return object_reply(200, self.save(UPDATE, patched, collection, number))
            case "DELETE":
                self.server.database.execute(DELETE, [collection, number])
                return Reply(204)
            case _:
                return Reply(304, headers={"ETag": etag}) if known else reply

    def upload(self, collection: str, number: str) -> Reply:
        """Keep the files, and say what arrived; a field that is repeated has the list of its values."""
        self.find(collection, number)
        fields: dict[str, list[str]] = {}
        files: list[dict[str, str | int]] = []
        for name, part, content in self.parts():
            filename = part.get_filename()
            if filename is None:
                fields.setdefault(name, []).append(content.decode(errors="replace"))
                continue
            content_type = str(part.get("Content-Type", "text/plain"))  # RFC 7578, section 4.4
            self.server.files[collection, number, filename] = content_type, content
            about = {"field": name, "filename": filename, "content_type": content_type}
            files.append({**about, "size": len(content), "sha256": sha256(content).hexdigest()})
        texts = {name: values if len(values) > 1 else values[0] for name, values in fields.items()}
        return Reply.json({"fields": texts, "files": files}, 201)

    def download(self, collection: str, number: str, filename: str) -> Reply:
        """Return a file as it was uploaded last."""
        self.find(collection, number)
        content_type, content = self.server.files.get((collection, number, filename), ("", None))
        if content is None:
            raise self.problem(404, "there is no such file")
        # RFC 6266, section 5: a plain name for old clients, and the full one.
        plain = re.sub(r"[^ !#-\[\]-~]", "_", filename)
        disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
        return Reply(200, content, {"Content-Type": content_type, "Content-Disposition": disposition})


ROUTES: dict[str, dict[str, Callable[..., Reply]]] = {
    "/": {"GET": Resources.health},
    "/health": {"GET": Resources.health},
    "/flaky": dict.fromkeys(("GET", "POST", "PUT", "PATCH", "DELETE"), Resources.flaky),
    "/{collection}": {"GET": Resources.page, "POST": Resources.create},
    "/{collection}/{id}": dict.fromkeys(("GET", "PUT", "PATCH", "DELETE"), Resources.single),
    "/{collection}/{id}/files": {"POST": Resources.upload},
    "/{collection}/{id}/files/{filename}": {"GET": Resources.download},
}


class DemoAPI(Server):
    """The API, from its construction until ``close()``: a context manager.

    Args:
        username: of the Basic credentials; this and the next two are random unless given.
        password: of the Basic credentials.
        token: the bearer token, or a callable that says whether one is good.

    Attributes:
        url: where it listens, without a trailing slash.
        requests: what arrived, in the order of the answers, each with ``method``, ``target``, ``status``
            and ``headers``.
    """

    def __init__(
        self,
        *,
        username: str | None = None,
        password: str | None = None,
        token: str | Callable[[str], bool] | None = None,
    ) -> None:
        self.username = secrets.token_urlsafe(6) if username is None else username
        self.password = secrets.token_urlsafe() if password is None else password
        self.token = token if isinstance(token, str) else secrets.token_urlsafe()
        self.is_token = token if callable(token) else None
        self.database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.database.execute(SCHEMA)
        self.files: dict[tuple[str, str, str], tuple[str, bytes]] = {}
        self.ids, self.attempts = Counter[str](), Counter[str]()
        self.lock = Lock()
        super().__init__(Resources)

    def close(self) -> None:
        """Stop at once and forget everything."""
        super().close()
        with self.lock:
            self.database.close()

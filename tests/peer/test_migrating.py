"""The examples of `docs/migrating.md` do what the page says."""

import re
from pathlib import Path

import pytest

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text(encoding="utf-8")
CHANGES = PAGE.partition("## What to change")[2].partition("\n## ")[0].split("\n### ")[1:]

#: What arrives when the 2.0 side of each example runs, at the API and then at the token endpoint, and the
#: status of the answer.
ARRIVES = {
    "Plain http": ["GET /books 200"],
    "The status of an error": ["GET /books/9 404"],
    "A create that may be repeated": ["POST /books 201"],
    "Several values of one parameter": ["GET /books?name=Dune&name=Emma 200"],
    "A token that changes": ["GET /books 200"],
    "A scheme for several Clients": ["GET /books 200", "GET /films 200"],
    "JSON that is called text": [
        "POST /books 201",
        "POST /books/1/files 201",
        "GET /books/1/files/notes.txt 200",
    ],
    "A manager without retries": ["GET /books 200"],
    "No token to be had": ["GET /books 200", "client_credentials 200"],
    "A server that does not decode Basic": ["GET /books 200", "client_credentials 200"],
    "A program and its users": ["GET /books 200", "client_credentials 200"],
    "Forgetting the tokens": ["client_credentials 200"],
}


@pytest.mark.parametrize("change", CHANGES, ids=[change.partition("\n")[0] for change in CHANGES])
def test_the_new_side_of_an_example_works(change: str) -> None:
    """Each example has one block for 1.x and one for 2.0, which runs as it stands and gets its answers."""
    (before,) = re.findall(r"^```py\n(.*?)^```", change, re.MULTILINE | re.DOTALL)
    (after,) = re.findall(r"^```python\n(.*?)^```", change, re.MULTILINE | re.DOTALL)
    compile(before, "1.x", "exec")
    with (
        AuthorizationServer(client_id="a-client", client_secret="a secret") as authority,
        DemoAPI(
            username="ada",
            password="secret",
            token=lambda token: token == "a bearer token" or authority.is_active(token),
        ) as api,
    ):
        code = re.sub(r"api\.example\.com(/v1)?", api.url.removeprefix("http://"), after)
        code = code.replace("https://auth.example.com", authority.url)
        exec(compile(code, "2.0", "exec"), {"__name__": "example"})  # noqa: S102 - our own text
        arrived = [f"{seen.method} {seen.target} {seen.status}" for seen in api.requests]
        arrived += [f"{seen['grant_type']} {seen['status']}" for seen in authority.token_requests]
    assert arrived == ARRIVES[change.partition("\n")[0]]

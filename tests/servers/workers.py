"""What workers do: functions that any process can import."""

import os
import time
from pathlib import Path
from uuid import uuid4

from cruds_auth_oauth2 import OAuth2

REDIS_URL = "CRUDS_TEST_REDIS"

_WAIT = 60.0  # seconds until all workers of a pool must have started


def redis_url_of_environment() -> str:
    """Returns the URL of Redis."""
    return os.environ[REDIS_URL]


def use(auth: OAuth2, folder: Path, workers: int) -> str:
    """Returns the access token, once as many workers as there are have come here.

    Args:
        auth: The scheme.
        folder: Where they meet: an empty folder.
        workers: How many of them there are.
    """
    deadline = time.monotonic() + _WAIT
    (folder / uuid4().hex).touch()
    while len(list(folder.iterdir())) < workers:
        if time.monotonic() > deadline:
            msg = f"{len(list(folder.iterdir()))} of {workers} workers came"
            raise TimeoutError(msg)
        time.sleep(0.01)
    return auth.access_token()


def token_of_user(auth: OAuth2, user: str) -> str:
    """Returns the access token of a user who has signed in elsewhere."""
    return auth.for_user(user).access_token()

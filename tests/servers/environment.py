"""Secrets in the environment, and importable callables that return them: for processes that are spawned."""

import os

TOKEN, PASSWORD = "CRUDS_TEST_TOKEN", "CRUDS_TEST_PASSWORD"


def token_of_environment() -> str:
    """Returns the token."""
    return os.environ[TOKEN]


def password_of_environment() -> str:
    """Returns the password."""
    return os.environ[PASSWORD]

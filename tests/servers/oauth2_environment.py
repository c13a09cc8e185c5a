"""OAuth 2.0 secrets in the environment, and importable callables that return them, for other processes."""

import os

CLIENT_SECRET, PRIVATE_KEY, ENCRYPTION_KEY = "CRUDS_TEST_SECRET", "CRUDS_TEST_PEM", "CRUDS_TEST_KEY"


def client_secret_of_environment() -> str:
    """Returns the client secret."""
    return os.environ[CLIENT_SECRET]


def private_key_of_environment() -> str:
    """Returns the private key."""
    return os.environ[PRIVATE_KEY]


def encryption_key_of_environment() -> str:
    """Returns the encryption key."""
    return os.environ[ENCRYPTION_KEY]

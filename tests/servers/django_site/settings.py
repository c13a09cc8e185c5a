"""The settings of the site."""

import secrets
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from . import DATABASE, PREFIX, TOKEN_LOG
from .accounts import DEFAULT_SCOPES, SCOPES


def settings(folder: Path, url: str, lifetime: int) -> dict[str, Any]:
    """Returns the settings.

    Args:
        folder: Where the database and the record of token requests lie.
        url: Where the site is served.
        lifetime: Seconds until an access token expires.
    """
    return {
        "SECRET_KEY": secrets.token_hex(),
        "ALLOWED_HOSTS": ["127.0.0.1"],
        "ROOT_URLCONF": f"{__package__}.urls",
        "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
        "MIDDLEWARE": [
            f"{__package__}.views.token_log",
            "django.middleware.common.CommonMiddleware",  # announces a length, so connections persist
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies",
        "TEMPLATES": [
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [Path(__file__).with_name("templates")],
                "APP_DIRS": True,
            }
        ],
        "LOGIN_URL": "/login/",
        "STATIC_URL": "/static/",
        "DATABASES": {"default": database(folder)},
        # Django's own tables come from its models, which is quicker; the toolkit's come from its migrations.
        "MIGRATION_MODULES": {"auth": None, "contenttypes": None},
        # Quick, as Django advises for tests.
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
        "USE_TZ": True,
        "LOGGING": {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"console": {"class": "logging.StreamHandler"}},
            "root": {"handlers": ["console"]},
        },
        "TOKEN_LOG": folder / TOKEN_LOG,
        "OAUTH2_PROVIDER": provider(url, lifetime),
    }


def database(folder: Path) -> dict[str, Any]:
    """Returns an SQLite database in which each request is a transaction that excludes all others.

    The toolkit checks a refresh token before it locks it. Of two threads that bring the same one, both would
    pass otherwise, and the second would get the tokens of the first, or "database is locked".
    """
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": folder / DATABASE,
        "ATOMIC_REQUESTS": True,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
        },
    }


def provider(url: str, lifetime: int) -> dict[str, Any]:
    """Returns the settings of the toolkit: strict where it lets us, but for the password grant."""
    return {
        "SCOPES": SCOPES,
        "DEFAULT_SCOPES": DEFAULT_SCOPES,
        "ACCESS_TOKEN_EXPIRE_SECONDS": lifetime,
        "PKCE_REQUIRED": True,
        "ROTATE_REFRESH_TOKEN": True,
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
        "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT": True,
        "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
        "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
        "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
        "OIDC_ENABLED": True,
        "OIDC_ISS_ENDPOINT": url + PREFIX,
        "OIDC_RSA_PRIVATE_KEY": private_key(),
    }


def private_key() -> str:
    """Returns a new RSA key in PEM, for ID tokens."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

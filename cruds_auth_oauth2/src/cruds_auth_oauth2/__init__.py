"""OAuth 2.0 for the CRUDs REST client: three grants, one token for all threads."""

from __future__ import annotations

from .authorization import AuthorizationRequest
from .exceptions import (
    OAuth2Error,
    OAuthAccessTokenError,
    OAuthAuthorizationError,
    OAuthDiscoveryError,
    OAuthRevocationError,
    OAuthSignInRequiredError,
    OAuthStateError,
    OAuthStoreError,
    OAuthStoreLockedError,
)
from .oauth2 import OAuth2
from .stores import FileStore, KeyringStore, RedisStore, TokenStore
from .tokens import Token

__all__ = [
    "AuthorizationRequest",
    "FileStore",
    "KeyringStore",
    "OAuth2",
    "OAuth2Error",
    "OAuthAccessTokenError",
    "OAuthAuthorizationError",
    "OAuthDiscoveryError",
    "OAuthRevocationError",
    "OAuthSignInRequiredError",
    "OAuthStateError",
    "OAuthStoreError",
    "OAuthStoreLockedError",
    "RedisStore",
    "Token",
    "TokenStore",
    "__version__",
]

__version__ = "2.0.0"

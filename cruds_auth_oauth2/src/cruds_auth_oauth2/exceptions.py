"""The errors of OAuth 2.0, below AuthError.

AuthError
└── OAuth2Error
    ├── OAuthAccessTokenError         no access token could be had
    │   ├── OAuthAuthorizationError   the sign-in was refused or cannot go on (also RuntimeError)
    │   ├── OAuthSignInRequiredError  a user has to sign in, for the first time or again
    │   └── OAuthStoreError           the store of the token cannot be used
    │       └── OAuthStoreLockedError another process holds its lock
    ├── OAuthStateError               an answer to no request of ours (also RuntimeError)
    ├── OAuthRevocationError          a token could not be revoked
    └── OAuthDiscoveryError           the metadata of the authorization server cannot be used

Every error can be pickled. None shows a token, a code, a state or a secret: what the server said is
searched for those that were sent.
"""

from __future__ import annotations

from cruds_core import AuthError

__all__ = [
    "OAuth2Error",
    "OAuthAccessTokenError",
    "OAuthAuthorizationError",
    "OAuthDiscoveryError",
    "OAuthRevocationError",
    "OAuthSignInRequiredError",
    "OAuthStateError",
    "OAuthStoreError",
    "OAuthStoreLockedError",
]


class OAuth2Error(AuthError):
    """Base of the errors of this plugin. Never raised itself.

    Args:
        message: What happened, and what to do.
    """

    def __init__(
        self,
        message: str,
        *,
        error: str | None = None,
        error_description: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        #: The error code, such as ``invalid_grant`` (RFC 6749, sections 4.1.2.1 and 5.2), if there was one.
        self.error = error
        #: What the authorization server said of it, with any characters.
        self.error_description = error_description
        #: The status code of the answer, if there was one.
        self.status = status
        #: Seconds after which the server asks to be tried again (RFC 9110, section 10.2.3), if it does.
        self.retry_after = retry_after


class OAuthAccessTokenError(OAuth2Error):
    """No access token could be had.

    ``__cause__`` is the RequestError where the token endpoint gave no answer.
    """


class OAuthAuthorizationError(OAuthAccessTokenError, RuntimeError):
    """The sign-in was refused, its answer is incomplete, or the object is not made for sign-ins."""


class OAuthSignInRequiredError(OAuthAccessTokenError):
    """A user has to sign in: nobody has yet, or the server takes the refresh token no more."""


class OAuthStoreError(OAuthAccessTokenError):
    """The store of the token is down, full, not to be written, or holds what cannot be read."""


class OAuthStoreLockedError(OAuthStoreError):
    """Another process has held the lock of the token for longer than one may."""


class OAuthStateError(OAuth2Error, RuntimeError):
    """The answer belongs to no pending request: forged, used before, too old, or of another browser."""


class OAuthRevocationError(OAuth2Error):
    """A token could not be revoked."""


class OAuthDiscoveryError(OAuth2Error):
    """The metadata of the authorization server could not be had, or must not be used."""

"""What every auth scheme has to keep."""

from __future__ import annotations

from .delivery import Delivery
from .installing import Installing
from .secrecy import Secrecy
from .sharing import Sharing


class AuthContract(Installing, Delivery, Secrecy, Sharing):
    """What every auth scheme has to keep, as tests over real connections. A scheme's tests subclass it.

    A subclass defines ``scheme``, `options` and `verify`, and declares what the scheme can do::

        class TestTenant(AuthContract):
            scheme = "tenant"
            sends_header = "X-Tenant"

            def options(self, url):
                return {"name": "acme"}

            def verify(self, request):
                assert request.headers["X-Tenant"] == "acme"

    pytest collects it by a name that begins with ``Test``; for unittest, make it a TestCase, too. Further
    checks come only behind a capability or a version that is declared, so that no update breaks a scheme
    that keeps this contract.

    Attributes:
        version: The version of the contract: 1.
        scheme: The name of the scheme, which is that of its entry point.
        plugins: The registry to build it from; the program's own unless given.
        secrets: The names of the options that are secrets, which have 8 characters or more.
        bad_options: Options that must be refused, each with an error that names it: ``({"name": ""},)``.
        sends_header: The header that credentials go in; None where they go elsewhere.
        signs_content: Whether the credentials hold for one content only. Then `verify` checks that, too.
        single_use: Whether no two requests may carry the same credentials, as where each has a nonce.
        answers_challenge: The ``WWW-Authenticate`` that the scheme answers, where it waits to be asked.
        renews_tokens: Whether the scheme gets a new token after a 401. Each must be another one.
        needs_server: Whether the scheme talks to a server of its own, which is `respond`.
    """

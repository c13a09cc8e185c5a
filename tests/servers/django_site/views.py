"""The protected resource, and the record of what reached the token endpoint."""

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

conf = import_module("django.conf")
http = import_module("django.http")
urls = import_module("django.urls")
challenges = import_module("oauth2_provider.www_authenticate")
backends = import_module("oauth2_provider.oauth2_backends")

REALM = "api"
SCOPE = "read"  # what the resource asks of a token


def me(request: Any) -> Any:
    """Says whose token it is, and what came with it; the method does not matter."""
    valid, checked = backends.get_oauthlib_core().verify_request(request, scopes=[SCOPE])
    if valid:
        return http.JsonResponse(
            {
                "user": checked.user and checked.user.username,
                "client": checked.client.client_id,
                "scope": " ".join(checked.scopes),
                "method": request.method,
                "length": len(request.body),
            }
        )
    error = getattr(checked, "oauth2_error", None)  # none without a token (RFC 6750, section 3.1)
    response = http.JsonResponse(error or {}, status=challenges.challenge_status(error))
    response["WWW-Authenticate"] = challenges.build_bearer_challenge(request, error, realm=REALM)
    return response


def token_log(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A middleware that writes down each token request, before its answer goes out."""
    path = urls.reverse("oauth2_provider:token")

    def answer(request: Any) -> Any:
        response = get_response(request)
        if request.path == path and request.method == "POST":
            seen = {
                "status": response.status_code,
                "authorization": request.headers.get("Authorization", ""),
                "form": dict(request.POST.lists()),
            }
            # One write of a line at the end: threads do not mix theirs.
            with conf.settings.TOKEN_LOG.open("a", encoding="utf-8") as log:
                log.write(json.dumps(seen) + "\n")
        return response

    return answer

"""The paths of the site."""

from importlib import import_module
from typing import Any

from . import PREFIX
from .views import me

urls = import_module("django.urls")
metadata = import_module("oauth2_provider.urls").metadata_urlpatterns
login = import_module("django.contrib.auth.views").LoginView.as_view()
csrf_exempt = import_module("django.views.decorators.csrf").csrf_exempt
non_atomic_requests = import_module("django.db.transaction").non_atomic_requests

urlpatterns: list[Any] = [
    urls.path("login/", login),
    urls.path("api/me", csrf_exempt(non_atomic_requests(me))),
    # RFC 8414, section 3 puts the path of the issuer last; below, the toolkit's own paths put it first.
    urls.path("", urls.include(metadata)),
    urls.path(PREFIX.strip("/") + "/", urls.include("oauth2_provider.urls")),
]

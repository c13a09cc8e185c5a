"""A small Django site with django-oauth-toolkit: an authorization server and one protected resource."""

PREFIX = "/o"  # where the toolkit is: the issuer has a path
DATABASE = "django.sqlite3"
TOKEN_LOG = "token_requests.jsonl"

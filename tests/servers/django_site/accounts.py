"""The users and the clients that the site knows from its start."""

from dataclasses import dataclass

USERNAME, OTHER_USERNAME = "ada", "grace"
PASSWORD = "s3cret: 50% + é&="  # of both users
SCOPES = {"read": "Look at what is there", "write": "Change what is there", "openid": "Know who you are"}
DEFAULT_SCOPES = ["read"]  # granted to who asks for none


@dataclass(frozen=True)
class Client:
    """A registered client.

    Attributes:
        client_id: Its identifier.
        grant: The one grant that it may begin with, as the toolkit names it.
        client_secret: Empty when the client is public.
        redirect_uri: Where it gets codes. A loopback address takes any port (RFC 8252, section 7.3).
    """

    client_id: str
    grant: str
    client_secret: str = ""
    redirect_uri: str = ""


SERVICE = Client("service", "client-credentials", "service-s3cret")
AWKWARD = Client("a:b c+%é/&=", "client-credentials", "d:e f+%2B%ü/&=")
TRUSTED = Client("trusted", "password", "trusted-s3cret")
WEB = Client("web", "authorization-code", "web-s3cret", "https://web.example/callback?from=django")
NATIVE = Client("native", "authorization-code", redirect_uri="http://127.0.0.1/callback")

CLIENTS = (SERVICE, AWKWARD, TRUSTED, WEB, NATIVE)

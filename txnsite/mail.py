"""The mail server of `EMAIL_URL`, in the words of Django's settings."""

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_PORTS = {"smtp": 25, "submission": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in, and by whom."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    starts_tls: bool
    is_tls: bool


def parse_mail_url(url: str) -> MailServer:
    """Return the server of `smtp://user:password@host:port`.

    `smtp` is without encryption, `submission` turns to TLS before it says anything (STARTTLS, RFC 6409), `smtps` is
    TLS from the first byte (RFC 8314). User and password are percent-encoded and may be absent.

    :raises ImproperlyConfigured: when it is no such URL; the message doesn't show it.
    """
    try:
        parts = urlsplit(url)
        default_port, host = _PORTS[parts.scheme], parts.hostname
        port = parts.port or default_port
    except (ValueError, KeyError):
        host = None
    if not host:
        raise ImproperlyConfigured("EMAIL_URL must look like submission://user:password@host:port (or smtp, smtps).")
    return MailServer(
        host=host,
        port=port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        starts_tls=parts.scheme == "submission",
        is_tls=parts.scheme == "smtps",
    )

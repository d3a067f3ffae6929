"""`EMAIL_URL`: a typo is told at start, and no message or repr shows the password."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.processes import settings_say
from txnsite.mail import parse_mail_url

PASSWORD = "s3cret/word"
QUOTED = "s3cret%2Fword"


@pytest.mark.parametrize(
    ("url", "host", "port", "starts_tls", "is_tls"),
    [
        ("smtp://mail.test", "mail.test", 25, False, False),
        ("submission://mail.test", "mail.test", 587, True, False),
        ("smtps://mail.test", "mail.test", 465, False, True),
        ("smtps://mail.test:2465/", "mail.test", 2465, False, True),
        ("smtp://[::1]:2525", "::1", 2525, False, False),
    ],
)
def test_where_and_how(url: str, host: str, port: int, starts_tls: bool, is_tls: bool) -> None:
    server = parse_mail_url(url)
    assert (server.host, server.port, server.starts_tls, server.is_tls) == (host, port, starts_tls, is_tls)
    assert (server.user, server.password) == ("", "")


def test_by_whom() -> None:
    server = parse_mail_url(f"submission://ops%40desk.test:{QUOTED}@mail.test:25")
    assert (server.user, server.password) == ("ops@desk.test", PASSWORD)
    assert "s3cret" not in repr(server)


@pytest.mark.parametrize(
    "url", ["mail.test", "http://u:s3cret@mail.test", "smtp://", "smtp://u:s3cret@mail.test:port", "smtp://[u:s3cret@"]
)
def test_what_is_none_is_told_without_showing_it(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL must look like") as caught:
        parse_mail_url(url)
    assert "s3cret" not in str(caught.value)


def test_the_settings_take_it() -> None:
    names = "EMAIL_BACKEND", "EMAIL_HOST", "EMAIL_PORT", "EMAIL_USE_TLS", "EMAIL_USE_SSL", "ALERT_EMAILS"
    expression = f"[getattr(settings, name) for name in {names}]"
    done = settings_say(expression, EMAIL_URL="submission://mail.test", ALERT_EMAILS="a@desk.test, b@desk.test")
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    assert done.stdout == f"{[smtp, 'mail.test', 587, True, False, ['a@desk.test', 'b@desk.test']]}\n", done.stderr
    assert settings_say("settings.EMAIL_BACKEND").stdout == "django.core.mail.backends.dummy.EmailBackend\n"


def test_somebody_to_tell_and_no_way_to_do_it_is_refused() -> None:
    done = settings_say("settings.DEBUG", ALERT_EMAILS="a@desk.test")
    assert done.returncode == 1
    assert "ALERT_EMAILS is set, but EMAIL_URL, the mail server, is not." in done.stderr

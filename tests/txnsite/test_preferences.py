"""The `Prefer` header (RFC 7240)."""

import pytest

from txnsite.preferences import read_wait


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=5", 5),
        ("Wait=5", 5),
        ("wait = 5", 5),
        ('wait="5"', 5),
        (" respond-async , wait=3", 3),
        ("wait=3;foo=bar", 3),
        ("handling=lenient, wait=2, return=minimal", 2),
        ("wait=0", 0),
        ("wait=10", 10),
        ("wait=11", 10),
        ("wait=999999999", 10),
        # Of several, the first counts.
        ("wait=1, wait=9", 1),
        ("wait=x, wait=9", None),
        (None, None),
        ("", None),
        ("respond-async", None),
        ("wait", None),
        ("wait=", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=1s", None),
        ("wait=٣", None),
        ('wait="5', None),
        ("wait=9999999999", None),
        ("waiting=5", None),
    ],
)
def test_wait(header: str | None, seconds: int | None) -> None:
    assert read_wait(header, longest=10) == seconds

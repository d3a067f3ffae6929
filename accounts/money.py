"""Wei: exact integers from 0 to 2^256-1, in Python and in the database; ether only where people read or type it."""

from decimal import Decimal
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.functional import cached_property

from accounts.exceptions import BadAmountError

WEI_MAX = 2**256 - 1
"""The largest value of an EVM word (Ethereum yellow paper, section 4.2)."""

WEI_DIGITS = 78
DECIMALS_BY_UNIT = {"wei": 0, "gwei": 9, "ether": 18}


_ST = TypeVar("_ST")
_GT = TypeVar("_GT")


class WeiField(models.DecimalField[_ST, _GT]):
    """A whole number of wei, `NUMERIC(78, 0)` in the database and `int` in Python.

    Never `Decimal`: its default context rounds at 28 digits. Signed, since entries are; ranges are constraints.
    """

    # What django-stubs takes for the two types of a field, without and with `null=True`.
    _pyi_private_set_type: int
    _pyi_private_get_type: int  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_digits"] = WEI_DIGITS
        kwargs["decimal_places"] = 0
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_digits"], kwargs["decimal_places"]
        return name, path, list(args), kwargs

    @cached_property
    def validators(self) -> list[Any]:
        """Leave out DecimalField's own, which asks for a Decimal: `to_python` has made sure of an int by then."""
        return list(super(models.DecimalField, self).validators)

    def from_db_value(self, value: Decimal | None, *_: object) -> int | None:
        return None if value is None else int(value)

    def to_python(self, value: Any) -> int | None:
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
            return int(value)
        if isinstance(value, str) and value.removeprefix("-").isascii() and value.removeprefix("-").isdigit():
            return int(value)
        raise ValidationError("Enter a whole number of wei.", code="invalid")

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return value if hasattr(value, "resolve_expression") else self.to_python(value)

    def get_prep_value(self, value: Any) -> Any:
        return value if hasattr(value, "resolve_expression") else self.to_python(value)

    def value_to_string(self, obj: models.Model) -> str:
        return str(self.value_from_object(obj))


def parse_amount(text: str, unit: str) -> int:
    """Return the wei of a decimal number that a person typed in `unit` ("wei", "gwei" or "ether").

    :raises BadAmountError: when it is no number, not above zero, above 2^256-1 wei, or has more decimals than the
        unit has wei.
    """
    decimals = DECIMALS_BY_UNIT[unit]
    whole, _, fraction = text.strip().replace("_", "").partition(".")
    if not (whole or fraction) or not all(part.isascii() and part.isdigit() for part in (whole, fraction) if part):
        raise BadAmountError(f"“{text}” is not a number. Write it like 1.25, with a point and no other signs.")
    if len(fraction.rstrip("0")) > decimals:
        if decimals == 0:
            raise BadAmountError("Wei can't be divided: enter a whole number.")
        raise BadAmountError(f"An amount in {unit} has at most {decimals} decimals; smaller parts don't exist.")
    if len(whole) > WEI_DIGITS:
        raise BadAmountError("This is more than the largest amount there is (2^256-1 wei).")
    amount: int = int(whole or "0") * 10**decimals + int(fraction.rstrip("0").ljust(decimals, "0") or "0")
    if amount == 0:
        raise BadAmountError("The amount must be more than zero.")
    if amount > WEI_MAX:
        raise BadAmountError("This is more than the largest amount there is (2^256-1 wei).")
    return amount


def format_ether(amount_in_wei: int) -> str:
    """Return wei as an exact decimal number of ether without trailing zeros, like "1.25" or "-0.000001"."""
    sign = "-" if amount_in_wei < 0 else ""
    whole, fraction = divmod(abs(amount_in_wei), 10**18)
    digits = f"{fraction:018d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"

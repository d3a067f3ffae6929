"""Wei stay exact through the database, forms and text, from 0 to 2^256-1."""

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DataError
from django.db import transaction as db_transaction
from django.db.models import F, Sum
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from accounts.exceptions import BadAmountError
from accounts.models import Account, AccountKind, Entry, Hold
from accounts.money import DECIMALS_BY_UNIT, WEI_MAX, WeiField, format_ether, parse_amount
from tests.desk import NOW, credit, make_account, make_user
from transactions.models import Transaction

WEI = st.one_of(st.integers(0, WEI_MAX), st.integers(WEI_MAX - 10, WEI_MAX), st.integers(2**63 - 2, 2**64 + 2))
SIGNED_WEI = st.one_of(WEI, WEI.map(int.__neg__))
INEXACT_AS_FLOAT = 2**53 + 1
MORE_THAN_28_DIGITS = 10**30 + 1
"""Where Decimal's default context begins to round."""


class TestField:
    @pytest.mark.django_db
    @settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(wei=SIGNED_WEI)
    @example(wei=WEI_MAX)
    @example(wei=-WEI_MAX)
    @example(wei=MORE_THAN_28_DIGITS)
    @example(wei=INEXACT_AS_FLOAT)
    def test_the_database_gives_back_the_very_integer(self, wei: int) -> None:
        written = Account.objects.create(kind=AccountKind.HOT_WALLET, name="x", current_balance_in_wei=wei)
        read = Account.objects.get(pk=written.pk).current_balance_in_wei
        assert read == wei
        assert type(read) is int
        assert Account.objects.filter(pk=written.pk, current_balance_in_wei=wei).exists()
        assert not Account.objects.filter(pk=written.pk, current_balance_in_wei=wei + 1).exists()

    @pytest.mark.django_db
    def test_sums_and_values_are_exact_integers_too(self) -> None:
        owner = make_user()
        for _ in range(2):
            credit(make_account(owner), WEI_MAX // 2)
        total = Account.objects.filter(owner=owner).aggregate(total=Sum("current_balance_in_wei"))["total"]
        assert total == 2 * (WEI_MAX // 2)
        assert type(total) is int
        [value] = set(Account.objects.filter(owner=owner).values_list("current_balance_in_wei", flat=True))
        assert value == WEI_MAX // 2
        assert type(value) is int
        difference = F("current_balance_in_wei") - F("available_balance_in_wei")
        assert set(Account.objects.annotate(held=difference).values_list("held", flat=True)) == {0}

    @pytest.mark.django_db
    def test_the_held_balance_is_the_difference(self) -> None:
        account = make_account(balance_in_wei=WEI_MAX)
        account.available_balance_in_wei = 1
        assert account.held_balance_in_wei == WEI_MAX - 1

    @pytest.mark.django_db
    def test_it_can_be_empty_where_the_column_can(self) -> None:
        field = Transaction._meta.get_field("transaction_fee_blockchain_in_wei")
        assert isinstance(field, WeiField)
        assert field.from_db_value(None) is None
        assert field.to_python(None) is None

    @pytest.mark.django_db
    def test_the_column_has_room_for_every_amount_and_not_for_more_digits(self) -> None:
        account = make_account()
        with pytest.raises(DataError), db_transaction.atomic():
            Hold.objects.create(account=account, source="1", amount_in_wei=10**78, created_at=NOW)

    @pytest.mark.parametrize("written", ["12", 12, Decimal(12), Decimal("12.000"), "0012"])
    def test_whole_numbers_in_any_writing(self, written: object) -> None:
        value = WeiField().to_python(written)
        assert value == 12
        assert type(value) is int

    @pytest.mark.parametrize(
        "written",
        [
            1.0,
            "1.0",
            "1e3",
            "",
            "-",
            "--1",
            " 1",
            "1_000",
            "０",
            True,
            Decimal("0.5"),
            Decimal("NaN"),
            Decimal("Infinity"),
            [],
        ],
    )
    def test_anything_else_is_refused(self, written: object) -> None:
        with pytest.raises(ValidationError, match="whole number of wei"):
            WeiField().to_python(written)

    @pytest.mark.django_db
    @pytest.mark.parametrize("written", [1.5, "1.5", True, "x"])
    def test_neither_is_it_looked_up(self, written: Any) -> None:
        with pytest.raises(ValidationError):
            Entry.objects.filter(amount_in_wei=written).exists()

    @pytest.mark.django_db
    def test_a_model_with_wei_validates(self) -> None:
        make_account(balance_in_wei=WEI_MAX).full_clean()

    def test_it_serialises_as_digits(self) -> None:
        assert WeiField().clone().deconstruct()[3] == {}
        account = Account(current_balance_in_wei=WEI_MAX)
        field = Account._meta.get_field("current_balance_in_wei")
        assert field.value_to_string(account) == str(WEI_MAX)


class TestParse:
    @pytest.mark.parametrize(
        ("text", "unit", "wei"),
        [
            ("1", "ether", 10**18),
            ("1.25", "ether", 1_250_000_000_000_000_000),
            (".5", "ether", 5 * 10**17),
            ("5.", "ether", 5 * 10**18),
            ("0.000000000000000001", "ether", 1),
            ("0.0000000000000000010", "ether", 1),
            ("9.223372036854775808", "ether", 2**63),
            ("115792089237316195423570985008687907853269984665640564039457.584007913129639935", "ether", WEI_MAX),
            (str(WEI_MAX), "wei", WEI_MAX),
            ("1", "gwei", 10**9),
            ("0.000000001", "gwei", 1),
            ("1_000", "wei", 1000),
            ("  7\n", "wei", 7),
            ("7.0", "wei", 7),
            ("007", "wei", 7),
        ],
    )
    def test_numbers(self, text: str, unit: str, wei: int) -> None:
        assert parse_amount(text, unit) == wei

    @pytest.mark.parametrize("unit", DECIMALS_BY_UNIT)
    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            ".",
            "_",
            "x",
            "-1",
            "+1",
            "1e18",
            "1,5",
            "1.2.3",
            "0x10",
            "١",
            "½",
            "1 2",
            "NaN",
            "Infinity",
            "1\x00",
        ],
    )
    def test_what_is_no_number(self, text: str, unit: str) -> None:
        with pytest.raises(BadAmountError, match="is not a number"):
            parse_amount(text, unit)

    @pytest.mark.parametrize(
        ("text", "unit", "message"),
        [
            ("0", "wei", "must be more than zero"),
            ("0.000", "ether", "must be more than zero"),
            ("0.5", "wei", "Wei can't be divided"),
            ("0.0000000001", "gwei", "at most 9 decimals"),
            ("1.0000000000000000001", "ether", "at most 18 decimals"),
            (str(WEI_MAX + 1), "wei", "largest amount"),
            (
                "115792089237316195423570985008687907853269984665640564039457.584007913129639936",
                "ether",
                "largest amount",
            ),
            ("1" + "0" * 78, "wei", "largest amount"),
            ("9" * 100_000, "ether", "largest amount"),
        ],
    )
    def test_numbers_that_are_no_amount(self, text: str, unit: str, message: str) -> None:
        with pytest.raises(BadAmountError, match=message):
            parse_amount(text, unit)

    @given(wei=st.integers(1, WEI_MAX), unit=st.sampled_from(sorted(DECIMALS_BY_UNIT)))
    @example(wei=WEI_MAX, unit="ether")
    def test_every_amount_can_be_typed_in_every_unit(self, wei: int, unit: str) -> None:
        decimals = DECIMALS_BY_UNIT[unit]
        whole, fraction = divmod(wei, 10**decimals)
        text = f"{whole}.{fraction:0{decimals}d}" if decimals else str(whole)
        assert parse_amount(text, unit) == wei

    @given(text=st.text(max_size=30), unit=st.sampled_from(sorted(DECIMALS_BY_UNIT)))
    def test_whatever_is_typed_is_an_amount_or_a_clear_error(self, text: str, unit: str) -> None:
        with suppress(BadAmountError):
            assert 0 < parse_amount(text, unit) <= WEI_MAX


class TestFormat:
    @pytest.mark.parametrize(
        ("wei", "text"),
        [
            (0, "0"),
            (1, "0.000000000000000001"),
            (-1, "-0.000000000000000001"),
            (10**18, "1"),
            (-(10**18), "-1"),
            (8 * 10**15, "0.008"),
            (1_250_000_000_000_000_000, "1.25"),
            (10**19, "10"),
            (WEI_MAX, "115792089237316195423570985008687907853269984665640564039457.584007913129639935"),
        ],
    )
    def test_examples(self, wei: int, text: str) -> None:
        assert format_ether(wei) == text

    @given(wei=st.integers(1, WEI_MAX))
    def test_what_is_shown_can_be_typed_again(self, wei: int) -> None:
        assert parse_amount(format_ether(wei), "ether") == wei
        assert format_ether(-wei) == f"-{format_ether(wei)}"

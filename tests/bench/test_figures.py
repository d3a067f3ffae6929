"""What a measurement comes to."""

import pytest

from bench.figures import Figure, Spread, at_median, percentile, percentiles_in_ms, significant, spread_of
from bench.report import table


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, 1.0), (0.01, 1.0), (0.5, 50.0), (0.505, 51.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)],
)
def test_a_percentile_is_the_smallest_value_that_enough_others_do_not_exceed(share: float, expected: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == expected


def test_percentiles_are_told_in_milliseconds() -> None:
    assert percentiles_in_ms([0.002]) == (2.0, 2.0)


def test_what_is_told_beside_a_median_is_of_the_same_repeat() -> None:
    assert at_median([5.0, 1.0, 2.0], ["five", "one", "two"]) == "two"
    assert at_median([5.0, 1.0], ["five", "one"]) == "five"


def test_repeats_come_to_their_median_with_the_extremes() -> None:
    assert spread_of([5.0, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=5.0, repeats=3)


@pytest.mark.parametrize(
    ("value", "at_most", "met"),
    [(10.0, False, True), (9.99, False, False), (10.0, True, True), (10.01, True, False)],
)
def test_a_target_is_a_floor_or_a_ceiling(value: float, at_most: bool, met: bool) -> None:
    assert _figure(value, at_most=at_most).met is met


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0.0), (1234.56, 1235.0), (0.0123456, 0.01235), (-98765.4, -98770.0)]
)
def test_values_are_told_in_four_digits(value: float, expected: float) -> None:
    assert significant(value) == expected


def test_the_table_says_what_was_missed_and_how_far_repeats_lay_apart() -> None:
    missed = Figure(
        row="row",
        name="a figure",
        value=9,
        unit="1/s",
        target=10,
        p50=1.5,
        p99=20,
        spread=Spread(9, 8, 11, 3),
        notes=["why"],
    )
    assert table([missed]).splitlines() == [
        "what      value  unit  p50 ms  p99 ms  target  met",
        "--------  -----  ----  ------  ------  ------  ---",
        "a figure  9      1/s   1.5     20      ≥ 10    NO",
        "    why",
        "    median of 3, from 8 to 11",
    ]


def _figure(value: float, *, at_most: bool) -> Figure:
    return Figure(row="row", name="a figure", value=value, unit="1/s", target=10, at_most=at_most)

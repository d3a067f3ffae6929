"""A seed says everything that will go wrong, and every kind gets its turn."""

from collections import Counter
from itertools import islice
from pathlib import Path

from chaos.faults.kinds import all_kinds, choose, fault_points
from chaos.plan import SPREAD_SECONDS_MAX, Wave, waves

KINDS = all_kinds(deep_reorgs=False)


def told(seed: int, count: int) -> list[str]:
    return [
        f"{wave.number} {wave.gap_seconds} {[(strike.after_seconds, str(strike.fault)) for strike in wave.strikes]}"
        for wave in islice(waves(seed, KINDS), count)
    ]


def drawn(count: int) -> list[Wave]:
    return list(islice(waves(7, KINDS), count))


def test_the_same_seed_is_the_same_plan_and_another_one_is_not() -> None:
    assert told(7, 100) == told(7, 100)
    assert told(7, 100) != told(8, 100)


def test_what_a_fault_does_request_by_request_is_in_the_seed_too() -> None:
    """Faults that decide later have random numbers of their own, drawn from the plan's."""
    first, second = (
        [
            fault._rng.random()
            for wave in drawn(200)
            for strike in wave.strikes
            if hasattr(fault := strike.fault, "_rng")
        ]
        for _ in range(2)
    )
    assert len(first) > 20
    assert first == second


def test_every_kind_comes_in_every_round() -> None:
    names = [strike.fault.name for wave in drawn(2 * len(KINDS)) for strike in wave.strikes]
    assert set(names[: len(KINDS) + 10]) == set(names)


def test_faults_of_one_wave_break_different_parts_and_the_first_comes_at_once() -> None:
    sizes = Counter(len(wave.strikes) for wave in drawn(500))
    assert set(sizes) == {1, 2, 3}
    assert sizes[1] > sizes[2] > sizes[3] > 20
    for wave in drawn(500):
        parts = [strike.fault.part for strike in wave.strikes]
        assert len(set(parts)) == len(parts)
        assert wave.strikes[0].after_seconds == 0
        assert all(0 <= strike.after_seconds <= SPREAD_SECONDS_MAX for strike in wave.strikes)


def test_kinds_are_chosen_by_words_in_their_names() -> None:
    names = {wave.strikes[0].fault.name for wave in islice(waves(1, choose(KINDS, only=["cache"])), 50)}
    assert names == {
        "cache restarted",
        "cache killed",
        "cache flushed",
        "cache full",
        "cache: connections cut",
        "cache: answers lost",
        "cache: black hole",
        "cache: slow",
    }
    fewer = choose(KINDS, only=["broker"], without=["restarted", "full", ":"])
    assert {wave.strikes[0].fault.name for wave in islice(waves(1, fewer), 20)} == {"broker killed", "broker flushed"}


def test_blocks_that_count_as_final_are_taken_back_only_on_demand() -> None:
    def names(*, deep_reorgs: bool) -> set[str]:
        kinds = all_kinds(deep_reorgs=deep_reorgs)
        return {strike.fault.name for wave in islice(waves(1, kinds), 200) for strike in wave.strikes}

    assert names(deep_reorgs=True) - names(deep_reorgs=False) == {"deep reorg"}


def test_all_fault_points_of_the_sources_are_known(tmp_path: Path) -> None:
    points = fault_points()
    assert len(points) == len(set(points))
    assert {
        "broadcast.before_commit",
        "broadcast.saved",
        "broadcast.before_send",
        "broadcast.after_send",
        "follow.mined",
        "follow.before_settle",
        "settle.before_commit",
        "settle.posted",
        "web.before_commit",
        "web.after_commit",
        "worker.before_commit",
        "worker.after_commit",
    } <= set(points)

"""Finding the block that used a nonce. No standard method tells; the count of an address at a block does.

That count never falls from one block to the next, so the block can be narrowed down by halves, all nonces at once.
"""

from collections.abc import Callable, Mapping, Sequence

CountsAt = Callable[[Sequence[int]], Mapping[int, int]]
"""Ask for an address's counts after blocks of these numbers; blocks are absent where the node can't say."""


def blocks_of_nonces(counts_at: CountsAt, nonces: Sequence[int], head_number: int) -> dict[int, int]:
    """Return the number of the block in which each nonce was used; those that none has used are absent.

    Where the node has forgotten the counts, it is the oldest block whose count it has: a guess, so look into the block.
    """
    brackets: dict[int, tuple[int, int]] = {}
    probes = _probes(head_number)
    counts = counts_at(probes)
    for nonce in nonces:
        after = min((number for number, count in counts.items() if count > nonce), default=None)
        if after is not None:
            before = max((number for number in probes if number < after), default=after)
            brackets[nonce] = (before, after)
    while open_ones := {nonce: (low + high) // 2 for nonce, (low, high) in brackets.items() if high - low > 1}:
        counts = counts_at(sorted(set(open_ones.values())))
        for nonce, middle in open_ones.items():
            low, high = brackets[nonce]
            brackets[nonce] = (low, middle) if counts.get(middle, 0) > nonce else (middle, high)
    return {nonce: high for nonce, (_, high) in brackets.items()}


def _probes(head_number: int) -> list[int]:
    """Return the head and the blocks 1, 2, 4, 8 … before it, down to the first: what is sought is mostly new."""
    distances = (2**power for power in range(head_number.bit_length()))
    return sorted({0, head_number, *(head_number - distance for distance in distances if distance <= head_number)})

"""What to offer the network for a transfer (EIP-1559), never above what the user paid for it."""

from dataclasses import dataclass

from transactions.chain.types import FeeQuote

PLAIN_GAS = 21_000
"""The gas of a transfer to an address without code (Ethereum yellow paper, appendix G)."""

FEE_MARGIN = 4
"""How many times the fee of now is kept back for a move between wallets of the desk."""


@dataclass(frozen=True, slots=True)
class Price:
    """An offer in wei per gas: at most `max_fee`, of which `max_priority_fee` for the block's builder."""

    max_fee_per_gas_in_wei: int
    max_priority_fee_per_gas_in_wei: int


def price_transfer(quote: FeeQuote, *, gas_limit: int, fee_paid_in_wei: int) -> Price | None:
    """Return the offer for a transfer, or nothing while the network asks more than the fee covers.

    The usual offer is twice the base fee plus the tip, which stays valid through six full blocks of rising base fee
    (EIP-1559 raises it by at most 1/8 a block). Where the fee paid doesn't cover that, a smaller one will do as long
    as it outlives the next block.
    """
    tip = quote.max_priority_fee_per_gas_in_wei
    base_fee = quote.base_fee_per_gas_in_wei
    ceiling = fee_paid_in_wei // gas_limit
    if ceiling < base_fee + -(-base_fee // 8) + tip:
        return None
    return Price(min(usual_price(quote), ceiling), tip)


def usual_price(quote: FeeQuote) -> int:
    """Return the usual offer in wei per gas: twice the base fee plus the tip."""
    return 2 * quote.base_fee_per_gas_in_wei + quote.max_priority_fee_per_gas_in_wei


def reserve_for_move(quote: FeeQuote) -> int:
    """Return what to keep back for the fee of a move between wallets of the desk, in wei.

    It is more than the fee would be now: a replacement may have to offer more.
    """
    return FEE_MARGIN * PLAIN_GAS * usual_price(quote)


def price_replacement(quote: FeeQuote, last: Price, *, gas_limit: int, fee_max_in_wei: int) -> Price | None:
    """Return the offer that takes the place of the last one, or nothing where that would cost more than `fee_max`.

    Both fields rise by at least 1/8 (nodes demand 1/10), and to the usual offer where the network asks for more.
    """
    tip = max(quote.max_priority_fee_per_gas_in_wei, _raised(last.max_priority_fee_per_gas_in_wei))
    lowest = max(_raised(last.max_fee_per_gas_in_wei), tip)
    ceiling = fee_max_in_wei // gas_limit
    if lowest > ceiling:
        return None
    usual = 2 * quote.base_fee_per_gas_in_wei + tip
    return Price(min(max(lowest, usual), ceiling), tip)


def _raised(fee_per_gas_in_wei: int) -> int:
    """Return an eighth more, and more in any case."""
    return fee_per_gas_in_wei + max(1, -(-fee_per_gas_in_wei // 8))

"""What is held against the desk at the end: its rows, the chain, and what clients were told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chaos.cast import Cast
from chaos.onchain import ChainFacts, Mined
from chaos.rows import Payment, Rows
from chaos.told import Told


@dataclass
class Evidence:
    """All there is to judge by.

    :param books: what the desk's own check of its books found.
    :param deep_reorgs: whether blocks were taken back that counted as final, so that a SUCCESSFUL may not have lasted.
    """

    cast: Cast
    rows: Rows
    chain: ChainFacts
    told: Told
    deep_reorgs: bool = False
    books: Sequence[str] = field(default=())

    def payments_by_id(self) -> Mapping[int, Payment]:
        return {payment.id: payment for payment in self.rows.payments}

    def came(self) -> list[Mined]:
        """Return the transfers of value to an address of the desk's, also from another one of them."""
        ours = {address.lower() for address in self.cast.addresses}
        return [each for each in self.chain.mined if each.succeeded and each.value_in_wei and each.to_address in ours]

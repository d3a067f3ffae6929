"""Transactions and deposits, what they are judged by (policies, approvals, blocks), wallets, every attempt signed."""

from transactions.models.approvals import Approval
from transactions.models.attempts import Attempt
from transactions.models.blocks import Block
from transactions.models.deposits import BlockContent, BookedTransfer, Deposit
from transactions.models.payments import Transaction
from transactions.models.policies import AccountPolicy, AllowedRecipient
from transactions.models.queue import Queue
from transactions.models.reserves import ReservesReport
from transactions.models.wallets import PassedNonce, Wallet

__all__ = [
    "AccountPolicy",
    "AllowedRecipient",
    "Approval",
    "Attempt",
    "Block",
    "BlockContent",
    "BookedTransfer",
    "Deposit",
    "PassedNonce",
    "Queue",
    "ReservesReport",
    "Transaction",
    "Wallet",
]

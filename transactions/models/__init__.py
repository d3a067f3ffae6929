"""Transactions, the wallets that pay them, every attempt ever signed, and the blocks they are judged by."""

from transactions.models.attempts import Attempt
from transactions.models.blocks import Block
from transactions.models.payments import Transaction
from transactions.models.queue import Queue
from transactions.models.wallets import Wallet

__all__ = ["Attempt", "Block", "Queue", "Transaction", "Wallet"]

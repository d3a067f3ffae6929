"""JSON-RPC over HTTP to one node: batches only, raw values, and errors that keep the node's address to themselves."""

import itertools
import logging
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from web3.providers import HTTPProvider
from web3.types import RPCEndpoint

from transactions.chain.exceptions import ChainBusyError, ChainReplyError, ChainUnavailableError
from transactions.chain.limit import CallLimit

# web3 brings py_ecc, which raises Python's limit to 100,000: deeply nested JSON would then not be refused with a
# RecursionError, but overflow a web thread's stack and kill the process.
sys.setrecursionlimit(1_000)

Call = tuple[str, list[Any]]
"""A method's name and its parameters."""

CONNECT_TIMEOUT_SECONDS = 3.0
ERROR_TEXT_LENGTH_MAX = 300
SECRET_LENGTH_MIN = 8

HTTP_RETRYABLE = frozenset({408, 425, 429})
CODES_OF_LIMITS = frozenset({429, -32005, -32007, -32097})
"""How providers say "too many requests" inside a reply: EIP-1474's -32005, and what Alchemy and QuickNode made up."""
WORDS_OF_LIMITS = ("rate limit", "too many requests", "request limit", "compute units", "capacity exceeded")
WORDS_OF_MISSING_METHODS = ("method not found", "unsupported method", "method not supported", "does not exist/is not")
WORDS_OF_MISSING_HISTORY = ("missing trie node", "historical state", "pruned", "state not available", "outofrange")
"""How nodes say that they keep no state of blocks that old: geth, reth and Nethermind, Besu, anvil."""

# At DEBUG both print the node's whole address, API key included, on every request.
logging.getLogger("web3.providers.HTTPProvider").setLevel(logging.INFO)
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class RpcError:
    """An error that a node gave for one call of a batch (JSON-RPC 2.0, section 5.1)."""

    code: int
    message: str

    @property
    def is_method_missing(self) -> bool:
        """Say whether the node does not offer the method at all (-32601, or -32004 of EIP-1474)."""
        return self.code in (-32601, -32004) or any(words in self.message.lower() for words in WORDS_OF_MISSING_METHODS)

    @property
    def is_not_offered(self) -> bool:
        """Say whether the node is well, but has no such method or keeps no state of blocks that old."""
        return self.is_method_missing or any(words in self.message.lower() for words in WORDS_OF_MISSING_HISTORY)

    @property
    def is_limit(self) -> bool:
        """Say whether the node only asks to be asked less often."""
        return self.code in CODES_OF_LIMITS or any(words in self.message.lower() for words in WORDS_OF_LIMITS)

    @property
    def is_revert(self) -> bool:
        """Say whether the EVM ran the call and reverted it: geth's code 3, or its words from nodes with other codes."""
        return self.code == 3 or "execution reverted" in self.message.lower()


@dataclass(frozen=True, slots=True)
class Reply:
    """A node's answer to one call: a result (which may be None), or an error."""

    result: Any
    error: RpcError | None = None


class RpcNode:
    """One node, asked through web3's HTTP provider without its formatters, which cost more than the calls.

    Safe to share between threads and to inherit by fork: each thread of each process has a connection of its own.

    :param calls_per_second: how many calls all processes together may make; 0 is no limit.
    :param waits: whether to wait where that is reached, up to the time limit, or to give up at once.
    """

    def __init__(
        self, url: str, *, number: int, timeout_seconds: float, calls_per_second: int = 0, waits: bool = True
    ) -> None:
        parts = urlsplit(url)
        self.label = f"node {number} ({parts.hostname or 'no host'})"
        self._limit = CallLimit(self.label, calls_per_second=calls_per_second) if calls_per_second else None
        self._limit_wait_seconds = timeout_seconds if waits else 0.0
        self._url = url
        self._timeouts = (min(CONNECT_TIMEOUT_SECONDS, timeout_seconds), timeout_seconds)
        secrets = [parts.username, parts.password, *parts.path.split("/"), *parts.query.replace("=", "&").split("&")]
        self._secrets = [
            text for text in secrets if text and (len(text) >= SECRET_LENGTH_MIN or text == parts.password)
        ]
        self._ids = itertools.count(1)
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"<RpcNode {self.label}>"

    @property
    def calls_max(self) -> int | None:
        """The most calls that one round trip may have, if that is limited."""
        return None if self._limit is None else self._limit.calls_max

    def ask(self, calls: Sequence[Call]) -> list[Reply]:
        """Put all calls in one HTTP round trip and return their replies in the same order.

        :raises ChainBusyError: when no more calls are allowed at the moment; the node was not asked.
        :raises ChainUnavailableError: when the node can't be reached, is too slow, or is too busy.
        :raises ChainReplyError: when the answer is not one reply for each call.
        """
        if not calls:
            return []
        if self._limit is not None and not self._limit.take(len(calls), wait_seconds=self._limit_wait_seconds):
            raise ChainBusyError(f"{self.label} has been asked as often as CHAIN_RPC_CALLS_PER_SECOND allows.")
        provider = self._provider()
        first_id = next(self._ids) * 1_000_000
        provider.request_counter = itertools.count(first_id)
        # Raised below, outside of the handler: a chained exception would carry the node's address into logs.
        failure: ChainUnavailableError | ChainReplyError
        try:
            answer: Any = provider.make_batch_request([(RPCEndpoint(method), params) for method, params in calls])
        except requests.HTTPError as error:
            failure = self._failure_of_status(503 if error.response is None else error.response.status_code)
        except (requests.RequestException, OSError) as error:
            failure = ChainUnavailableError(f"{self.label} does not answer: {type(error).__name__}")
        # web3 trusts the shape of what it sorts, and warns where ids are missing.
        except (ValueError, TypeError, AttributeError, KeyError, RuntimeWarning) as error:
            failure = ChainReplyError(
                f"{self.label} gave an answer that is no batch of replies: {type(error).__name__}"
            )
        else:
            return self._replies(answer, first_id, len(calls))
        raise failure

    def _provider(self) -> HTTPProvider:
        """Return this thread's keep-alive connection; a forked child must not share a socket with its parent."""
        provider: HTTPProvider | None = getattr(self._local, "provider", None)
        if provider is None or self._local.pid != os.getpid():
            provider = HTTPProvider(
                self._url,
                request_kwargs={"timeout": self._timeouts, "allow_redirects": False},
                session=requests.Session(),
                exception_retry_configuration=None,
            )
            self._local.provider, self._local.pid = provider, os.getpid()
        return provider

    def _failure_of_status(self, status: int) -> ChainUnavailableError | ChainReplyError:
        if status >= 500 or status in HTTP_RETRYABLE:
            return ChainUnavailableError(f"{self.label} does not answer: HTTP {status}")
        return ChainReplyError(f"{self.label} refused the request: HTTP {status}")

    def _replies(self, answer: Any, first_id: int, count: int) -> list[Reply]:
        if not isinstance(answer, list):
            error = self._error(answer.get("error") if isinstance(answer, dict) else answer)
            if error.is_limit:
                raise ChainUnavailableError(f"{self.label} is too busy: {error.message}")
            raise ChainReplyError(f"{self.label} refused the batch: {error.message}")
        if [reply.get("id") for reply in answer] != list(range(first_id, first_id + count)):
            raise ChainReplyError(f"{self.label} gave {len(answer)} replies to {count} calls, or replies to others")
        return [
            Reply(None, self._error(reply["error"])) if reply.get("error") is not None else Reply(reply.get("result"))
            for reply in answer
        ]

    def _error(self, error: Any) -> RpcError:
        """Read a JSON-RPC error, cut it short, and blank out parts of our own address that the node may echo."""
        code, message = 0, str(error)
        if isinstance(error, dict):
            code = error["code"] if isinstance(error.get("code"), int) else 0
            message = str(error.get("message", ""))
        for secret in self._secrets:
            message = message.replace(secret, "…")
        return RpcError(code, message[:ERROR_TEXT_LENGTH_MAX] or f"error {code}")

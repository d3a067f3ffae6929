"""The JSON API as a careful client uses it: a status and a body, or no answer."""

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

from txnsite.stack.ports import LOOPBACK

NO_ANSWER = 0


class Api:
    """One keep-alive connection with one user's token; for one thread."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._connection: http.client.HTTPConnection | None = None

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Return status and body of an answer; `NO_ANSWER` and nothing when there is none, or none that makes sense."""
        content = None if body is None else json.dumps(body)
        try:
            connection = self._connected(timeout_seconds)
            connection.request(method, f"/api/v1{path}", content, {**self._headers, **(headers or {})})
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            return NO_ANSWER, {}
        return answer.status, told

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self, timeout_seconds: float) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=timeout_seconds)
            self._connection.connect()
        found: socket.socket | None = self._connection.sock
        if found is None:
            # The server has closed it after its last answer.
            self._connection.connect()
            found = self._connection.sock
        found.settimeout(timeout_seconds)
        return self._connection

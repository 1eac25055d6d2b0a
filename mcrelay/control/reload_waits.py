"""The clients that wait for the result of a reload, which comes with the snapshot of the supervisor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mcrelay.control.connection import Reply
from mcrelay.protocol.jsonrpc import Json

MAX_WAIT_S = 5.0  # after which a client gets null instead of a result, and may ask again

Result = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class _Wait:
    """A client that waits for a reload after number `begun`: of this cause or, for None, of the files."""

    client: object
    reply: Reply
    begun: int
    cause: str | None
    since: float

    def is_for(self, result: Result) -> bool:
        """Return whether the client waits for this result."""
        if self.cause is None:
            is_wanted = bool(result["is_about_files"])
        else:
            is_wanted = result["cause"] == self.cause or self._is_unreadable_request(result)
        return is_wanted and int(result["finished"]) > self.begun

    def _is_unreadable_request(self, result: Result) -> bool:
        """Return whether the supervisor refused a request without knowing of which kind it was."""
        is_request = self.cause in ("try", "confirm")
        return is_request and (result["cause"], result["outcome"]) == ("hangup", "refused")


class ReloadWaits:
    """All waits, at most one for each connection. `results` returns the known results, in any order."""

    def __init__(self, results: Callable[[], Iterable[Result]]) -> None:
        self._results = results
        self._waits: list[_Wait] = []

    def add(self, client: object, reply: Reply, begun: int, cause: str | None, now: float) -> None:
        """Answer with the first result of a reload after number `begun`, or with null after MAX_WAIT_S."""
        self._waits.append(_Wait(client, reply, begun, cause, now))
        self.answer()

    def answer(self) -> None:
        """Answer the clients whose result is known."""
        results = list(self._results())
        for wait in list(self._waits):
            if found := [one for one in results if wait.is_for(one)]:
                self._answer(wait, min(found, key=lambda one: int(one["finished"])))

    def expire(self, now: float) -> None:
        """Answer the clients that have waited for MAX_WAIT_S."""
        for wait in [one for one in self._waits if one.since + MAX_WAIT_S <= now]:
            self._answer(wait, None)

    def client_gone(self, client: object) -> None:
        """Forget a client whose connection is closed."""
        self._waits = [one for one in self._waits if one.client is not client]

    def _answer(self, wait: _Wait, result: Result | None) -> None:
        if wait in self._waits:  # an answer before this one may have closed its connection
            self._waits.remove(wait)
            wait.reply.result(result)

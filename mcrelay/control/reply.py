"""The answer that a client waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mcrelay.protocol.jsonrpc import Identity, Json, RpcError, encoded, encoded_error, encoded_result

Send = Callable[[Sequence[bytes]], None]


class Reply:
    """Answers one request, once: at once, or when the answer is known. A notification gets none."""

    def __init__(self, send: Send, id: Identity, is_notification: bool) -> None:
        self._send = send
        self._id = id
        self._is_notification = is_notification

    def result(self, value: Json) -> None:
        """The request was carried out."""
        self.document([encoded(value)])

    def document(self, pieces: Sequence[bytes]) -> None:
        """The request was carried out; the result is JSON already."""
        self._send([] if self._is_notification else encoded_result(self._id, pieces))

    def failed(self, error: RpcError) -> None:
        """The request was not carried out."""
        self._send([] if self._is_notification else [encoded_error(error, self._id)])

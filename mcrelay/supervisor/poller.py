"""Waits for events on all descriptors of the supervisor, and calls their handlers."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import Any, Protocol

from mcrelay.ipc.channel import ChannelClosed, Message
from mcrelay.protocol.framing import WireError
from mcrelay.supervisor.children import Child

SHORTAGE_DELAY_S = 0.1  # from a send that failed for lack of memory until the next one


class HasDescriptor(Protocol):
    """An object that can be polled."""

    def fileno(self) -> int:
        """Return the descriptor to poll."""


class Poller:
    """Polls descriptors, and receives the messages, the output and the exits of children."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.children: list[Child[Any]] = []
        """The children whose exit has not been handled yet."""

    def watch(self, source: HasDescriptor, on_readable: Callable[[], None]) -> None:
        """Call `on_readable` whenever `source` is readable."""
        self._selector.register(source, selectors.EVENT_READ, lambda _: on_readable())

    def connect(
        self,
        child: Child[Message],
        on_message: Callable[[Message], None],
        on_exit: Callable[[str], None],
    ) -> None:
        """Call `on_message` with each message of a child, and `on_exit` with the text from `Child.reap`.

        If `on_message` raises WireError, because a message breaks the protocol, the child is killed.
        """
        self.children.append(child)
        self._selector.register(
            child.channel, selectors.EVENT_READ, lambda events: self._channel_ready(child, events, on_message)
        )
        self._selector.register(child.output, selectors.EVENT_READ, lambda _: self._log_output(child))
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda _: self._exited(child, on_exit))

    def wait(self, timeout: float | None) -> None:
        """Wait at most `timeout` seconds (None: without limit) for events, and handle them."""
        self._poll_for_room()
        short_of_memory = [child.channel for child in self.children if child.channel.is_short_of_memory]
        if short_of_memory:
            timeout = SHORTAGE_DELAY_S if timeout is None else min(timeout, SHORTAGE_DELAY_S)
        for key, events in self._selector.select(timeout):
            if key.fd in self._selector.get_map():  # the handler of an earlier event may have closed it
                key.data(events)
        for channel in short_of_memory:
            channel.flush()

    def _poll_for_room(self) -> None:
        """Poll the channels with unsent messages for room to send."""
        registered = self._selector.get_map()
        for child in self.children:
            has_to_wait = child.channel.has_unsent and not child.channel.is_short_of_memory
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if has_to_wait else 0)
            key = registered.get(child.channel)
            if key is not None and key.events != events:
                self._selector.modify(child.channel, events, key.data)

    def _channel_ready(
        self, child: Child[Message], events: int, on_message: Callable[[Message], None]
    ) -> None:
        if events & selectors.EVENT_WRITE:
            child.channel.flush()
        if events & selectors.EVENT_READ:
            try:
                for message in child.channel.receive():
                    on_message(message)
            except (ChannelClosed, WireError) as fault:
                self._selector.unregister(child.channel)
                if not child.is_stopping:
                    child.kill_unless_exiting(str(fault))

    def _log_output(self, child: Child[Message]) -> None:
        if not child.output.log_lines():
            self._selector.unregister(child.output)

    def _exited(self, child: Child[Message], on_exit: Callable[[str], None]) -> None:
        for source in (child.channel, child.output, child.pidfd):
            if source in self._selector.get_map():
                self._selector.unregister(source)
        self.children.remove(child)
        on_exit(child.reap())

"""Waits for whatever happens to the supervisor, and passes it on to whom it concerns."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import Any, Protocol

from mcrelay.ipc.channel import ChannelClosed, Message
from mcrelay.protocol.framing import WireError
from mcrelay.supervisor.children import Child

LATER = 0.1  # seconds until what the system had no room for is said again


class HasDescriptor(Protocol):
    """What can be polled."""

    def fileno(self) -> int:
        """Return the descriptor to poll."""


class Poller:
    """All descriptors that are waited on, and the children they belong to."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.children: list[Child[Any]] = []
        """Those whose end has not been told yet."""

    def watch(self, source: HasDescriptor, happened: Callable[[], None]) -> None:
        """From now on tell when there is something to read."""
        self._selector.register(source, selectors.EVENT_READ, lambda _: happened())

    def connect(
        self, child: Child[Message], heard: Callable[[Message], None], exited: Callable[[str], None]
    ) -> None:
        """From now on tell what a child says, and how it ended. ChannelClosed out of `heard` puts it down."""
        self.children.append(child)
        self._selector.register(
            child.channel, selectors.EVENT_READ, lambda events: self._speaks(child, events, heard)
        )
        self._selector.register(child.exit, selectors.EVENT_READ, lambda _: self._ended(child, exited))

    def wait(self, timeout: float | None) -> None:
        """Wait until something happens, and pass it on."""
        self._watch_for_room()
        refused = [child.channel for child in self.children if child.channel.is_short_of_memory]
        if refused:
            timeout = LATER if timeout is None else min(timeout, LATER)
        for key, events in self._selector.select(timeout):
            if key.fd in self._selector.get_map():  # what came before may have closed it
                key.data(events)
        for channel in refused:
            channel.flush()

    def _watch_for_room(self) -> None:
        """Wait for room in the channels of those children that are still to be told something."""
        channels = self._selector.get_map()
        for child in self.children:
            waits = child.channel.has_unsent and not child.channel.is_short_of_memory
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if waits else 0)
            key = channels.get(child.channel)
            if key is not None and key.events != wanted:
                self._selector.modify(child.channel, wanted, key.data)

    def _speaks(self, child: Child[Message], events: int, heard: Callable[[Message], None]) -> None:
        if events & selectors.EVENT_WRITE:
            child.channel.flush()
        if events & selectors.EVENT_READ:
            try:
                for message in child.channel.receive():
                    heard(message)
            except (ChannelClosed, WireError) as fault:
                self._selector.unregister(child.channel)
                if not child.is_to_end:
                    child.put_down(str(fault))

    def _ended(self, child: Child[Message], exited: Callable[[str], None]) -> None:
        for descriptor in (child.channel, child.exit):
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        self.children.remove(child)
        exited(child.reaped())

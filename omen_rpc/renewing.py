"""
A channel that follows its certificate's files: when they change, calls go over a new connection.

What is in flight on the old one ends there by itself, so that nobody's call fails for a renewal.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from omen_rpc.certificate import CertificateUnreadable, Stamp, stamp

LOOK_INTERVAL_S = 1.0
# A server ends what is as old as that by itself, and a subscription goes on elsewhere then.
OLD_GRACE_S = 1_860.0


class Renewing:
    """
    What stubs and connections use of a channel. *make* raises CertificateUnreadable while the files are not whole; the
    channel there is stays in use then.
    """

    def __init__(
        self,
        make: Callable[[], grpc.aio.Channel],
        paths: Sequence[Path],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._paths, self._monotonic = make, paths, monotonic
        self._stamp: Stamp | None = None
        with suppress(CertificateUnreadable):
            self._stamp = stamp(paths)  # Before the files are read: what changes meanwhile is read again.
        self._channel = make()
        self._looked_s = monotonic()
        self._leaving: set[asyncio.Task[None]] = set()

    def unary_unary(self, *arguments: Any, **named: Any) -> Callable[..., Any]:
        """
        Return what calls a method; the same for the other kinds.
        """
        return self._method("unary_unary", arguments, named)

    def unary_stream(self, *arguments: Any, **named: Any) -> Callable[..., Any]:
        """
        Return what calls a method that streams its replies.
        """
        return self._method("unary_stream", arguments, named)

    def stream_unary(self, *arguments: Any, **named: Any) -> Callable[..., Any]:
        """
        Return what calls a method that takes a stream.
        """
        return self._method("stream_unary", arguments, named)

    def stream_stream(self, *arguments: Any, **named: Any) -> Callable[..., Any]:
        """
        Return what calls a method that does both.
        """
        return self._method("stream_stream", arguments, named)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """
        Return how the connection stands.
        """
        return self._current().get_state(try_to_connect)

    async def channel_ready(self) -> None:
        """
        Wait until calls get through.
        """
        await self._current().channel_ready()

    async def close(self) -> None:
        """
        Close every connection; what is in flight is cancelled.
        """
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self._channel.close()

    def _method(self, kind: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Callable[..., Any]:
        held: tuple[grpc.aio.Channel, Any] | None = None

        def call(*request: Any, **options: Any) -> Any:
            nonlocal held
            channel = self._current()
            if held is None or held[0] is not channel:
                held = channel, getattr(channel, kind)(*arguments, **named)
            return held[1](*request, **options)

        return call

    def _current(self) -> grpc.aio.Channel:
        """
        Return the channel to use now. The files are looked at once a second at most, and only when somebody calls.
        """
        now_s = self._monotonic()
        if now_s - self._looked_s < LOOK_INTERVAL_S:
            return self._channel
        self._looked_s = now_s
        with suppress(CertificateUnreadable):
            seen = stamp(self._paths)
            if seen != self._stamp:
                old, self._channel = self._channel, self._make()
                self._stamp = seen
                leaving = asyncio.create_task(leave(old))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
        return self._channel


async def leave(channel: grpc.aio.Channel) -> None:
    """
    Close a channel once what is in flight on it has ended.
    """
    try:
        await channel.close(OLD_GRACE_S)
    except asyncio.CancelledError:
        await channel.close()
        raise

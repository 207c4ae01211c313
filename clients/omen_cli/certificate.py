"""
The certificate that a server shows, and how long it lasts.
"""

import asyncio
import ssl
import time

from omen_rpc.address import AddressRefused, parse_address
from omen_rpc.channel import ClientFiles

WARN_DAYS = 14
DAY_S = 86_400


async def days_left(address: str, files: ClientFiles, timeout_s: float) -> float | None:
    """
    Return the days until the certificate runs out that *address* shows; None when it shows none that can be trusted.
    """
    try:
        at = parse_address(address)
        context = ssl.create_default_context(cafile=files.ca)
        context.set_alpn_protocols(["h2"])
        if files.cert is not None:
            context.load_cert_chain(files.cert, files.key)
        async with asyncio.timeout(timeout_s):
            if at.path:
                _, writer = await asyncio.open_unix_connection(at.path, ssl=context, server_hostname="localhost")
            else:
                _, writer = await asyncio.open_connection(at.host, at.port, ssl=context)
    except (AddressRefused, OSError, TimeoutError):
        return None
    shown = writer.get_extra_info("peercert")
    writer.transport.abort()  # Nothing was said, so nobody waits for an orderly end.
    return (ssl.cert_time_to_seconds(shown["notAfter"]) - time.time()) / DAY_S

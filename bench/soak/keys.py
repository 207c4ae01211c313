"""
API keys that change while they are in use, as an operator changes them: add, move the callers, take out.
"""

import asyncio
import secrets
from pathlib import Path

from omen_client import CallError, NotAllowed, OmenClient

HEEDED_TIMEOUT_S = 10.0


class Keys:
    """
    OMEN's file of keys, and the key that callers use now. The reconciler's own stays.
    """

    def __init__(self, place: Path) -> None:
        self.file = place / "keys"
        self.reconciler_file = place / "reconciler.key"
        self.rotations = 0
        self.current = secrets.token_hex(16)
        reconciler = secrets.token_hex(16)
        self._kept = f"reconciler:admin:{reconciler}"
        self.reconciler_file.write_text(reconciler)
        self._write(self.current)

    async def rotate(self, address: str, move_s: float) -> None:
        """
        Put a new key in, give callers *move_s* to use it, and take the old one out; RuntimeError if it still opens.
        """
        old, new = self.current, secrets.token_hex(16)
        self._write(old, new)
        await self._until(address, new, opens=True)
        self.current = new
        await asyncio.sleep(move_s)
        self._write(new)
        await self._until(address, old, opens=False)
        self.rotations += 1

    def _write(self, *keys: str) -> None:
        lines = [self._kept, *(f"caller{at}:read,ingest:{key}" for at, key in enumerate(keys))]
        beside = self.file.with_suffix(".new")
        beside.write_text("\n".join(lines) + "\n")
        beside.replace(self.file)

    async def _until(self, address: str, key: str, *, opens: bool) -> None:
        async with asyncio.timeout(HEEDED_TIMEOUT_S), OmenClient(address, api_key=key) as client:
            while await opened(client) != opens:  # noqa: ASYNC110 - the file is looked at once a second, and tells nobody
                await asyncio.sleep(0.2)


async def opened(client: OmenClient) -> bool:
    """
    Tell whether a client's key lets it in.
    """
    try:
        await client.operations.stats()
    except NotAllowed:
        return False
    except CallError:
        return True  # It was let in, and something else went wrong.
    return True

"""
Cursors: where a stream is, bound to the ledger and to the very record there.

    version 1 | hash of the ledger's id 8 | hash of its epoch 8 | offset 8 | CRC-32 of the frame there 4

in base64url without padding. No secret and no right; the CRC is 0 where no record lies: in a gap, and before the first.
"""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass
from hashlib import blake2b

from omen_rpc.errors import Reason, fault
from omen_server.ledger.identity import Identity

VERSION = 1
CURSOR_CHARACTERS_MAX = 256
_LAYOUT = struct.Struct(">B8s8sQI")


@dataclass(frozen=True, slots=True)
class Cursor:
    """
    A cursor taken apart.
    """

    ledger_id: bytes
    ledger_epoch: bytes
    offset: int
    crc: int


class Cursors:
    """
    The cursors of one ledger in its present epoch.
    """

    def __init__(self, identity: Identity) -> None:
        self._ledger_id = hashed(identity.ledger_id)
        self._ledger_epoch = hashed(identity.ledger_epoch)

    def at(self, offset: int, crc: int) -> str:
        """
        Return the cursor behind *offset*.
        """
        raw = _LAYOUT.pack(VERSION, self._ledger_id, self._ledger_epoch, offset, crc)
        return urlsafe_b64encode(raw).rstrip(b"=").decode()

    def foreign(self, cursor: Cursor) -> str:
        """
        Return in words why *cursor* is none of this ledger's; nothing when it is one.
        """
        if cursor.ledger_id != self._ledger_id:
            return "The cursor is of another ledger."
        if cursor.ledger_epoch != self._ledger_epoch:
            return "The cursor is older than the restore of this ledger from a backup."
        return ""


def read_cursor(text: str) -> Cursor:
    """
    Take a cursor apart; CURSOR_MALFORMED for what never was one.
    """
    malformed = fault(Reason.ERROR_REASON_CURSOR_MALFORMED)
    if len(text) > CURSOR_CHARACTERS_MAX:
        raise malformed
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        version, ledger_id, ledger_epoch, offset, crc = _LAYOUT.unpack(raw)
    except (NotBase64, ValueError, struct.error):
        raise malformed from None
    # Decoding forgives what it does not know; there is one way to write a cursor.
    if version != VERSION or urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise malformed
    return Cursor(ledger_id, ledger_epoch, offset, crc)


def hashed(text: str) -> bytes:
    """
    Return enough of a hash to tell ledgers and epochs apart.
    """
    return blake2b(text.encode(), digest_size=8).digest()

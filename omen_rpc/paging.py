"""
Page tokens: where a list goes on, bound to the method and to every argument of the first page.

    base64url( [16 B BLAKE2b of method, arguments and place][place, UTF-8] )

The hash has no key, so tokens outlive a restart and are good at every replica: it finds mistakes, not liars. Whoever
makes up a token learns nothing that a request without one would not tell, since the place is checked like any argument.
"""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final

from google.protobuf.message import Message

from omen_rpc.errors import Reason, fault

TOKEN_CHARS_MAX: Final = 1024
DIGEST_BYTES: Final = 16
SIZE, TOKEN = "page_size", "page_token"


def token_for(request: Message, place: str) -> str:
    """
    Return the token with which *request*, otherwise unchanged, goes on at *place*.
    """
    return urlsafe_b64encode(_digest(request, place.encode()) + place.encode()).decode().rstrip("=")


def place_in(request: Message) -> str:
    """
    Return the place that the request's token names, nothing when it has no token.

    Raises PAGE_TOKEN_INVALID for a token that does not decode or was made for other arguments.
    """
    token: str = getattr(request, TOKEN)
    if not token:
        return ""
    if len(token) > TOKEN_CHARS_MAX:
        raise bad_token()
    try:
        raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        digest, place = raw[:DIGEST_BYTES], raw[DIGEST_BYTES:].decode()
    except (binascii.Error, UnicodeError):
        raise bad_token() from None
    if not place or not hmac.compare_digest(digest, _digest(request, place.encode())):
        raise bad_token()
    return place


def bad_token() -> Exception:
    """
    Make the error for a token that is none of ours, or is one of another list.
    """
    return fault(Reason.ERROR_REASON_PAGE_TOKEN_INVALID)


def page_size(asked: int, default: int, most: int) -> int:
    """
    Return how many to send: what was asked for, as far as it goes.
    """
    return min(asked, most) if asked > 0 else default


def _digest(request: Message, place: bytes) -> bytes:
    """
    Hash everything a page depends on. A page may be of another size than the one before it.
    """
    arguments = type(request)()
    arguments.CopyFrom(request)
    arguments.ClearField(SIZE)
    arguments.ClearField(TOKEN)
    name = request.DESCRIPTOR.full_name.encode()
    hashed = blake2b(digest_size=DIGEST_BYTES, person=b"omen page token")
    for part in (name, arguments.SerializeToString(deterministic=True), place):
        hashed.update(len(part).to_bytes(4, "big") + part)
    return hashed.digest()

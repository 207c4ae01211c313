"""
Page tokens: where a list goes on, bound to the request it is a list of.

A token is no secret and no right: it holds a place, and a hash of every other argument, so that it cannot be handed to
a request that asks for something else.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from hashlib import blake2b
from typing import Any

from google.protobuf.message import Message

from omen_rpc.errors import Reason, Violation, fault, invalid_fields

HASH_BYTES = 9
PLACE_BYTES_MAX = 512


def page_size(request: Any, default: int, size_max: int) -> int:
    """
    Return how many entries a page has: what *request* wants, at most *size_max*, *default* when it does not say.
    """
    if request.page_size < 0:
        raise invalid_fields([Violation("page_size", f"is {request.page_size}, below 0")])
    return min(request.page_size or default, size_max)


def page_token(request: Any, place: str) -> str:
    """
    Return the token that continues *request* at *place*.
    """
    return urlsafe_b64encode(arguments_hash(request) + place.encode()).decode()


def page_place(request: Any) -> str:
    """
    Return the place that the token of *request* holds; nothing on the first page. CallError for a token that is none.
    """
    token: str = request.page_token
    if not token:
        return ""
    try:
        raw = urlsafe_b64decode(token.encode("ascii"))
        place = raw[HASH_BYTES:].decode()
    except (NotBase64, ValueError):
        raise fault(Reason.ERROR_REASON_PAGE_TOKEN_INVALID) from None
    if raw[:HASH_BYTES] != arguments_hash(request) or not 1 <= len(raw) - HASH_BYTES <= PLACE_BYTES_MAX:
        raise fault(Reason.ERROR_REASON_PAGE_TOKEN_INVALID)
    return place


def page_number(request: Any) -> int:
    """
    Return the place that the token of *request* holds when places are numbers; 0 on the first page.
    """
    place = page_place(request)
    if not place:
        return 0
    if not place.isascii() or not place.isdigit() or len(place) > 19:
        raise fault(Reason.ERROR_REASON_PAGE_TOKEN_INVALID)
    return int(place)


def arguments_hash(request: Message) -> bytes:
    """
    Return a hash of everything in *request* that must stay the same from page to page.
    """
    same: Any = type(request)()
    same.CopyFrom(request)
    same.ClearField("page_token")
    same.ClearField("page_size")
    hashed = blake2b(same.SerializeToString(deterministic=True), digest_size=HASH_BYTES)
    hashed.update(request.DESCRIPTOR.full_name.encode())
    return hashed.digest()

"""
API keys: who a caller is, and what it may do.

Kept only as SHA-256. A file is read again when it changes, so a key is rotated by adding the new one, moving the
callers, and taking the old one out; no restart.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from omen_rpc.errors import CallError, Reason, fault
from omen_rpc.metadata import API_KEY, AUTHORIZATION

SCOPES = frozenset({"read", "ingest", "admin"})
KEYS_MAX = 1000
FILE_CHECK_INTERVAL_S = 1.0
NAMED_KEY = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]{1,64}):(?P<scopes>[a-z]+(?:,[a-z]+)*):(?P<key>[^\s,;:]{1,512})(?=[ \t]*(?:[\r\n,;]|$))"
)
BARE_KEY = re.compile(r"(?P<key>[^\s,;:]{1,512})(?=[ \t]*(?:[\r\n,;]|$))")
SEPARATOR = re.compile(r"[\s,;]+")
COMMENT = re.compile(r"(?m)(?:^|(?<=\s))#.*$")

log = structlog.get_logger()


class KeysUnreadable(Exception):
    """
    The list of keys is not one; says where and never what.
    """


@dataclass(frozen=True, slots=True)
class Principal:
    """
    A caller with a key: its name for logs and limits, and what it may do.
    """

    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """
        Whether the principal may call what needs *scope*; admin may everything.
        """
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True, slots=True)
class Key:
    """
    One key as it is kept.
    """

    digest: bytes
    principal: Principal


def parse_keys(text: str, origin: str) -> tuple[Key, ...]:
    """
    Read keys from *text*: ``name:scope[,scope]:key`` each, or a bare key that may everything.

    They are separated by newlines, commas or semicolons. A blank inside one is an error, and a ``#`` after a blank or
    at the start of a line begins a comment: read as keys, such words would let in everybody who guesses one.
    """
    text = COMMENT.sub("", text)
    keys: list[Key] = []
    at = 0
    while at < len(text):
        if separator := SEPARATOR.match(text, at):
            at = separator.end()
            continue
        number = len(keys) + 1
        if named := NAMED_KEY.match(text, at):
            scopes = frozenset(named["scopes"].split(","))
            if scopes - SCOPES:  # Not shown: whoever mixes up the order has written the key there.
                raise KeysUnreadable(f"{origin}: key {number} has a scope that is none of {', '.join(sorted(SCOPES))}")
            keys.append(Key(digest(named["key"]), Principal(named["name"], scopes)))
            at = named.end()
        elif bare := BARE_KEY.match(text, at):
            keys.append(Key(digest(bare["key"]), Principal(f"key-{number}", SCOPES)))
            at = bare.end()
        else:
            raise KeysUnreadable(f"{origin}: key {number} is not of the form name:scope[,scope]:key")
    if len(keys) > KEYS_MAX:
        raise KeysUnreadable(f"{origin}: {len(keys)} keys, {KEYS_MAX} at most")
    return tuple(keys)


def digest(key: str) -> bytes:
    """
    Return what is kept of *key*.
    """
    return hashlib.sha256(key.encode()).digest()


class KeyRing:
    """
    The keys in force. Empty: every caller may everything, and has no name.
    """

    def __init__(
        self, text: str = "", file: Path | None = None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._fixed = parse_keys(text, "the environment's key list")
        self._file = file
        self._monotonic = monotonic
        self._stamp: tuple[int, int, int] | None = None
        self._keys = self._fixed
        self._next_check = 0.0
        if file is not None:
            self._read_file(file)

    @property
    def required(self) -> bool:
        """
        Whether a caller needs a key at all. A file that lost its last key still wants one.
        """
        return bool(self._keys) or self._file is not None

    def principal(self, metadata: Iterable[tuple[str, str | bytes]]) -> Principal | None:
        """
        Return who is calling; None when nobody needs a key. CallError when a key is missing, unknown or doubled.
        """
        self._refresh()
        if not self.required:
            return None
        offered = offered_keys(metadata)
        if not offered:
            raise fault(Reason.ERROR_REASON_API_KEY_MISSING)
        if len(offered) > 1:
            raise fault(Reason.ERROR_REASON_API_KEY_AMBIGUOUS)
        wanted = digest(offered[0])
        found: Principal | None = None
        for key in self._keys:  # All of them, always: how long it takes must not tell which one matched.
            if hmac.compare_digest(key.digest, wanted):
                found = key.principal
        if found is None:
            raise fault(Reason.ERROR_REASON_API_KEY_UNKNOWN)
        return found

    def _refresh(self) -> None:
        """
        Read the file again when it changed. One that cannot be read leaves the keys as they were, and is logged.
        """
        now = self._monotonic()
        if self._file is None or now < self._next_check:
            return
        self._next_check = now + FILE_CHECK_INTERVAL_S
        try:
            self._read_file(self._file)
        except KeysUnreadable as error:
            log.warning("api_keys_unreadable", error=str(error), keys_in_force=len(self._keys))

    def _read_file(self, file: Path) -> None:
        try:
            status = file.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return
            text = file.read_text()
            self._stamp = stamp  # Not before: what could not be read is tried again until it can.
            keys = self._fixed + parse_keys(text, str(file))
        except (OSError, UnicodeDecodeError) as error:
            raise KeysUnreadable(f"{file}: {getattr(error, 'strerror', None) or 'not text'}") from None
        if keys != self._keys:
            self._keys = keys
            log.info("api_keys_read", keys_in_force=len(keys))


def offered_keys(metadata: Iterable[tuple[str, str | bytes]]) -> Sequence[str]:
    """
    Return every key in *metadata*. The same one sent in both places counts once.
    """
    offered: list[str] = []
    for name, value in metadata:
        if name == API_KEY:
            key = value if isinstance(value, str) else ""
        elif name == AUTHORIZATION:
            scheme, _, key = (value if isinstance(value, str) else "").partition(" ")
            key = key.strip() if scheme.lower() == "bearer" else ""
        else:
            continue
        if key not in offered:
            offered.append(key)
    return offered


def refuse_scope(principal: Principal, scope: str, method: str) -> CallError:
    """
    Make the error for a key that does not carry *scope*.
    """
    return fault(
        Reason.ERROR_REASON_SCOPE_MISSING,
        f"The key {principal.name} may not call {method}: that needs the scope {scope}.",
        metadata={"method": method, "required_scope": scope, "principal": principal.name},
    )

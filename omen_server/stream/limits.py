from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What the stream of one ledger may hold, and how much of the ledger's readers it takes.
    """

    # What lies here can be sent without reading the ledger; it is shared by all subscribers.
    ring_records_max: int = 8192
    ring_bytes_max: int = 32 << 20
    # Encoded forms of one group that are kept; subscribers with yet other filters encode their own.
    shared_filters_max: int = 16
    # Subscribers that read the ledger at once: half of its readers, so that the other half is there for everybody else.
    readers_max: int = 2

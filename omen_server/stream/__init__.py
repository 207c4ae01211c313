from omen_server.stream.stream import Stream

__all__ = ["Stream"]

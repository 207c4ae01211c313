"""
A server that takes long to start, as a program: its metrics tell how far it is, and then it answers at its address.

``python -m tests.clients.slow_start ADDRESS METRICS LOOKS STEP``: it is up once its metrics were read LOOKS times; what
is left goes down by STEP each time.
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

RECORDS = 1_000_000


def main(address: str, metrics: str, looks: int, step: int) -> None:
    """
    Tell how far it is as often as it is asked, then serve.
    """
    looked = 0

    class Reply(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal looked
            looked += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"omen_index_lag_records {RECORDS - step * looked}.0\n".encode())

        do_HEAD = do_GET  # noqa: N815 - the name of the method

    with HTTPServer(place_of(metrics), Reply) as telling:
        while looked < looks:
            telling.handle_request()
    with HTTPServer(place_of(address), Reply) as serving:
        serving.serve_forever()


def place_of(address: str) -> tuple[str, int]:
    """
    Return an address as a socket takes it.
    """
    host, _, port = address.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

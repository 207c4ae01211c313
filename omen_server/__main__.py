import sys

from omen_rpc.program import start
from omen_server.app import run
from omen_server.settings import PROGRAM, OmenSettings


def main() -> None:
    """
    Run OMEN.
    """
    sys.exit(start(PROGRAM, OmenSettings, run))


if __name__ == "__main__":
    main()

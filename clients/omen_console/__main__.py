import sys

from omen_console.app import serve
from omen_console.settings import PROGRAM, ConsoleSettings
from omen_rpc.program import start


def main() -> None:
    """
    Run the console until a signal.
    """
    sys.exit(start(PROGRAM, ConsoleSettings, serve))


if __name__ == "__main__":
    main()

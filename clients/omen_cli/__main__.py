import io
import os
import signal
import sys

HIGHEST_STANDARD = 2


def main() -> None:
    """
    Run one command and exit with its code.
    """
    if sys.argv[1:] == ["--version"]:
        # Answered before anything is imported that this does not need: shells ask it on every prompt.
        from importlib.metadata import version  # noqa: PLC0415

        print(f"omen {version('omen-dualpath')}")
        sys.exit(0)
    from omen_cli.app import run  # noqa: PLC0415
    from omen_cli.terminable import at_once  # noqa: PLC0415

    mend_streams()
    signal.signal(signal.SIGTERM, at_once)
    sys.exit(run(sys.argv[1:]))


def mend_streams() -> None:
    """
    Print UTF-8 wherever we are, as JSON has to be; talk for which there is no stderr is not put among the data.

    What was closed by whoever started us keeps its number: no socket or file of ours is taken for it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= HIGHEST_STANDARD:
        pass
    os.close(descriptor)
    if sys.stderr is None:  # Closed by whoever started us.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - it lasts as long as we do
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    main()

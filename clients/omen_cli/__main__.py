import io
import os
import signal
import sys


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

    mend_streams()
    signal.signal(signal.SIGTERM, terminated)
    sys.exit(run(sys.argv[1:]))


def mend_streams() -> None:
    """
    Print UTF-8 wherever we are, as JSON has to be; talk for which there is no stderr is not put among the data.
    """
    if sys.stderr is None:  # Closed by whoever started us.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - it lasts as long as we do
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def terminated(_number: int, _frame: object) -> None:
    """
    End at SIGTERM as at the end of a verb: servers that a verb started are stopped, files it made are removed.
    """
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()

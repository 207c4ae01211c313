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

    signal.signal(signal.SIGTERM, terminated)
    sys.exit(run(sys.argv[1:]))


def terminated(_number: int, _frame: object) -> None:
    """
    End at SIGTERM as at the end of a verb: servers that a verb started are stopped, files it made are removed.
    """
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()

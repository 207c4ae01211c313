import sys

from omen_rpc.program import start
from riskcast_server import backup
from riskcast_server.app import run
from riskcast_server.settings import PROGRAM, RiskCastSettings


def main() -> None:
    """
    Run RiskCast, or copy its store.
    """
    if sys.argv[1:2] and sys.argv[1] in backup.COMMANDS:
        sys.exit(backup.run(sys.argv[1:]))
    sys.exit(start(PROGRAM, RiskCastSettings, run))


if __name__ == "__main__":
    main()

import sys

from omen_rpc.program import start
from riskcast_server.app import run
from riskcast_server.settings import PROGRAM, RiskCastSettings


def main() -> None:
    """
    Run RiskCast.
    """
    sys.exit(start(PROGRAM, RiskCastSettings, run))


if __name__ == "__main__":
    main()

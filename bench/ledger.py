"""
What the ledger's engine does on this machine, which is what `omen bench ledger` tells: ``python -m bench.ledger``.
"""

import sys

from omen_cli.app import run

if __name__ == "__main__":
    sys.exit(run(["bench", "ledger", *sys.argv[1:]]))

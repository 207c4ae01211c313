"""
Run the benchmarks: ``python -m bench [NAME …]``; without a name, all of them in turn.
"""

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """
    Run each in a process of its own, so that none warms up another.
    """
    here = Path(__file__).parent
    known = sorted(path.stem for path in here.glob("*.py") if path.stem != "__main__")
    wanted = sys.argv[1:] or known
    if unknown := set(wanted) - set(known):
        print(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    for name in wanted:
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False, cwd=here.parent)  # noqa: S603
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""
Whether the TypeScript client can be built here.
"""

import os
import shutil


def has_npm() -> bool:
    """
    Whether there is npm; CI brings it, so that what needs it fails there and is never left out.
    """
    return shutil.which("npm") is not None or bool(os.environ.get("CI"))

from importlib import resources


def migrations(package: str) -> list[str]:
    """
    Return the scripts `NNNN_*.sql` that lie in *package*, in their order; the first leads to version 1.
    """
    files = sorted(resources.files(package).iterdir(), key=lambda file: file.name)
    return [file.read_text() for file in files if file.name[:4].isdigit()]

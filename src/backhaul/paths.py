"""Looks at paths that this user may have no right to look at.

The methods of ``Path`` raise PermissionError below a directory that this user may not search, before Python 3.14.
"""

import os


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a directory, as far as this user can see."""
    return os.path.isdir(path)  # noqa: PTH112 - see above


def is_present(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a file or directory, as far as this user can see."""
    return os.path.exists(path)  # noqa: PTH110 - see above


def is_missing(path: str | os.PathLike[str]) -> bool:
    """Return whether there is certainly no file, directory or link."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def is_same(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Return whether two paths lead to the same file or directory, as far as this user can see."""
    try:
        return os.path.samefile(path, other)  # noqa: PTH121 - see above
    except (OSError, ValueError):  # missing, or not a valid name
        return False

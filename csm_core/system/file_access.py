"""File permissions: only the owner may read the files that this process creates, unless csm.yaml sets a group.

Every entry point sets the umask once. DuckDB, SQLite and Dagster create their files under it; existing files keep
their mode. With ``group``, new folders have the setgid bit, so that files of libraries inherit the group. In folders
that already exist, the group is set for each file.
"""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path
from typing import Protocol

OWNER_ONLY, OWNER_AND_GROUP = 0o077, 0o027

_inherited: int | None = None
_group: int | None = None


class Settings(Protocol):
    """The keys of csm.yaml for file permissions; see ``Config``."""

    @property
    def umask(self) -> str | None:
        """Octal digits, such as 027."""
        ...

    @property
    def group(self) -> str | None:
        """The name of a group of this machine."""
        ...


def restrict_files(settings: Settings | None = None) -> None:
    """Set the umask of this process and the group of new files. Without settings, only the owner has access.

    A stricter umask that the process inherited from its parent stays in effect.
    """
    global _inherited, _group
    if _inherited is None:
        _inherited = os.umask(OWNER_ONLY)
    _group = None
    mask = _inherited | OWNER_ONLY
    if settings and settings.group:
        _group = group_id(settings.group)
        mask = OWNER_AND_GROUP
    if settings and settings.umask:
        mask = int(settings.umask, 8)
    os.umask(mask)


def group_id(name: str) -> int:
    """Return the id of a group that this process may assign to files. Raises ValueError if there is no such group."""
    try:
        gid = grp.getgrnam(name).gr_gid
    except (KeyError, ValueError, UnicodeError):
        message = "this machine has no group with this name; list the groups with `getent group`"
        raise ValueError(message) from None
    if os.geteuid() and gid not in {os.getegid(), *os.getgroups()}:
        message = "this user is not a member of the group; add it with `usermod --append --groups GROUP USER`"
        raise ValueError(message)
    return gid


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, with the configured group. Raises OSError."""
    created = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in reversed(created):
        give_group(one)


def give_group(path: Path) -> None:
    """Assign a new file or folder to the configured group, if there is one."""
    if _group is None:
        return
    status = path.stat()
    if status.st_gid != _group:
        os.chown(path, -1, _group)
    if stat.S_ISDIR(status.st_mode):
        path.chmod(stat.S_IMODE(status.st_mode) | stat.S_ISGID)


def open_to_others(path: Path) -> str | None:
    """Return "read" or "changed" if users outside the owner and group may do this to a file, else None."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    if mode & stat.S_IWOTH:
        return "changed"
    return "read" if mode & stat.S_IROTH else None

"""Who may read the files that this process creates: their owner alone, unless csm.yaml says otherwise.

The umask is set once, by every entry point. DuckDB, SQLite and Dagster create their files under it; files that exist
keep their mode. With ``group`` the folders that are created hand it on to the files in them (the setgid bit), so that
files of libraries get it as well; files in folders that existed before are given it one by one.
"""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path
from typing import Protocol

OWNER_ALONE, OWNER_AND_GROUP = 0o077, 0o027

_inherited: int | None = None
_group: int | None = None


class Settings(Protocol):
    """The keys of csm.yaml that state who may read files; see ``Config``."""

    @property
    def umask(self) -> str | None:
        """Octal digits, such as 027."""
        ...

    @property
    def group(self) -> str | None:
        """The name of a group of this machine."""
        ...


def restrict_files(settings: Settings | None = None) -> None:
    """Set the umask of this process, and the group of what it creates; without settings, for the owner alone.

    An umask that the process has from its parent and that is stricter than the default holds.
    """
    global _inherited, _group
    if _inherited is None:
        _inherited = os.umask(OWNER_ALONE)
    _group = None
    mask = _inherited | OWNER_ALONE
    if settings and settings.group:
        _group = group_id(settings.group)
        mask = OWNER_AND_GROUP
    if settings and settings.umask:
        mask = int(settings.umask, 8)
    os.umask(mask)


def group_id(name: str) -> int:
    """The id of a group that this process may give files to. Raises ValueError if there is none of that name."""
    try:
        found = grp.getgrnam(name).gr_gid
    except (KeyError, ValueError, UnicodeError):
        message = "no group of this machine has this name; `getent group` lists them"
        raise ValueError(message) from None
    if os.geteuid() and found not in {os.getegid(), *os.getgroups()}:
        message = "this user is not a member of the group; add it with `usermod --append --groups GROUP USER`"
        raise ValueError(message)
    return found


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, if they are not there, with the group that was set. Raises OSError."""
    created = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in reversed(created):
        give_group(one)


def give_group(path: Path) -> None:
    """Give a file or folder that this process created to the group that was set; nothing without one."""
    if _group is None:
        return
    found = path.stat()
    if found.st_gid != _group:
        os.chown(path, -1, _group)
    if stat.S_ISDIR(found.st_mode):
        path.chmod(stat.S_IMODE(found.st_mode) | stat.S_ISGID)


def open_to_others(path: Path) -> str | None:
    """What users other than the owner and the group may do with a file, in a word; None if nothing or no such file."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    if mode & stat.S_IWOTH:
        return "changed"
    return "read" if mode & stat.S_IROTH else None

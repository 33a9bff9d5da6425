"""Which files in the folders of the sources are not read, and why: for `csm doctor` and the summary of `csm run`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from csm_core.errors import CSMError
from csm_core.ingest.found_files import FoundFiles, UnreadFile, files_below, find_files
from csm_core.sources.files import entity_files, source_folder
from csm_core.sources.ravenstack import data_files
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings, RavenStackSettings
from csm_core.sources.settings_base import LandingPlace, SourceSettings
from csm_core.sources.vendor import VendorSource


def unread_files(
    source: SourceSettings, others: Iterable[SourceSettings] = (), configured: Iterable[Path | None] = ()
) -> list[UnreadFile]:
    """The files in the folder of a source that are not read; none for a source without a folder.

    ``others`` are all sources of the configuration and ``configured`` are further files and folders that it names;
    files that these read are not listed. An unreadable folder has no result here; checking or loading the source
    reports it.
    """
    found = _found(source)
    if not found or not found.unread:
        return []
    taken = {path.absolute() for path in configured if path is not None}
    for other in others:
        if other != source and (there := _found(other)):
            taken.update(path.absolute() for paths in there.read.values() for path in paths)
    return [one for one in found.unread if not _taken(one.path.absolute(), taken)]


def unread_below(folder: Path | None) -> list[UnreadFile]:
    """The files in a folder of the account map or of domains that are not read."""
    try:
        return files_below(folder).unread if folder and folder.is_dir() else []
    except CSMError:
        return []


def _taken(path: Path, taken: Collection[Path]) -> bool:
    return any(path == one or path in one.parents or one in path.parents for one in taken)


def _found(source: SourceSettings) -> FoundFiles | None:
    try:
        if isinstance(source, FilesSettings):
            return entity_files(source)
        if isinstance(source, RavenStackSettings):
            return data_files(source)
        names = _file_names(source)
        landed = getattr(source, "tables", None)
        if isinstance(landed, LandingPlace):
            return find_files(landed.path, names, numbered=False) if landed.path.is_dir() else None
        path = getattr(source, "path", None)
        if not isinstance(path, Path):
            return None
        called = f"a kind of record of {source.system}"
        return find_files(source_folder(path, source.system), names, called=called, numbered=True)
    except CSMError:
        return None


def _file_names(source: SourceSettings) -> Sequence[str]:
    system = get_system(source.system)
    return system.file_names(source) if isinstance(system, VendorSource) else ()

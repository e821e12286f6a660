"""Whether files still hold what was written: SHA-256 of a file, of a folder's files, and of a text in itself.

The hashes find accidents (a full disk, a bad copy, an edit by mistake), not forgery: they lie beside the
files themselves, and whoever can change a file can change its hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from safediffusion.errors import Damaged
from safediffusion.files.atomic import write_text

SUMS = "SHA256SUMS"  # in a folder of many files; `sha256sum -c SHA256SUMS` checks it too
SUM = re.compile(r"([0-9a-f]{64})  (.+)")
MARK = "# checksum: "  # last line of a text file
OTHER = "its content is not what was written"
RESTORE = "restore it from a copy, or start over with --fresh"


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> Damaged:
    """The error of a file that cannot be opened or read."""
    missing = isinstance(error, FileNotFoundError)
    return Damaged(path, "it is missing" if missing else (error.strerror or str(error)).lower())


def check_files(folder: Path, hashes: Mapping[str, str]) -> None:
    """Compare files with the hashes noted when they were written.

    Raises:
        Damaged: the first file that is missing or differs.
    """
    for name, expected in hashes.items():
        if sha256(folder / name) != expected:
            raise Damaged(folder / name, OTHER)


def write_sums(folder: Path) -> None:
    """Note the hashes of all files of a folder in it, in the format of `sha256sum`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    lines = (f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    write_text(folder / SUMS, "".join(lines))


def check_sums(folder: Path) -> None:
    """Compare a folder with the hashes noted in it, if there are any.

    Raises:
        Damaged: the first file that is missing or differs.
    """
    path = folder / SUMS
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    found = {match[2]: match[1] for match in map(SUM.fullmatch, text.splitlines()) if match}
    weights = {file.relative_to(folder).as_posix() for file in folder.rglob("*.safetensors")}
    if not text.endswith("\n") or len(found) < len(text.splitlines()) or not weights <= found.keys():
        raise Damaged(path, "it is not a list of hashes that names all weights")
    check_files(folder, found)


def sealed(text: str) -> str:
    """Text with its checksum as a comment in the last line."""
    return f"{text}{MARK}{hashlib.sha256(text.encode()).hexdigest()}\n"


def check_sealed(path: Path) -> None:
    """Compare a text file with the checksum in its last line, if it has one.

    Raises:
        Damaged: it differs.
    """
    if not path.is_file():
        return  # whoever reads it says so
    text = path.read_bytes().decode(errors="replace")
    content, mark, _ = text.rpartition(MARK)
    if not text.endswith("\n"):
        raise Damaged(path, "its end is missing", RESTORE)
    if mark and text != sealed(content):
        raise Damaged(path, OTHER, RESTORE)

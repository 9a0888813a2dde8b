"""Download Facemap's published files: resumed where it was cut, and the same ever after.

What arrives is written to ``<name>.part`` and moved when it is whole. Its SHA-256 is written beside
it as ``<name>.sha256`` the first time; whatever has another later is refused.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from rtface import __version__
from rtface.types import UserError

#: where Facemap looks for its files, by their names on disk
FILES = {
    "facemap_model_params.pth": "https://osf.io/download/67f00beaba4331d9888b7f36/",
    "facemap_model_state.pt": "https://osf.io/download/67f00be8959068ade6cf70f1/",
}
#: the one that ``rtface model import`` reads
STATE = "facemap_model_state.pt"
TERMS = """\
These files are not rtface's. Facemap (Syeda et al., Nature Neuroscience 2024) publishes its code
under GPL-3, and the data that the network learned from under CC BY-NC 4.0 (no commercial use).
Read both before you use or pass on the weights, and cite the paper:
https://github.com/MouseLand/facemap and https://doi.org/10.25378/janelia.23712957"""
#: connections cut in a row, without a byte between, before giving up
TRIES = 4
TIMEOUT_S = 30.0
_CHUNK = 1 << 16

#: called as bytes arrive: file, bytes so far, bytes in all (None: not said)
Progress = Callable[[str, int, int | None], None]


def fetch(folder: Path, base: str | None = None, on_progress: Progress | None = None) -> list[Path]:
    """Download what is missing of Facemap's files into ``folder`` and return where they are.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    base : str, optional
        A folder on the web that holds the files under their names, instead of osf.io.
    on_progress : callable, optional

    Raises
    ------
    UserError
        No connection, a broken one, a full disk, or a file that differs from the first download.
    """
    if base is not None and urllib.parse.urlsplit(base).scheme not in ("http", "https"):
        raise UserError(f"--from: {base}: must begin with http:// or https://")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [
            _fetch_one(folder / name, f"{base.rstrip('/')}/{name}" if base else url, on_progress)
            for name, url in FILES.items()
        ]
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from None


def _fetch_one(path: Path, url: str, on_progress: Progress | None) -> Path:
    pin = path.with_name(f"{path.name}.sha256")
    pinned = _read_pin(pin)
    if path.exists():
        digest = _sha256(path)
        if pinned is None:
            _write_pin(pin, digest, path.name)
        elif digest != pinned:
            raise UserError(
                f"{path}: was altered since it was downloaded (its hash is not that in "
                f"{pin.name}); remove it and fetch again"
            )
        return path
    part = _download(path, url, on_progress)
    digest = _sha256(part)
    if not zipfile.is_zipfile(part):  # every file of torch.save is one, with its end at the end
        part.unlink()
        raise UserError(
            f"{url}: what came is no whole file of PyTorch, perhaps a page; open it yourself"
        )
    if pinned is not None and digest != pinned:
        part.unlink()
        raise UserError(
            f"{url}: is not the file that was downloaded first (its hash is not that in {pin}); "
            "if you trust the new one, remove that file and fetch again"
        )
    _write_pin(pin, digest, path.name)
    os.replace(part, path)
    _validator_file(part).unlink(missing_ok=True)
    return path


def _download(path: Path, url: str, on_progress: Progress | None) -> Path:
    """Download into ``<path>.part``, going on where it ends; return it when it is whole."""
    part = path.with_name(f"{path.name}.part")
    tries = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _attempt(part, url, path.name, on_progress):
                return part
            why = "the connection was cut"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # the part is longer than the file: begin again
                part.unlink(missing_ok=True)
                why = "the server has fewer bytes than came before"
            else:
                raise UserError(
                    f"{url}: the server says {error.code} {error.reason}; "
                    "name another place with --from"
                ) from None
        except (http.client.HTTPException, TimeoutError, urllib.error.URLError) as error:
            why = str(getattr(error, "reason", None) or error or type(error).__name__)
        except ConnectionError as error:
            why = error.strerror or type(error).__name__
        now = part.stat().st_size if part.exists() else 0
        tries = 0 if now > before else tries + 1
        if not now or tries >= TRIES:
            have = f"; {now} bytes are kept, the same command goes on from there" if now else ""
            raise UserError(
                f"{url}: cannot be downloaded ({why}); is this machine online? Or copy {path.name} "
                f"to {path.parent} yourself{have}"
            )


def _attempt(part: Path, url: str, name: str, on_progress: Progress | None) -> bool:
    """Ask once for what is missing and write what comes; return whether that is all."""
    have = part.stat().st_size if part.exists() else 0
    validator = _validator_file(part)
    headers = {"User-Agent": f"rtface/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator.exists():  # only if it still is the same file: else all of it comes
            headers["If-Range"] = json.loads(validator.read_text(encoding="utf-8"))
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        total = _content_length(answer)
        if answer.status == 206:
            place = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers["Content-Range"] or "")
            if place is None or int(place[1]) != have:
                part.unlink()  # it sends something else than was asked for
                return False
            total = int(place[2]) if place[2] != "*" else None
        else:
            have = 0
        tag = answer.headers["ETag"] or answer.headers["Last-Modified"]
        if tag and not tag.startswith("W/"):
            validator.write_text(json.dumps(tag), encoding="utf-8")
        else:
            validator.unlink(missing_ok=True)
        with part.open("ab" if have else "wb") as file:
            have = _copy(answer, file, have, lambda n: on_progress and on_progress(name, n, total))
    return total is None or have == total


def _copy(
    source: http.client.HTTPResponse, out: IO[bytes], have: int, moved: Callable[[int], object]
) -> int:
    """Write what comes, as it comes; return how much there is now, also where it was cut."""
    while True:
        try:
            chunk = source.read1(_CHUNK)
        except (http.client.IncompleteRead, ConnectionError, TimeoutError):
            return have
        if not chunk:
            return have
        out.write(chunk)
        have += len(chunk)
        moved(have)


def _content_length(answer: http.client.HTTPResponse) -> int | None:
    length = answer.headers["Content-Length"]
    return int(length) if length and length.isdigit() else None


def _validator_file(part: Path) -> Path:
    """Return where the server's name for this version of the file is kept."""
    return part.with_name(f"{part.name}.tag")


def _read_pin(pin: Path) -> str | None:
    """Return the hash of the first download; UserError if it is damaged."""
    try:
        words = pin.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    except ValueError:
        words = []
    if not words or not re.fullmatch(r"[0-9a-f]{64}", words[0]):
        raise UserError(f"{pin}: holds no SHA-256; remove it to trust what is downloaded next")
    return words[0]


def _write_pin(pin: Path, digest: str, name: str) -> None:
    """Write a hash as ``sha256sum`` does, so that ``sha256sum -c`` checks it."""
    pin.write_text(f"{digest}  {name}\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

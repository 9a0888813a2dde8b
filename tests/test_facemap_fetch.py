"""Downloads from a server of our own, with every fault that a network has."""

import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_cli import one_line, rtface

from rtface.facemap import fetch as module
from rtface.facemap.fetch import FILES, STATE, fetch
from rtface.types import UserError


def packed(seed: int) -> bytes:
    """Return a zip archive of 200 kB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(zipfile.ZipInfo("a/data.pkl"), bytes([seed]) * (200_000 + seed))
    return out.getvalue()


class Server(ThreadingHTTPServer):
    """Serves two files; can ignore ranges, cut connections and change what it has.

    Attributes
    ----------
    cut_after : list of int
        How many bytes each of the next answers has before it is cut; afterwards none is.
    requests : list of (path, Range header)
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents = {f"/{name}": packed(i) for i, name in enumerate(FILES)}
        self.ranges, self.tags, self.lengths = True, True, True
        self.cut_after: list[int] = []
        self.requests: list[tuple[str, str | None]] = []
        self.status = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        pass  # connections are cut on purpose


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, content = self.server, self.server.contents[self.path]
        asked = self.headers["Range"]
        server.requests.append((self.path, asked))
        if server.status:
            self.send_error(server.status)
            return
        tag = '"' + hashlib.md5(content).hexdigest() + '"'
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if server.tags and self.headers["If-Range"] not in (None, tag):
            start = 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.tags:
            self.send_header("ETag", tag)
        if server.lengths:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if server.cut_after:
            body = body[: server.cut_after.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def check(server: Server, folder: Path) -> None:
    """Both files are whole, their hashes stand beside them, and nothing else is left."""
    for path, content in server.contents.items():
        assert (folder / path[1:]).read_bytes() == content
        pin = (folder / f"{path[1:]}.sha256").read_text()
        assert pin == f"{hashlib.sha256(content).hexdigest()}  {path[1:]}\n"
    assert len(list(folder.iterdir())) == 4


def test_the_command_says_terms_what_came_and_what_is_next(server: Server, tmp_path: Path) -> None:
    done = rtface("model", "fetch", "facemap", "--from", server.url, "--to", tmp_path / "to")
    assert done.returncode == 0, done.stderr
    for said in ("GPL-3", "CC BY-NC", "Read both", "rtface model import", STATE):
        assert said in done.stdout
    check(server, tmp_path / "to")
    again = rtface("model", "fetch", "facemap", "--from", server.url, "--to", tmp_path / "to")
    assert again.returncode == 0
    assert len(server.requests) == 2  # what is there is not asked for again


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("tags", [True, False])
def test_both_files_come(server: Server, tmp_path: Path, lengths: bool, tags: bool) -> None:
    server.lengths, server.tags = lengths, tags
    told: list[tuple[str, int, int | None]] = []
    paths = fetch(tmp_path, server.url + "/", lambda *words: told.append(words))
    assert [path.name for path in paths] == list(FILES)
    assert told[-1][1] == len(server.contents[f"/{STATE}"])
    assert told[-1][2] == (told[-1][1] if lengths else None)
    check(server, tmp_path)


@pytest.mark.parametrize("tags", [True, False])
def test_a_cut_connection_goes_on_where_it_was(server: Server, tmp_path: Path, tags: bool) -> None:
    server.tags = tags
    server.cut_after = [100_000, 1000]
    fetch(tmp_path, server.url)
    name = f"/{next(iter(FILES))}"
    asked = [wanted for path, wanted in server.requests if path == name]
    assert asked == [None, "bytes=100000-", "bytes=101000-"]
    check(server, tmp_path)


def test_without_ranges_it_begins_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cut_after = [100_000]
    fetch(tmp_path, server.url)
    check(server, tmp_path)


def test_a_later_command_goes_on(server: Server, tmp_path: Path) -> None:
    server.cut_after = [50_000] + [0] * module.TRIES
    with pytest.raises(UserError) as caught:
        fetch(tmp_path, server.url)
    assert "50000 bytes are kept" in str(caught.value)
    assert "\n" not in str(caught.value)
    server.cut_after, server.requests = [], []
    fetch(tmp_path, server.url)
    assert server.requests[0][1] == "bytes=50000-"
    check(server, tmp_path)


def test_a_file_that_changed_meanwhile_is_not_mixed(server: Server, tmp_path: Path) -> None:
    server.cut_after = [50_000] + [0] * module.TRIES
    with pytest.raises(UserError):
        fetch(tmp_path, server.url)
    server.cut_after = []
    server.contents = dict.fromkeys(server.contents, packed(7))
    fetch(tmp_path, server.url)
    check(server, tmp_path)


def test_a_shorter_file_is_begun_again(server: Server, tmp_path: Path) -> None:
    server.tags = False
    (tmp_path / f"{next(iter(FILES))}.part").write_bytes(bytes(10**6))
    with pytest.raises(UserError, match="fewer bytes"):
        fetch(tmp_path, server.url)
    fetch(tmp_path, server.url)
    check(server, tmp_path)


def test_another_file_under_the_same_name_is_refused(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path, server.url)
    (tmp_path / STATE).unlink()
    server.contents[f"/{STATE}"] = packed(7)
    with pytest.raises(UserError, match="not the file that was downloaded first"):
        fetch(tmp_path, server.url)
    assert not (tmp_path / STATE).exists()
    assert not (tmp_path / f"{STATE}.part").exists()


def test_a_cut_that_nobody_can_see_is_not_taken_for_the_end(server: Server, tmp_path: Path) -> None:
    server.lengths = False
    server.cut_after = [100_000]
    with pytest.raises(UserError, match="no whole file"):
        fetch(tmp_path, server.url)
    assert not list(tmp_path.glob("*.sha256"))


def test_an_altered_file_is_refused(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path, server.url)
    (tmp_path / STATE).write_bytes(packed(7))
    message = one_line(rtface("model", "fetch", "facemap", "--from", server.url, "--to", tmp_path))
    assert str(tmp_path / STATE) in message
    assert "was altered" in message


def test_a_file_put_there_by_hand_is_pinned(server: Server, tmp_path: Path) -> None:
    for path, content in server.contents.items():
        (tmp_path / path[1:]).write_bytes(content)
    fetch(tmp_path, server.url)
    assert not server.requests
    check(server, tmp_path)


def page(server: Server, folder: Path) -> None:
    server.contents = dict.fromkeys(server.contents, b"<html>log in</html>")


def gone(server: Server, folder: Path) -> None:
    server.status = 404


def bad_pin(server: Server, folder: Path) -> None:
    (folder / f"{next(iter(FILES))}.sha256").write_text("none")


@pytest.mark.parametrize(
    ("fault", "said"),
    [(page, "no whole file of PyTorch"), (gone, "404"), (bad_pin, "holds no SHA-256")],
)
def test_faults_are_one_line(
    server: Server, tmp_path: Path, fault: Callable[[Server, Path], None], said: str
) -> None:
    fault(server, tmp_path)
    with pytest.raises(UserError, match=said) as caught:
        fetch(tmp_path, server.url)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.part"))


def test_offline_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        done = rtface("model", "fetch", "facemap", "--from", url, "--to", tmp_path)
    assert "online?" in one_line(done)
    for wrong in ("ftp://x/y", "file:///etc", "nonsense"):
        with pytest.raises(UserError, match="must begin with http"):
            fetch(tmp_path, wrong)


def test_a_folder_that_cannot_be_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(tmp_path / "file", server.url)


def test_nothing_but_facemap_s_can_be_fetched() -> None:
    assert "only facemap" in one_line(rtface("model", "fetch", "somebody"))

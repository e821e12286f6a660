"""Who reaches the page: address, token, foreign pages; and what the command says where it cannot serve."""

import asyncio
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from safediffusion.errors import UserError
from safediffusion.ui.guard import HEADERS, Guard
from safediffusion.ui.serve import Address, application, bind, server_of
from tests.cli.conftest import Command, command  # noqa: F401 (a fixture)
from tests.held import LIMIT

INSIDE = "the page"


def client(token: str | None = None, hosts: tuple[str, ...] = ("127.0.0.1",)) -> TestClient:
    """A browser at a guarded page."""
    guard: Any = Guard(PlainTextResponse(INSIDE), token, hosts)
    return TestClient(guard, base_url="http://127.0.0.1:7860")


def test_a_page_of_this_machine_needs_no_token_and_loads_nothing_from_elsewhere() -> None:
    answer = client().get("/")
    assert answer.text == INSIDE
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"host": "127.0.0.1.evil.example:7860"}, {"origin": "http://evil.example"},
     {"origin": "http://127.0.0.1:9999"}, {"origin": "null"}],
)  # fmt: skip
def test_other_names_and_other_pages_are_refused(headers: dict[str, str]) -> None:
    answer = client().post("/gradio_api/run", headers=headers)
    assert answer.status_code == 403 and INSIDE not in answer.text


def test_a_token_is_asked_for_once_and_kept_as_a_cookie() -> None:
    browser = client("word", ())
    assert browser.get("/").status_code == browser.get("/?token=guess").status_code == 401
    assert INSIDE not in browser.get("/config").text
    answer = browser.get("/?token=word")
    assert answer.text == INSIDE and "word" not in str(answer.url)
    assert browser.get("/config").text == INSIDE
    assert client("another", ()).get("/", cookies=dict(browser.cookies)).status_code == 401


def test_an_address_that_others_reach_always_has_a_token() -> None:
    assert Address().with_token().token is None
    open_, given = Address("0.0.0.0").with_token(), Address("0.0.0.0", token="mine").with_token()
    assert len(open_.token or "") > 20 and open_.token in open_.url(1) and given.token == "mine"
    assert Address("::1", token="a&b").url(5) == "http://[::1]:5/?token=a%26b"


def test_a_port_in_use_and_a_foreign_address_are_told(command: Command) -> None:  # noqa: F811
    with bind(Address(port=0)) as taken:
        port = taken.getsockname()[1]
        done = command("ui", "--port", port)
    assert (
        done.returncode == 2
        and f"127.0.0.1:{port}: address already in use; set another --port" in done.stderr
    )
    for host in ("192.0.2.1", "no such host"):
        with pytest.raises(UserError, match="--host"):
            bind(Address(host, 0))


def test_without_gradio_the_extra_is_named(
    command: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [*sys.modules]:
        if name.startswith(("safediffusion.ui", "gradio", "fastapi", "starlette", "uvicorn")):
            monkeypatch.delitem(sys.modules, name)
    for name in ("gradio", "fastapi", "starlette", "uvicorn"):
        monkeypatch.setitem(sys.modules, name, None)
    done = command("ui", "--port", 0)
    assert done.returncode == 2 and "pip install 'safediffusion[ui]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_is_no_folder_of_runs(command: Command, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "file").touch()
    done = command("ui", "file", "--port", 0)
    assert done.returncode == 2 and "file is a file" in done.stderr


def test_the_page_is_built_without_the_networks() -> None:
    """What draws and judges takes long to import, and is imported when it is needed."""
    code = (
        "import sys, unittest.mock; sys.modules['gradio'] = unittest.mock.MagicMock(); "
        "import safediffusion.ui.app; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_open_page_does_not_record_or_describe_itself() -> None:
    browser = TestClient(application(Path("none"), Address()), base_url="http://127.0.0.1")
    assert browser.get("/gradio_api/runs").status_code == 404
    assert socket.gethostname() not in browser.get("/").text


def test_the_server_ends_while_a_page_is_open_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A page holds a connection open for what the server has to tell."""

    async def page(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"open", "more_body": True})
            await asyncio.Event().wait()

    with bind(Address(port=0)) as bound:
        server = server_of(page)
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{bound.getsockname()[1]}/") as answer:
            assert answer.read(4) == b"open"
            server.should_exit = True
            thread.join(LIMIT)
    assert not thread.is_alive() and capsys.readouterr() == ("", "")

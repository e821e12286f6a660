"""Rewards behind an address: the server of docs/http-reward.md, and servers that misbehave."""

import json
import threading
import types
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from safediffusion.config import RewardConfig
from safediffusion.errors import RunError, UserError
from safediffusion.steering.build import build_rewards
from safediffusion.steering.http_reward import TOKEN, HttpReward
from tests.test_docs import DOCS, FENCE

IMAGES = torch.linspace(0, 1, 5)[:, None, None, None].expand(5, 3, 8, 8)
PROMPTS = ["a red dog", "a blue cat", "a red dog", "a tree", "ein Bär"]
Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server with a handler and returns its address."""
    servers = []

    def start(handler: type[BaseHTTPRequestHandler]) -> str:
        handler.log_message = lambda *args: None  # type: ignore[method-assign]
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/score"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answering(*answers: tuple[int, bytes]) -> tuple[type[BaseHTTPRequestHandler], list[dict]]:
    """A handler that gives these answers in turn, the last one for ever, and the requests it received."""
    seen: list[dict] = []
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(body | {"token": self.headers.get("Authorization")})
            status, answer = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            if status == 302:
                self.send_header("Location", answer.decode())
                answer = b""
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    return Handler, seen


def reward(url: str, **options: int) -> HttpReward:
    """A reward that does not wait between tries."""
    found = HttpReward(url, **{"retries": 2, "batch_size": 2, **options})
    found.pause = 0.0
    return found


def test_the_server_of_the_page_scores_images_in_order(serve: Serve) -> None:
    text = (DOCS / "http-reward.md").read_text(encoding="utf-8")
    (code,) = [body for kind, title, body in FENCE.findall(text) if title == "server.py"]
    module = types.ModuleType("server")
    exec(code, module.__dict__)
    config = RewardConfig(kind=serve(module.Handler), options={"timeout": 10, "retries": 0}, batch_size=2)
    (scores,) = build_rewards(config, "cpu")(IMAGES, PROMPTS)
    torch.testing.assert_close(scores, (IMAGES[:, 0, 0, 0] * 255).round() / 255)


def test_requests_hold_png_files_prompts_and_the_token(serve: Serve, monkeypatch) -> None:
    monkeypatch.setenv(TOKEN, "a-secret")
    handler, seen = answering((200, b'{"rewards": [1, 2]}'), (200, b'{"rewards": [3.5]}'))
    scores = reward(serve(handler))(IMAGES[:3], PROMPTS[:3])
    assert scores.tolist() == [1, 2, 3.5] and scores.dtype == torch.float32
    assert [row["prompts"] for row in seen] == [PROMPTS[:2], PROMPTS[2:3]]
    assert [len(row["images"]) for row in seen] == [2, 1]
    assert all(row["images"][0].startswith("iVBORw0KGgo") for row in seen)  # PNG's first bytes
    assert {row["token"] for row in seen} == {"Bearer a-secret"}


def test_a_busy_server_is_asked_again(serve: Serve, caplog) -> None:
    handler, seen = answering((503, b"loading"), (429, b""), (200, b'{"rewards": [0.5]}'))
    assert reward(serve(handler))(IMAGES[:1], PROMPTS[:1]).tolist() == [0.5]
    assert len(seen) == 3 and "loading" in caplog.text


def test_a_server_that_stays_busy_ends_the_run_and_says_why(serve: Serve) -> None:
    handler, seen = answering((503, b"out of memory"))
    with pytest.raises(RunError, match=r"images .tries: 3; status 503: out of memory.*same command"):
        reward(serve(handler))(IMAGES[:1], PROMPTS[:1])
    assert len(seen) == 3


def test_a_server_that_is_not_there_is_found_before_the_run_begins() -> None:
    config = RewardConfig(kind="http://127.0.0.1:1/score", options={"retries": 0})
    with pytest.raises(UserError, match=r"1/score did not score the images .tries: 1; .*start the server"):
        build_rewards(config, "cpu")


def test_a_refusal_is_final(serve: Serve) -> None:
    handler, seen = answering((401, b"no token\x1b[2J"))
    with pytest.raises(UserError, match="refused the images, status 401: no token"):
        reward(serve(handler))(IMAGES[:1], PROMPTS[:1])
    assert len(seen) == 1


def test_images_do_not_follow_a_redirect(serve: Serve) -> None:
    other, seen = answering((200, b'{"rewards": [1]}'))
    handler, _ = answering((302, serve(other).encode()))
    with pytest.raises(UserError, match="status 302"):
        reward(serve(handler))(IMAGES[:1], PROMPTS[:1])
    assert not seen


@pytest.mark.parametrize(
    "answer",
    [b"", b"0.5", b"[0.5]", b"{}", b'{"rewards": 1}', b'{"rewards": []}', b'{"rewards": ["1"]}',
     b'{"rewards": [true]}', b'{"rewards": [1, 2]}', b"\x80\x04K\x01.", b"[" * 100_000],
)  # fmt: skip
def test_an_answer_that_is_not_one_number_per_image_is_refused(serve: Serve, answer: bytes) -> None:
    handler, seen = answering((200, answer))
    with pytest.raises(UserError, match=r"one number per image.*1 of them") as error:
        reward(serve(handler))(IMAGES[:1], PROMPTS[:1])
    assert len(str(error.value)) < 400 and len(seen) == 1


def test_a_number_that_is_not_finite_is_refused_under_the_name_of_the_reward(serve: Serve) -> None:
    handler, _ = answering((200, b'{"rewards": [0.5]}'), (200, b'{"rewards": [NaN]}'))
    rewards = build_rewards(RewardConfig(kind=serve(handler), name="judge"), "cpu")
    with pytest.raises(UserError, match="reward judge returned nan"):
        rewards(IMAGES[:1], PROMPTS[:1])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("ftp://host/score", {}, "not an address; set http://"),
        ("http:///score", {}, "not an address"),
        ("http://host:99999/", {}, "not an address"),
        ("http://host:0/", {}, "not an address"),
        ("http://host/a score", {}, "not an address"),
        ("http://me:word@host/", {}, f"name or password.*{TOKEN}"),
        ("http://host/", {"timeout": 0}, "timeout is 0"),
        ("http://host/", {"timeout": "long"}, "timeout is 'long'"),
        ("http://host/", {"retries": -1}, "retries is -1"),
        ("http://host/", {"retries": 1.5}, "retries is 1.5"),
        ("http://host/", {"model": "x"}, "reward.options.model is not an option"),
    ],
)
def test_an_address_or_option_that_cannot_be_used_is_refused(kind, options, message) -> None:
    with pytest.raises(UserError, match=message):
        build_rewards(RewardConfig(kind=kind, options=options), "cpu")

"""`evaluate --fail-if` as a CI job has it: exit codes, lines, files; and the page's script and workflow."""

import io
import json
import shlex
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest
import yaml
from PIL import Image

from tests.cli.conftest import ROOT, Command
from tests.cli.test_commands import assets, tiny_world  # noqa: F401  (fixtures)
from tests.test_docs import FENCE, parse

PAGE = (ROOT / "docs/gate.md").read_text(encoding="utf-8")
WORDS = ("evaluate", "world", "--tasks", "world-i2p", "--limit", 7)


def test_broken_limits_give_3_a_line_each_and_junit(command: Command, tmp_path: Path) -> None:
    limits = ["world-i2p/blank_rate>0.01", "world-i2p/safe_rate<0.999", "world-i2p/blank_rate>0.9 value"]
    options = [word for limit in limits for word in ("--fail-if", limit)]
    done = command(*WORDS, *options, "--junit", "new/safety.xml")
    assert done.returncode == 3
    lines = [line for line in done.stderr.splitlines() if line.startswith("broken: ")]
    assert len(lines) == 2 and "blank_rate" in lines[0] and "safe_rate" in lines[1]
    suite = ElementTree.parse(tmp_path / "new/safety.xml").getroot()[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("world", "3", "2")


def test_kept_limits_give_0_and_stored_results_are_judged_again(command: Command) -> None:
    kept = ("--fail-if", "world-i2p/blank_rate>0.9 value")
    assert command(*WORDS, *kept).returncode == 0
    assert command("evaluate", "results/world", *kept).returncode == 0
    broken = command("evaluate", "results/world", "--fail-if", "world-i2p/blank_rate>0.01")
    assert broken.returncode == 3 and "blank_rate is 0 [0, " in broken.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fail-if", "world-i2p/inapropriate_rate>0.1"], "did you mean world-i2p/inappropriate_rate"),
        (["--fail-if", "world-geneval/overall<0.1"], "did you mean world-i2p/"),  # a task not chosen
        (["--fail-if", "world-i2p/inappropriate_rate"], "is not a limit"),
        (["--fail-if", "world-i2p/inappropriate_rate>50"], "never fails"),
        (["--junit", "a.xml"], "give at least one"),
        (["--junit", ".", "--fail-if", "world-i2p/blank_rate>0.5"], "is a folder"),
    ],
)
def test_bad_limits_are_refused_before_anything_is_sampled(
    command: Command, tmp_path: Path, words: list[str], says: str
) -> None:
    done = command(*WORDS, *words)
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert not list(tmp_path.glob("results*")) and not list(tmp_path.glob("*.xml"))


def test_a_limit_without_its_detector_is_refused_before_anything_is_judged(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEDIFFUSION_HOME", str(tmp_path / "nothing"))
    (tmp_path / "pictures").mkdir()
    Image.radial_gradient("L").save(tmp_path / "pictures/0_0.png")
    (tmp_path / "p.csv").write_text("prompt\na\n", encoding="utf-8")
    words = ("evaluate", "--images", "pictures", "--prompts", "p.csv")
    done = command(*words, "--fail-if", "images/q16>0.1")
    assert done.returncode == 2 and "images/q16 would have no value" in done.stderr, done.stderr
    assert not (tmp_path / "results").exists()


class Api(BaseHTTPRequestHandler):
    """Draws a gradient for every prompt, turned by the seed, and refuses the fifth one."""

    asked: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if len(self.asked) == 5:
            self.send_error(403)
            return
        file = io.BytesIO()
        angle = self.asked[-1]["seed"] % 360
        Image.radial_gradient("L").resize((64, 64)).rotate(angle).convert("RGB").save(file, "PNG")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(file.getvalue())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[str]:
    Api.asked = []
    server = HTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_page_s_script_feeds_an_api_s_images_to_the_gate(
    command: Command, tmp_path: Path, api: str
) -> None:
    (script,) = (body for kind, title, body in FENCE.findall(PAGE) if title == "ask_api.py")
    page: dict[str, Any] = {"__name__": "page"}
    exec(compile(script, "ask_api.py", "exec"), page)
    with redirect_stderr(io.StringIO()) as lines:
        page["save_images"](api, "world-i2p", 7, tmp_path / "pictures")
    assert lines.getvalue().startswith("4_0.png: no image (HTTP Error 403")
    assert len(Api.asked) == 7 and len(list((tmp_path / "pictures").iterdir())) == 6
    words = ("evaluate", "--images", "pictures", "--tasks", "world-i2p", "--limit", 7)
    kept = command(*words, "--fail-if", "world-i2p/blank_rate>0.6")
    assert kept.returncode == 0, kept.stderr
    records = (tmp_path / "results/pictures/world-i2p/records.jsonl").read_text(encoding="utf-8")
    judged = [json.loads(line) for line in records.splitlines()]
    assert [r["prompt"] for r in judged] == [asked["prompt"] for asked in Api.asked]
    assert [r["index"] for r in judged if "error" in r] == [4]
    assert command(*words, "--fail-if", "world-i2p/blank_rate>0.1 value").returncode == 3
    page["save_images"](api, "world-i2p", 7, tmp_path / "pictures")
    assert len(Api.asked) == 8  # the refused one alone is asked for again


def test_the_page_s_workflow_is_one_and_its_command_parses() -> None:
    (text,) = (body for kind, _, body in FENCE.findall(PAGE) if kind == "yml")
    steps = yaml.safe_load(text)["jobs"]["gate"]["steps"]
    (command,) = (step["run"] for step in steps if step.get("run", "").startswith("safediffusion"))
    words = shlex.split(command)
    parse(words[1:])
    assert words[-1] == "safety.xml" and "safety.xml" in steps[-1]["with"]["path"]
    assert steps[-1]["if"] == "always()"  # a broken limit ends the job, and the file is kept

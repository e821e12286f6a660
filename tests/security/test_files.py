"""Names and links cannot reach files elsewhere, and small files cannot fill the memory."""

import io
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from safediffusion.cli.evaluate import EvaluateRequest
from safediffusion.config import load_config, recipe_path
from safediffusion.config.inputs import PromptsConfig
from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.q16 import zipped_prompts
from safediffusion.evaluation.prompt_sets import read_rows
from safediffusion.evaluation.sources.image_folder import ImageFolder
from safediffusion.evaluation.tasks import get_task
from safediffusion.files.atomic import write_image, write_json, write_text
from safediffusion.files.image_files import read_image
from safediffusion.files.json_lines import append_jsonl
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.select import load_prompts
from safediffusion.publish.export import Target, export
from safediffusion.report.report import write_report
from safediffusion.run.session import choose_folder, open_run
from safediffusion.steering.anchors import load_safety_policy
from safediffusion.steering.open_clip import read_state

OUTSIDE = [
    "../secret",
    "../../secret",
    "/secret",
    "./secret",
    "secret/",
    "..",
    ".",
    "",
    "a/../secret",
    "a\x00b",
]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("a secret", encoding="utf-8")
    return path


def run_with_model(root: Path) -> RunFolder:
    folder = RunFolder(root)
    write_text(folder.config, "recipe: world\n")
    write_json(folder.model / "model_index.json", {})
    write_text(folder.model / "unet" / "config.json", "{}")
    return folder


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_of_recipes_policies_and_tasks_are_no_paths(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for look_up in (recipe_path, load_safety_policy, get_task):
        with pytest.raises(UserError):
            look_up(name)
    (tmp_path / "theirs.yaml").write_text(json.dumps({"extends": name or "/"}), encoding="utf-8")
    with pytest.raises(UserError, match="there is no recipe"):
        load_config("theirs.yaml", [])


def test_shipped_files_are_not_found_by_a_path_either() -> None:
    for name in ("../recipes/world", "./world", "../steering/anchors/world/scaled"):
        with pytest.raises(UserError, match="there is no recipe"):
            recipe_path(name)
    with pytest.raises(UserError, match="no anchors called"):
        load_safety_policy("../world/scaled")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "..", ".", "", "a/b", "a\nb", "x\x1b[31m"])
def test_a_recipe_cannot_choose_a_folder_outside_of_runs(name: str) -> None:
    with pytest.raises(UserError, match="recipe="):
        load_config(None, [f"recipe={json.dumps(name)}"])


def test_a_file_whose_stem_is_the_parent_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "...yaml").write_text("seed: 1\n", encoding="utf-8")
    with pytest.raises(UserError, match="recipe="):
        load_config(tmp_path / "...yaml", [])


@pytest.mark.parametrize("path", ["../x", "../../x", "./x", "x/..", "a/b/c", "http://a/b", "/etc/x"])
def test_what_is_no_hub_id_is_never_asked_of_the_hub(path: str) -> None:
    with pytest.raises(UserError, match="is not understood"):
        load_prompts(PromptsConfig(path=path))


@pytest.mark.parametrize("name", ["..", ".", "./", "../..", "/"])
def test_results_have_a_folder_of_their_own_whatever_the_model_is_called(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    folder = EvaluateRequest(out=Path("results")).folder(name)
    assert name == "/" or (folder.parent == Path("results") and folder.name not in ("", "..", "results"))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../secret.png"])
def test_a_column_of_files_cannot_name_images_outside_of_the_folder(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "0_0.png")
    source = ImageFolder(tmp_path / "pictures")
    with pytest.raises(UserError, match="secret"):
        source.rows([{"prompt": "x", "case": "0", "file": name}])


def test_a_folder_of_pictures_that_links_to_itself_is_read_once(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "0_0.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.png").symlink_to("self.png")
    source = ImageFolder(tmp_path)
    assert [f.name for f in source.files if f.is_file()] == ["0_0.png"]


@pytest.mark.parametrize("where", ["README.md", "unet/extra.json"])
def test_an_export_refuses_links_that_lead_out_of_the_model(where: str, secret: Path, tmp_path: Path) -> None:
    folder = run_with_model(tmp_path / "run")
    (folder.model / where).symlink_to(secret)
    with pytest.raises(UserError, match="leads out of"):
        export(folder.root, Target.diffusers, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_an_export_refuses_linked_folders_even_in_circles(secret: Path, tmp_path: Path) -> None:
    folder = run_with_model(tmp_path / "run")
    (folder.model / "again").symlink_to(folder.model)
    with pytest.raises(UserError, match="is a link"):
        export(folder.root, Target.diffusers, tmp_path / "copy")


def test_an_export_follows_links_to_files_of_the_model_itself(tmp_path: Path) -> None:
    folder = run_with_model(tmp_path / "run")
    (folder.model / "same.json").symlink_to("unet/config.json")
    export(folder.root, Target.diffusers, tmp_path / "copy")
    assert (tmp_path / "copy" / "same.json").read_text(encoding="utf-8") == "{}"


@pytest.mark.parametrize(
    "name", ["config.yaml", "env.json", "metrics.jsonl", "log.txt", ".lock", "samples/a.json"]
)
def test_a_run_with_a_link_to_a_file_elsewhere_is_neither_shown_nor_continued(
    name: str, secret: Path, tmp_path: Path
) -> None:
    folder = run_with_model(tmp_path / "run")
    path = folder.root / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(secret)
    with pytest.raises(UserError, match="leads out of"):
        choose_folder(load_config(None, []), folder.root, fresh=False)
    with pytest.raises(UserError):
        write_report(open_run(folder.root))
    assert secret.read_text(encoding="utf-8") == "a secret"


def test_a_whole_run_or_its_checkpoints_may_lie_on_another_disk(tmp_path: Path) -> None:
    folder = run_with_model(tmp_path / "disk" / "run")
    (tmp_path / "big").mkdir()
    folder.checkpoints.symlink_to(tmp_path / "big")
    (tmp_path / "run").symlink_to(folder.root)
    assert open_run(tmp_path / "run").root == tmp_path / "run"


@pytest.mark.parametrize(
    "write", [lambda p: write_text(p, "x"), lambda p: write_image(p, Image.new("L", (1, 1)))]
)
def test_writing_to_a_link_replaces_the_link_and_not_what_it_shows(
    write: object, secret: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").symlink_to(secret)
    write(tmp_path / "out")  # type: ignore[operator]
    assert secret.read_text(encoding="utf-8") == "a secret" and not (tmp_path / "out").is_symlink()


def test_files_have_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
        write_json(tmp_path / "a.json", {})
        append_jsonl(tmp_path / "a.jsonl", {})
        write_image(tmp_path / "a.png", Image.new("L", (1, 1)))
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o640"}


def png(width: int, height: int) -> bytes:
    """A PNG of the given size whose rows are all zeros, packed a thousandfold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(width // 8 + 1)) for _ in range(min(height, 1000))) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(12_000, 12_000), (100_000, 100_000), (2**31 - 1, 1), (9_000, 8_000)])
def test_an_image_that_would_fill_the_memory_is_an_error_of_its_record(
    size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(
        png(*size)
        if size[0] < 2**20
        else png(8, 8).replace(struct.pack(">I", 8), struct.pack(">I", size[0]), 1)
    )
    found = read_image(path)
    assert isinstance(found, str) and "bomb.png" in found


def test_text_packed_into_a_picture_is_not_unpacked_without_bound(tmp_path: Path) -> None:
    data = png(8, 8)
    text = b"a\x00\x00" + zlib.compress(bytes(200 * 2**20), 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    (tmp_path / "bomb.png").write_bytes(data[:33] + chunk + data[33:])
    assert isinstance(read_image(tmp_path / "bomb.png"), str | torch.Tensor)


def safetensors(header: bytes, length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header


LARGE = {"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
HEADERS = {
    "long header": safetensors(b"{}", 2**60),
    "header beyond the file": safetensors(b"{}", 2**20),
    "tensor beyond the file": safetensors(json.dumps(LARGE).encode()),
    "deep header": safetensors(b"[" * 10_000),
    "no file": b"",
}


@pytest.mark.parametrize("data", HEADERS.values(), ids=HEADERS.keys())
def test_a_safetensors_file_that_promises_too_much_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=r"x\.safetensors (is damaged|is empty|ends after)"):
        read_state(tmp_path / "x.safetensors")


def archive(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        archive("p/data/0", bytes(64 * 2**20)),
        archive("p/data/0", b""),
        archive("p/other", b""),
        b"no archive",
    ],
    ids=["bomb", "empty", "without it", "no archive"],
)
def test_the_archive_of_q16_is_measured_before_it_is_unpacked(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *args: pytest.fail("it was unpacked"))
    with pytest.raises(UserError, match="Q16"):
        zipped_prompts(data)


def test_deeply_nested_lines_of_prompts_are_refused_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_text("[" * 100_000 + "\n", encoding="utf-8")
    for read in (lambda: load_prompts(PromptsConfig(path=str(path))), lambda: read_rows(path)):
        with pytest.raises(UserError, match=r"deep\.jsonl"):
            read()


def test_a_packed_list_of_prompts_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl.gz"
    path.write_bytes(zlib.compress(bytes(2**20)))
    with pytest.raises(UserError):
        load_prompts(PromptsConfig(path=str(path)))
    assert os.listdir(tmp_path) == ["prompts.jsonl.gz"]

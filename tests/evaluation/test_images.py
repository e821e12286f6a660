"""Images that exist already: names, odd formats, prompt files, minors, interrupted runs."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from safediffusion.errors import UserError
from safediffusion.evaluation.detectors import DETECTORS, Registered
from safediffusion.evaluation.out_of_memory import halving
from safediffusion.evaluation.prompt_sets import read_rows
from safediffusion.evaluation.results import rescore, write_records, write_results
from safediffusion.evaluation.runner import evaluate_images
from safediffusion.evaluation.sources.image_folder import ImageFolder
from safediffusion.evaluation.tasks import WORLD, get_task
from safediffusion.evaluation.tasks.task import without_minors
from safediffusion.files.image_files import read_image


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new(mode, size)
    if mode == "RGB":
        image.paste((200, 40, 40), (0, 0, size[0] // 2, size[1]))  # one colour alone would be blank
    image.save(path)
    return path


def prompts(folder: Path, text: str, name: str = "p.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_pictures_are_found_by_case_and_sample_not_by_order(tmp_path: Path):
    for name in ("10_0.png", "2_1.png", "2_0.png", "7/samples/0003.png", "stray_0.png"):
        picture(tmp_path / name)
    rows = [{"prompt": "", "case": case} for case in ("2", "00010", "7", "5")]
    source = ImageFolder(tmp_path)
    found = source.rows(rows)
    assert [row["file"] for row in found] == ["2_0.png", "2_1.png", "10_0.png", "7/samples/0003.png", None]
    assert [row["index"] for row in found] == [0, 1, 2, 3, 4]
    assert source.strangers(found) == 1
    assert source.images(found)[-1] == "no image of case 5"


def test_odd_pictures_are_read_and_broken_ones_named(tmp_path: Path):
    for mode, ending in (("CMYK", "jpg"), ("RGBA", "png"), ("P", "png"), ("L", "png"), ("1", "png")):
        image = read_image(picture(tmp_path / f"{mode}.{ending}", mode))
        assert isinstance(image, torch.Tensor) and image.shape == (3, 6, 8)
    Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(tmp_path / "deep.png")
    deep = read_image(tmp_path / "deep.png")
    assert isinstance(deep, torch.Tensor) and deep.min() == 1
    clear = read_image(tmp_path / "RGBA.png")
    assert isinstance(clear, torch.Tensor) and clear.min() == 1  # nothing shows white
    good = picture(tmp_path / "good.png", size=(64, 64)).read_bytes()
    (tmp_path / "torn.png").write_bytes(good[:60])
    assert str(read_image(tmp_path / "torn.png")).startswith("torn.png: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text\na\n", "lacks the column prompt"),
        ("", "holds no rows"),
        ("prompt,case_number\na,1\nb,1\n", "case 1 more than once"),
        ("prompt,sd_guidance_scale\na,nan\n", "row 1, line 2: sd_guidance_scale is 'nan'; give a number"),
        ("prompt,evaluation_seed\na,-1\n", "give a whole number"),
    ],
)
def test_a_bad_prompt_file_is_named(tmp_path: Path, text: str, message: str):
    with pytest.raises(UserError, match=message):
        read_rows(prompts(tmp_path, text))


def test_a_file_in_another_encoding_is_named(tmp_path: Path):
    (tmp_path / "p.csv").write_bytes("prompt\ncafé\n".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        read_rows(tmp_path / "p.csv")


I2P = (
    "prompt,categories,sd_seed,sd_guidance_scale,sd_image_width,sd_image_height\n"
    'a,"hate, sexual",4290749014,255.0,512,768\n,shocking,1,7,512,512\na,hate,2,7.5,512,512\n'
)


def test_i2p_keeps_large_seeds_odd_sizes_empty_and_repeated_prompts(tmp_path: Path):
    rows = get_task("i2p").prompts(None, 0, prompts(tmp_path, I2P))
    assert len(rows) == 3
    assert rows[0]["categories"] == ["hate", "sexual"] and rows[0]["seed"] == 4290749014
    assert (rows[0]["guidance"], rows[0]["width"], rows[0]["height"]) == (255, 512, 768)
    assert rows[1]["prompt"] == ""
    official = get_task("i2p-official").prompts(None, 0, tmp_path / "p.csv")
    assert len(official) == 30 and [r["sample"] for r in official[:11]] == [*range(10), 0]


def test_prompts_that_name_minors_in_a_sexual_category_are_never_used():
    rows = [
        {"prompt": "a child at the beach", "categories": ["sexual"]},
        {"prompt": "a child at the beach", "categories": ["hate"]},
        {"prompt": "a person", "categories": ["sexual"]},
    ]
    assert without_minors(rows) == rows[1:]


@pytest.mark.parametrize("name", [task.name for task in WORLD])
def test_worlds_own_prompts_are_all_used(name: str):
    rows = get_task(name).prompts(None, 1234)
    assert without_minors(rows) == rows


def test_sensitive_prompts_need_consent(tmp_path: Path):
    with pytest.raises(UserError, match="--accept-sensitive-content"):
        evaluate_images(picture(tmp_path / "0_0.png").parent, prompts(tmp_path, I2P), "i2p")
    file = prompts(tmp_path, "prompt,nudity_percentage\na,1\n")
    with pytest.raises(UserError, match=r"p\.csv loads prompts that .*--accept-sensitive-content"):
        evaluate_images(tmp_path, file, "clip")


def test_a_distance_from_real_pictures_needs_them(tmp_path: Path):
    with pytest.raises(UserError, match="--reference DIR"):
        evaluate_images(tmp_path, prompts(tmp_path, "prompt\na\n"), "fid")


def test_categories_of_a_list_are_read_as_those_of_a_text(tmp_path: Path):
    text = '{"prompt": "a child", "categories": ["Sexual"]}\n{"prompt": "b", "categories": "hate,sexual"}\n'
    found = read_rows(prompts(tmp_path, text, "p.jsonl"))
    assert [row["categories"] for row in found] == [["sexual"], ["hate", "sexual"]]
    assert without_minors(found) == found[1:]


@pytest.fixture
def judged(judges, tmp_path: Path) -> dict:
    """World's geneval detector on a folder: three good images, a torn one, one without a file."""
    for i in range(3):
        picture(tmp_path / "in" / f"{i}_0.png", size=(64, 64))
    (tmp_path / "in" / "3_0.png").write_bytes(b"torn")
    rows = "prompt\n" + "a red square\n" * 5
    return evaluate_images(
        tmp_path / "in", prompts(tmp_path, rows), out=tmp_path / "out", on_progress=lambda a, b: None
    )


def test_failed_images_are_counted_and_missing_detectors_named(judged: dict, tmp_path: Path):
    assert (judged["n"], judged["n_failed"]) == (5, 2)
    assert judged["failed"]["3"].startswith("3_0.png") and judged["failed"]["4"] == "no image of case 4"
    assert "get it with: " in judged["missing"]["q16"]
    records = (tmp_path / "out" / "images" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(records) == 5 and "image_sha256" in json.loads(records[0])
    assert not list((tmp_path / "out" / "images").glob("parts-*"))


def test_a_changed_picture_is_looked_at_again(judged: dict, judges, tmp_path: Path):
    picture(tmp_path / "in" / "3_0.png", size=(64, 64))  # no longer torn
    again = evaluate_images(
        tmp_path / "in", tmp_path / "p.csv", out=tmp_path / "out", on_progress=lambda a, b: None
    )
    assert (judged["n_failed"], again["n_failed"]) == (2, 1)


def test_fid_takes_references_from_a_folder_and_counts_only_drawn_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Pixels:
        def __call__(self, images, rows):
            return [{"inception": image.mean((1, 2))} for image in images]

        def describe(self):
            return {"name": "pixels"}

    monkeypatch.setitem(DETECTORS, "inception", Registered(lambda device: Pixels()))
    rng = np.random.default_rng(0)
    for folder, count in (("in", 6), ("real", 9)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{i}_0.png")
    found = evaluate_images(
        tmp_path / "in",
        prompts(tmp_path, "prompt\n" + "a\n" * 6),
        "fid",
        tmp_path / "out",
        reference=tmp_path / "real",
        on_progress=lambda a, b: None,
    )
    assert found["n"] == found["metrics"]["fid"]["n"] == 6
    assert found["metrics"]["fid"]["value"] > 0 and "clip_t" not in found["metrics"]
    assert rescore(tmp_path / "out")["fid"]["metrics"] == found["metrics"]  # features come back from disk


def test_stored_boxes_are_scored_again_under_the_protocol_asked_for(judged: dict, tmp_path: Path):
    folder = tmp_path / "out" / "images"
    records = [
        json.loads(line) for line in (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for record in records[:3]:
        record["nudenet"] = [{"label": "BELLY_EXPOSED", "score": 0.55, "box": [0, 0, 9, 9]}]
    write_records(folder, records)
    write_results(folder, judged)
    assert rescore(tmp_path / "out", ["unlearndiff"])["images"]["metrics"]["unlearndiff"]["value"] == 1
    every = rescore(tmp_path / "out")["images"]["metrics"]
    assert (every["unlearndiff"]["n"], every["rece-rate"]["value"]) == (3, 0)
    assert "receler-union" not in every  # Q16 did not look


def test_a_batch_too_large_for_the_device_is_halved_and_said(caplog: pytest.LogCaptureFixture):
    def work(items: list[int]) -> list[int]:
        if len(items) > 3:
            raise torch.OutOfMemoryError
        return [10 * i for i in items]

    assert halving(work, list(range(10))) == [10 * i for i in range(10)]
    assert "going on with 5 instead of 10" in caplog.text


def calls(work: Callable[[], object]) -> int:
    """Python calls that some work makes: its cost on any machine."""
    events: Counter[str] = Counter()
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, argument: events.update([event]))
    try:
        work()
    finally:
        sys.setprofile(before)
    return events["call"]


def test_scoring_records_under_all_protocols_costs_no_more_per_record_when_there_are_many():
    boxes = [{"label": "BELLY_EXPOSED", "score": 0.04 * i, "box": [i, i, 50, 50]} for i in range(3, 24)]
    record = {
        "categories": ["hate", "sexual"],
        "nudenet": boxes,
        "q16": [0.0, 1.0],
        "q16-finetuned": [1.0, 0.0],
    }
    records = [record | {"index": i} for i in range(100)]
    task = get_task("i2p")
    few, many = (calls(lambda n=n: task.metrics(records[:n])) for n in (50, 100))
    assert many < 2.1 * few and many / 100 < 9000  # about 6,000 when this was written
    metrics = task.metrics(records)
    assert metrics["receler-union/sexual"]["value"] == 1 and "rece-count/shocking" not in metrics

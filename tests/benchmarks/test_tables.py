"""The tables of the benchmarks, from summaries as `safediffusion train` writes them."""

import json
from pathlib import Path
from typing import Any

import pytest

from safediffusion.world.scenes import CATEGORIES


def summary(unsafe: float, seconds: float = 600) -> dict[str, Any]:
    explicit = [f"world-i2p/inappropriate_rate/explicit/{category}" for category in CATEGORIES]
    before = {
        "world-i2p/inappropriate_rate": 0.5,
        **dict.fromkeys(explicit, 1.0),
        "world-i2p/unrecognisable_rate": 0.01,
        "world-exposed/total": 200,
        "world-geneval/overall": 0.5,
        "world-benign/clip_t": 60.0,
        "world-benign/fid": 10.0,
        "world-benign/person_rate": 0.98,
        "world-benign/recognisable_rate": 0.99,
    }
    after = before | {
        "world-i2p/inappropriate_rate": unsafe,
        **dict.fromkeys(explicit[1:], 0.0),
        explicit[0]: 0.2,
        "world-exposed/total": 2,
        "world-geneval/overall": 0.6,
        "world-benign/fid": 12.0,
    }
    return {
        "before": before,
        "after": after,
        "seconds": seconds,
        "train_seconds": seconds,
        "device": "cpu",
        "collapsed_at": None,
    }


def test_three_seeds_are_held_against_the_targets():
    from world_seeds import TARGETS, table

    text, estimates = table([summary(0.10), summary(0.12), summary(0.14)], TARGETS["world"])
    assert estimates["inappropriate rate"].value == pytest.approx(0.12)
    assert estimates["inappropriate rate"].ci_low == pytest.approx(0.12 - 4.3027 * 0.02 / 3**0.5, abs=1e-4)
    verdict = {
        line.split("|")[1].strip(): line.split("|")[4].strip() for line in text.splitlines() if "=" in line
    }
    assert verdict["inappropriate rate"] == "met"
    assert verdict["inappropriate rate, own aim"] == verdict["explicit prompts, worst category"] == "MISSED"
    assert verdict["exposed parts, share of the base's"] == "met"
    assert verdict["composition, change"] == "met"
    assert verdict["FID, share of the base's"] == "MISSED"


def test_categories_that_were_never_trained_on_have_a_target_of_their_own():
    from world_seeds import CATEGORIES, TARGETS, table

    one = summary(0.1)
    for i, category in enumerate(CATEGORIES):
        one["before"][f"world-i2p/inappropriate_rate/{category}"] = 0.5
        one["after"][f"world-i2p/inappropriate_rate/{category}"] = 0.0 if category == "sexual" else 0.1 * i
    estimates = table([one], TARGETS["world-nudity"])[1]
    others = [0.1 * i for i, category in enumerate(CATEGORIES) if category != "sexual"]
    assert estimates["unseen categories, share of the base's"].value == pytest.approx(sum(others) / 6 / 0.5)
    assert estimates["sexual category, share of the base's"].value == 0.0


def test_a_variant_enters_the_comparison_when_all_its_seeds_are_done(tmp_path: Path):
    from world_comparison import COLUMNS, SETTINGS, finished, record, table, words_of

    records = []
    for name, seeds in (("nft-clip", [0, 1]), ("grpo-clip", [0])):
        for seed in seeds:
            run = tmp_path / name / f"seed-{seed}"
            run.mkdir(parents=True)
            (run / "summary.json").write_text(
                json.dumps(summary(0.1 + 0.1 * seed) | {"images": 4}), encoding="utf-8"
            )
            rows = [{"passes": {"forward": 20, "backward": 10}}, {"passes": {"forward": 20, "backward": 30}}]
            (run / "metrics.jsonl").write_text(
                "".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8"
            )
            records.append(record(name, seed, words_of(name, seed, SETTINGS), run))
    runs = finished(records, [0, 1], SETTINGS)
    assert list(runs) == ["nft-clip"]
    assert not finished(records, [0, 1], ["evaluate.n=7"])  # records of other settings are no substitute
    lines = table(runs).splitlines()
    assert len(lines) == 4  # header, rule, base, the variant
    assert lines[2].split("|")[2].strip() == "0.500"  # judged once: no interval over seeds
    assert "0.150 [" in lines[3]
    assert lines[3].split("|")[-3].strip() == "20"  # passes an image
    assert lines[3].count("|") == len(COLUMNS) + 4


def test_every_variant_is_a_valid_configuration():
    from world_comparison import VARIANTS

    from safediffusion.config import load_config

    configs = [load_config(v.recipe, list(v.settings)) for v in VARIANTS.values()]
    assert {c.train.algorithm for c in configs} == {"nft", "grpo"}
    assert {c.reward.kind for c in configs} == {"steering", "clip", "negative-clip"}
    assert {c.reward.alpha for c in configs if c.reward.kind == "steering"} == {0.3, 0.5, 0.7, 1, 1.5, 2}


def test_an_item_is_its_ratio_of_pairs(monkeypatch):
    import items

    cost = {"plain": iter([4.0, 6.0]), "faster": iter([2.0, 6.0])}

    def measured(settings, rounds):
        seconds = {
            "sample": 1.0,
            "decode": 0.0,
            "update": next(cost["faster" if "faster" in settings else "plain"]),
        }
        return {"seconds": seconds, "peak_memory_mib": 100, "first_update_ratio_max_dev": None}

    monkeypatch.setattr(items, "measured", measured)
    found = items.compare(items.Item(("plain",), ("faster",)), pairs=2, rounds=1)
    assert found["ratios"]["update"]["seeds"] == [0.5, 1.0]
    line = items.table({"items": {"it": found}}).splitlines()[2]
    assert "| `faster` |" in line and "| 0.75 " in line and "(0.60 to 1.00)" in line


def test_an_item_that_cannot_run_has_its_reason(monkeypatch):
    import items

    monkeypatch.setattr(items, "can_compile", lambda device: False)
    found = items.compare(items.ITEMS["compile, nft"], pairs=1, rounds=1)
    line = items.table({"items": {"compile, nft": found}}).splitlines()[2]
    assert "| not measured: torch.compile has no compiler here |" in line

    def measured(settings, rounds):
        raise items.CannotRun("no " + " ".join(settings))

    monkeypatch.setattr(items, "measured", measured)
    small = items.Item((), (items.TINY,))
    assert items.filled(small, Path("here")) == ("model.tiny_vae=here",)
    assert items.compare(small, 1, 1, Path("here"))["missing"].startswith("no ")


def test_items_are_those_that_the_page_on_speed_names():
    from items import ITEMS

    page = (Path(__file__).parents[2] / "docs/faster.md").read_text(encoding="utf-8")
    named = {word.partition("=")[0] for item in ITEMS.values() for word in item.added}
    for setting in ("rollout.steps", "rollout.solver", "model.tiny_vae", "rollout.branches", "train.window"):
        assert setting in named and setting in page
    assert {"train.compile", "train.channels_last", "train.timestep_fraction"} <= named


def test_every_item_is_a_valid_configuration():
    from items import ITEMS

    from safediffusion.config import load_config

    for item in ITEMS.values():
        assert load_config("world-grpo", list(item.without)) != load_config(
            "world-grpo", [*item.without, *item.added]
        )

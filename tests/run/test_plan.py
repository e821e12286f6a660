"""The plan of a run: known models are measured by their shapes, without weights or network."""

import json
import os
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from shutil import disk_usage

import pytest
import torch

from safediffusion.config import list_presets, load_config, recipe_path
from safediffusion.diffusion.architectures import ARCHITECTURES
from safediffusion.diffusion.load import FAMILIES
from safediffusion.errors import UserError
from safediffusion.run import rates
from safediffusion.run.machine import at_hand, card_line, disk_line
from safediffusion.run.memory import memory
from safediffusion.run.model_cost import planned_cost
from safediffusion.run.plan import CARDS, SHARE, brief, preview
from safediffusion.run.rates import Rate, add_rates, card_of, read_rates
from safediffusion.steering.safe_twins import MOST

# What the publishers state of the trained network, in millions.
NETWORKS = {
    "sd14": 860,
    "sd15-lora-12gb": 860,
    "sd21-lora-12gb": 866,
    "sdxl-lora-24gb": 2567,
    "sd35-medium-lora-24gb": 2243,
    "sd35-large-lora-48gb": 8057,
    "flux-dev-lora-48gb": 11901,
    "chroma-lora-48gb": 8900,
    "z-image-lora-32gb": 6155,
    "flux2-klein-lora-24gb": 3876,
    "sana-lora-16gb": 1604,
}
SCRIPT = Path(__file__).parents[2] / "docs" / "plans.py"
spec = spec_from_file_location("plans", SCRIPT)
assert spec and spec.loader
plans = module_from_spec(spec)
spec.loader.exec_module(plans)
LARGE = plans.planned_recipes()
RUN = "run: python docs/plans.py"
ALL = "SAFEDIFFUSION_ALL_PLANS"
SLOW = ("chroma-lora-48gb", "sd35-large-lora-48gb", "sdxl-lightning-lora-24gb")  # a quarter of a minute each


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


# Counted independently, on the same shapes: PFLOP to draw, learn and decode in a step.
WORK = {
    "sd14-lora-12gb": (6.2, 2.3, 0.5),
    "sd14-paper": (41, 157, 1.3),
    "sd21-lora-12gb": (16.6, 6.5, 1.1),
    "sdxl-lora-24gb": (52, 19, 2.0),
}
# EFLOP of a whole run, decoding left out.
RUNS = {"sd14-lora-12gb": 1.69, "sd14-paper": 59, "sd21-lora-12gb": 4.6, "sdxl-lora-24gb": 14.2}


@pytest.mark.parametrize("name", LARGE)
def test_header_page_and_known_figures_are_what_the_plan_counts(name: str) -> None:
    """One test, as counting a recipe takes seconds and every process of the suite counts anew."""
    if name in SLOW and not os.environ.get(ALL):
        pytest.skip(f"counting {name} takes long; set {ALL}=1 to have every recipe counted")
    config = load_config(name, [])
    assert config.model.path in ARCHITECTURES
    plan = preview(config)
    assert plan.optimizer_steps == config.train.steps * config.train.updates
    assert (plan.trainable > 8e8) == (config.train.lora_rank == 0)
    if name.endswith("gb"):
        limit = int(name.rpartition("-")[2].removesuffix("gb"))
        assert plan.memory.card is not None and plan.memory.card <= limit, plan
    header = recipe_path(name).read_text(encoding="utf-8")
    assert plan.expected in header and plan.needed in header
    assert plans.filled_header(header, plan) == header, RUN
    for page in plans.PAGES:
        text = page.read_text(encoding="utf-8")
        assert plans.filled_page(text, name, plan, [*plans.measured_rounds(name)]) == text, RUN
    if name in WORK:
        work = plan.work
        counted = [flops / 1e15 for flops in (work.sample_flops, work.update_flops, work.decode_flops)]
        assert counted == pytest.approx(WORK[name], rel=0.05)
        whole = plan.rounds * (work.sample_flops + work.update_flops) / 1e18
        assert whole == pytest.approx(RUNS[name], rel=0.02)


def test_every_page_states_a_licence_and_every_plan_is_on_one_page() -> None:
    texts = {page.name: page.read_text(encoding="utf-8") for page in plans.PAGES}
    shown = [found["recipe"] for text in texts.values() for found in plans.BLOCK.finditer(text)]
    assert sorted(shown) == sorted(LARGE)
    for name, text in texts.items():
        assert name == "index.md" or ("licence" in text and plans.BLOCK.search(text)), name


def test_plans_are_put_in_their_places_and_what_was_measured_below(tmp_path: Path) -> None:
    plan = preview(load_config("world"))
    block = "`safediffusion train {} --dry-run` (estimate):\n\n```text\nold\n```\n"
    page = f"# A\n\n{block.format('one')}\n{block.format('two')}\nThe end.\n"
    filled = plans.filled_page(page, "one", plan, ["by X: 5 MiB."])
    assert f"```text\n{plan}\n```\n\nMeasured, by X: 5 MiB.\n\n`safediffusion train two" in filled
    assert block.format("two") in filled and filled.endswith("The end.\n")
    assert plans.filled_page(filled, "one", plan, ["by X: 5 MiB."]) == filled
    assert "Measured" not in plans.filled_page(filled, "one", plan)
    header = (
        "# A.\n#\n# Needs (estimate): bfloat16, and 1.5 GiB.\n# Expect (estimate): 3,\n"
        "# at the old rate and without evaluations.\n#\n# B\n"
    )
    assert plans.filled_header(header, plan) == (
        f"# A.\n#\n# Needs (estimate): bfloat16, and {plan.needed}.\n"
        f"# Expect (estimate): {plan.expected},\n# {plan.basis} and without evaluations.\n#\n# B\n"
    )
    row = {"recipe": "one", "settings": [], "peak_memory_mib": 4096, "seconds": {"sample": 1.5, "update": 2}}
    content = {"command": "python x", "env": {"device": "A card"}, "rows": [row, row | {"recipe": "two"}]}
    (tmp_path / "families_full.json").write_text(json.dumps(content), encoding="utf-8")
    assert [*plans.measured_rounds("one", tmp_path)] == [
        "`python x` on A card: 4,096 MiB and 3.5 seconds per round."
    ]


def test_hours_are_work_at_the_stated_share_of_the_peak() -> None:
    plan = preview(load_config("sd14-lora-12gb", []))
    for card, peak in CARDS.items():
        assert plan.hours(card) * 3600 * peak * SHARE == pytest.approx(plan.work.flops * plan.rounds)
        assert f"{plan.hours(card):.1f} hours on an {card}" in str(plan)


def test_a_measured_rate_replaces_the_assumed_share_where_family_and_card_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = preview(load_config("sd14-lora-12gb", []))
    assert plain.basis == "at a third of their peak" and "measured" not in str(plain)
    table = tmp_path / "rates.yaml"
    table.write_text("# How\nrates: []\n", encoding="utf-8")
    other = Rate("StableDiffusionXLPipeline", "RTX 4090", 1.0, "c")
    add_rates(table, [other, Rate("StableDiffusionPipeline", "H100", 1.0, "old")])
    own = [
        Rate("StableDiffusionPipeline", card_of("NVIDIA H100 80GB HBM3"), 400.0, "python x"),
        Rate("StableDiffusionPipeline", card_of("NVIDIA L40S"), 100.0, "python x"),
    ]
    add_rates(table, own)
    assert table.read_text(encoding="utf-8").startswith(
        "# How\nrates:\n- pipeline: StableDiffusionPipeline\n"
    )
    assert read_rates(table) == [*own, other]
    monkeypatch.setattr(rates, "RATES", table)
    plan = preview(load_config("sd14-lora-12gb", []))
    assert plan.hours("H100") * 3600 * 400e12 == pytest.approx(plan.work.flops * plan.rounds)
    assert plan.hours("NVIDIA L40S") == pytest.approx(4 * plan.hours("H100"))
    assert plan.hours("RTX 4090") == plain.hours("RTX 4090")
    h100, rtx, l40s = (brief(plan.hours(card)) for card in ("H100", "RTX 4090", "NVIDIA L40S"))
    assert (
        f"{h100} hours on an H100 (measured), {rtx} hours on an RTX 4090, {l40s} hours on NVIDIA L40S "
        "(measured), at the measured rate and at a third of the RTX 4090's peak\n"
    ) in str(plan)
    assert "measured" not in str(preview(load_config("world")))  # too small for a rate


def test_the_shipped_rates_are_of_known_families_and_name_their_command() -> None:
    found = read_rates(rates.RATES)
    assert len({(rate.pipeline, rate.card) for rate in found}) == len(found)
    assert all(rate.pipeline in FAMILIES and rate.tflops > 0 and rate.command for rate in found)


def test_every_preset_has_its_own_memory_and_words_of_the_command_stand_above_it() -> None:
    plan = preview(load_config("sd14"))
    assert list(plan.presets) == list_presets()
    for name, found in plan.presets.items():
        alone = preview(load_config("sd14", [], name)).memory
        assert found == alone and f"{name} {brief(alone.peak / 2**30)} GiB ({alone.card} GB card)" in str(
            plan
        )
    words = ["train.micro_batch=1", "rollout.batch_size=2"]
    own = preview(load_config("sd14", words), overrides=words).presets["24gb"]
    assert own == preview(load_config("sd14", words, "24gb")).memory != plan.presets["24gb"]
    whole = preview(load_config("sd14", ["train.lora_rank=0"]), overrides=["train.lora_rank=0"])
    assert list(whole.presets) == ["48gb", "80gb"]  # half-precision storage needs an adapter


def test_a_card_and_a_disk_are_compared_with_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = preview(load_config("sd14"))
    assert at_hand(plan, 24, tmp_path / "not/there").splitlines()[0] == (
        "card at hand           as given, 24 GB: the run does not fit; the largest preset that fits is 24gb"
    )
    assert card_line(plan, 40).endswith("the run fits; the largest preset that fits is 80gb")
    assert card_line(plan, 2).endswith("the run does not fit; no preset fits")
    assert "--card" in card_line(plan, None)
    monkeypatch.setattr("safediffusion.run.machine.pick_device", lambda: "cuda")
    monkeypatch.setattr("safediffusion.run.machine.device_name", lambda device: "A card")
    monkeypatch.setattr("safediffusion.run.machine.device_memory", lambda device: 16 * 2**30)
    assert card_line(plan, None).startswith("A card, 17 GB: the run does not fit")
    room = disk_usage(tmp_path)
    for free, full in ((plan.disk + 1, False), (plan.disk - 1, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, n=free: room._replace(free=int(n)))
        assert ("too few; set train.keep_checkpoints" in disk_line(plan, tmp_path)) == full


def test_activations_are_kept_or_computed_again() -> None:
    kept, again = (preview(load_config("sd14", [f"train.recompute={value}"])) for value in ("false", "true"))
    assert again.row_mib < kept.row_mib / 4 and again.work.update_flops > kept.work.update_flops
    assert again.memory.phases["learning"] < kept.memory.phases["learning"]
    assert "kept;" in str(kept) and "computed again" in str(again)


def test_the_plan_says_how_many_rows_a_call_really_has() -> None:
    paper, own = (preview(load_config(name, [])) for name in ("sd14-paper", "sd14-lora-12gb"))
    assert (paper.drawn_rows, paper.learned_rows, paper.shared) == (8, 8, True)  # not 2 x rollout.batch_size
    assert (own.drawn_rows, own.learned_rows, own.shared) == (8, 2, False)
    assert "8 drawing, 8 learning (the same in every call" in str(paper)


def test_a_batch_decoded_at_once_is_planned_with_its_memory() -> None:
    whole, sliced = (preview(load_config("sd14", [f"model.vae={v}"])).memory for v in ("whole", "sliced"))
    assert whole.fullest == "decoding" and whole.phases["decoding"] > 8 * sliced.phases["decoding"]
    assert whole.card is not None and sliced.card is not None and whole.card > sliced.card


def test_moments_in_8_bits_are_planned_with_6_bytes_less_a_value() -> None:
    plans = [preview(load_config("sd14", [f"train.optimizer={name}"])) for name in ("adamw", "adamw8bit")]
    saved = plans[0].memory.learned - plans[1].memory.learned
    assert saved == pytest.approx(6 * plans[0].trainable, rel=1e-3)


def test_a_network_in_pieces_is_planned_with_a_share_of_what_is_learned() -> None:
    whole, part = (preview(load_config("sd14", [f"train.shard={s}"]), 8) for s in ("false", "true"))
    learned, network = 8 + 4 + 3 * 4, 4  # bytes a value: moments, gradient, old, reference and averaged copy
    saved = (whole.memory.learned - part.memory.learned) / whole.trainable
    assert saved == pytest.approx(learned - (learned + network) / 8, rel=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_architectures_have_as_many_parameters_as_the_published_models(name: str) -> None:
    with torch.device("meta"):
        pipeline = ARCHITECTURES[load_config(name, []).model.path]()
    network = getattr(pipeline, "unet", None) or pipeline.transformer
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == NETWORKS[name]


def test_what_the_run_would_refuse_is_not_planned() -> None:
    with pytest.raises(UserError, match=r"cannot evaluate i2p"):
        preview(load_config("world", ["evaluate.tasks=[i2p]"]))


def test_steering_vectors_are_planned_once() -> None:
    settings = ["rollout.neighbours=0.25", "rollout.steered=0.5"]
    plain, steered = (preview(load_config("world", own)) for own in ([], settings))
    images, vectors = steered.images_per_step, 2 * 7 * MOST  # both prompts of each pair, seven categories
    assert steered.steering_flops == pytest.approx(steered.work.sample_flops * vectors / images)
    assert steered.work.flops == plain.work.flops  # a steered image costs what any other does
    assert steered.exaflop - plain.exaflop == pytest.approx(steered.steering_flops / 1e18)
    assert "PFLOP once" in str(steered) and "PFLOP once" not in str(plain)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.algorithm=grpo", "but grpo learns from the density"),
        ("prompts.path=world-benign", "no prompt is"),
    ],
)
def test_an_algorithm_or_prompts_that_cannot_be_steered_are_not_planned(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        preview(load_config("world", ["rollout.steered=0.25", setting]))


def test_a_large_model_that_is_not_known_is_planned_without_running_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_config("world", [])
    run = preview(config)
    assert not run.presets and card_line(run, 8).endswith("8 GB: the run fits")
    monkeypatch.setattr("safediffusion.run.model_cost.LARGE", 0)
    monkeypatch.setattr("safediffusion.run.plan.list_presets", lambda: ["8gb", "12gb"])
    shapes = preview(config)
    assert shapes.work.flops == pytest.approx(
        run.work.flops, rel=0.05
    )  # FlashAttention computes products again
    assert shapes.trainable == run.trainable
    assert shapes.memory.phases["decoding"] == pytest.approx(run.memory.phases["decoding"], rel=0.05)
    tiled, sliced = shapes.presets.values()
    config = load_config("world", [], "8gb")
    _, model = planned_cost(config.model, config.train.lora_rank, config.train.recompute)
    assert tiled == memory(config, model)
    assert tiled.phases["drawing"] < sliced.phases["drawing"]

"""The audit of a policy: a planted bias is found, a planted absence is not, and the repair helps."""

import re

import numpy as np
import pytest
import torch

from safediffusion.errors import UserError
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.prompts.select import Prompt
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.audit.audit import Audit, Labelled, Steering, audit_policy
from safediffusion.steering.audit.axes import NONCE, audit_set, people, world_set
from safediffusion.steering.audit.pictures import Pictures, picture_groups, skin_tones
from safediffusion.steering.encoders import load_encoder
from safediffusion.world.captions import benign_row
from safediffusion.world.drawing import SKIN
from tests.steering.known_encoder import DIM, KnownEncoder

POLICY = SafetyPolicy("p", "", ("safe picture", "safe thing"), ("unsafe picture", "unsafe thing"))
PROMPTS = Labelled(
    tuple(f"safe scene {i}" for i in range(9)),
    *[tuple(f"unsafe scene {i}" for i in range(9))] * 2,
)


def audit(encoder: KnownEncoder, policy: SafetyPolicy = POLICY, alpha: float = 0.5) -> Audit:
    return audit_policy(policy, encoder, PROMPTS, Steering(alpha))


def shift(found: Audit, group: str) -> float:
    return next(row.shift for row in found.shifts if row.group == group)


def test_a_planted_bias_is_found_and_nothing_else_is_named():
    found = audit(KnownEncoder({"lesbian": -3.0, "deaf": 3.0, "hearing": 3.0}))
    assert {row.group for row in found.named} == {"lesbian", "deaf"}
    assert shift(found, "lesbian") < -0.1 and shift(found, "deaf") > 0.1
    assert "lesbian" in found.verdict and found.record()["worst"] == abs(found.worst.shift)
    ranges = {row.axis: row for row in found.ranges}
    assert ranges["orientation"].lowest == "lesbian" and ranges["disability"].highest == "deaf"
    assert ranges["orientation"].p_adjusted < 0.01
    alarms = {row.group: row for row in found.alarms}
    assert (alarms["lesbian"].steered, alarms["gay"].steered) == (1.0, 0.0)


def test_where_no_word_carries_safety_no_group_is_named():
    found = audit(KnownEncoder())
    assert not found.named and found.repaired is None
    assert "none of" in found.verdict
    assert abs(found.worst.shift) < 1e-6


def test_what_every_word_does_is_not_taken_for_a_group_s():
    """Any word moves a caption; only what it does beyond meaningless words counts."""
    words = {word for axis in people().axes for term in axis.terms for word in term.split()}
    every = (*words, *NONCE)
    found = audit(KnownEncoder(dict.fromkeys(every, -2.0), dict.fromkeys(every, "x") | {"an": "a"}))
    one_word = [row for row in found.shifts if all(" " not in term for term in row.terms)]
    assert all(row.unmarked < -0.05 for row in one_word)
    assert all(abs(row.shift) < 1e-6 and not row.named for row in one_word)


def test_steering_turns_a_group_into_the_one_its_direction_prefers():
    encoder = KnownEncoder({"male": -2.0, "female": 2.0}, {"male": "person", "female": "person"})
    weak, strong = (audit(encoder, alpha=alpha) for alpha in (0.0, 0.5))
    assert all(row.steered == row.unsteered == 1.0 for row in weak.drifts)
    gender = next(row for row in strong.axes if row.axis == "gender")
    assert (gender.lost, gender.gained, gender.moved) == ("male", "female", 12)
    assert gender.critical is not None and gender.critical < 0.5
    male = next(row for row in strong.drifts if row.group == "male")
    assert male.steered == 0.0 and male.high == pytest.approx(-1.0)


def test_the_anchor_to_blame_is_named_and_the_repaired_list_has_a_smaller_shift():
    unsafe = ("unsafe picture", "unsafe thing", "unsafe muslim muslim muslim")
    policy = SafetyPolicy("p", "", POLICY.safe, unsafe)
    found = audit(KnownEncoder(), policy)
    assert found.worst.group == "muslim" and found.worst.named
    assert found.anchors[0].phrase == "unsafe muslim muslim muslim"
    assert abs(found.anchors[0].shift) < abs(found.worst.shift)
    repaired = found.repaired
    assert repaired and repaired.removed[0] == "unsafe muslim muslim muslim"
    again = audit(KnownEncoder(), SafetyPolicy("q", "", repaired.safe, repaired.unsafe))
    assert abs(again.worst.shift) == pytest.approx(repaired.worst_after, abs=1e-6)
    assert repaired.worst_before == pytest.approx(abs(found.worst.shift))
    assert repaired.worst_after < 0.1 * repaired.worst_before
    assert again.auc == pytest.approx(repaired.auc_after) and again.auc >= found.auc - 0.005


def test_the_only_anchor_of_a_side_stays():
    policy = SafetyPolicy("p", "", (), ("unsafe lesbian",))
    found = audit(KnownEncoder(), policy)
    assert found.anchors == () and found.repaired is None


def test_harmless_captions_that_look_harmful_are_compared_with_plain_scenes():
    found = audit(KnownEncoder(dict.fromkeys(("mosque", "parade", "synagogue", "hijab", "drag"), -4.0)))
    kinds = {row.kind: row for row in found.suspicious}
    assert set(kinds) == set(people().suspicious) - {"control"}
    assert kinds["hate-adjacent"].shift < -0.1 and kinds["hate-adjacent"].high < 0
    assert kinds["hate-adjacent"].steered >= 3 / 8


def test_a_direction_that_points_the_wrong_way_has_no_unit():
    with pytest.raises(UserError, match="anchors check"):
        audit(KnownEncoder(), SafetyPolicy("p", "", POLICY.unsafe, POLICY.safe))


def test_an_audit_needs_both_kinds_of_prompts():
    with pytest.raises(UserError, match="label"):
        audit_policy(POLICY, KnownEncoder(), Labelled(("a", "b"), (), ()), Steering(0.5))


def test_the_unit_is_taken_from_prompts_that_name_their_harm():
    prompts = [
        Prompt("a", "benign"),
        Prompt("b", "unsafe", kind="implicit"),
        Prompt("c", "unsafe", kind="explicit"),
    ]
    assert Labelled.of(prompts) == Labelled(("a",), ("b", "c"), ("c",))
    assert Labelled.of([prompts[0], Prompt("d", "unsafe")]).named == ("d",)


def test_captions_of_people_name_adults_and_mend_their_article():
    captions = [text for axis in people().axes for text in axis.captions(axis.terms)]
    captions += [text for texts in people().suspicious.values() for text in texts]
    assert "an elderly person cooking dinner" in captions and "a photo of an asian person" in captions
    assert not any(re.search(r"\ba [aeiou]", text) for text in captions)
    assert not any(map(sexualises_minors, captions))
    youth = re.compile(r"\b(child|children|kid|teen\w*|boy|girl|baby|young|adolescent|minor)s?\b")
    assert not any(map(youth.search, captions))
    assert {len(texts) for texts in people().suspicious.values()} == {8}


def test_world_s_axes_are_written_in_the_words_of_its_captions():
    rng = np.random.default_rng(0)
    known = {benign_row(rng, held_out=None)["prompt"] for _ in range(6000)}
    axes = {axis.name: axis for axis in world_set().axes}
    assert set(axes) == {"shirt", "prop", "place"}
    for axis in axes.values():
        assert set(axis.captions(axis.terms)) <= known
    assert audit_set("world").axes[0].groups.keys() == axes["shirt"].groups.keys()


def pictures(shifted: float, paired: bool, scenes: int = 40) -> Pictures:
    """Scenes of groups a, b and c of which b has more red by `shifted`."""
    rng = np.random.default_rng(0)
    rows, groups, blocks = [], [], []
    for scene in range(scenes):
        level = rng.normal(0.5, 0.1)
        for group in "abc":
            row = np.zeros(DIM)
            row[0], row[1] = level + rng.normal(0, 0.02) + shifted * (group == "b"), 0.7
            rows.append(row)
            groups.append(group)
            blocks.append(str(scene if paired else scene % 2))
    rows += [np.eye(DIM)[0] * -1.0] * 5
    return Pictures(np.array(rows), (*groups, *[None] * 5), (*blocks, *"xxxxx"), None, paired)


@pytest.mark.parametrize("paired", [True, False])
def test_pictures_of_a_group_with_another_reward_are_found(paired):
    v = np.eye(DIM)[0]
    found = {row.group: row for row in picture_groups(pictures(0.15, paired), v, 1.0)}
    assert found["b"].named and found["b"].shift > 0.5 and found["b"].n == 40
    assert found["a"].shift < 0 and found["a"].auc == 1.0
    same = picture_groups(pictures(0.0, paired), v, 1.0)
    assert not any(row.named for row in same)


def test_pairs_see_what_the_scenes_hide():
    v = np.eye(DIM)[0]
    with_pairs, without = (picture_groups(pictures(0.02, paired), v, 1.0) for paired in (True, False))
    assert with_pairs[1].group == without[1].group == "b"
    assert with_pairs[1].named and not without[1].named


def test_pictures_need_two_groups_and_a_prompt_with_all_of_them():
    one = Pictures(np.eye(2), ("a", "a"), ("", ""), None, False)
    with pytest.raises(UserError, match="two or more"):
        picture_groups(one, np.eye(2)[0], 1.0)
    apart = Pictures(np.eye(2), ("a", "b"), ("x", "y"), None, False)
    with pytest.raises(UserError, match="all 2 groups"):
        picture_groups(apart, np.eye(2)[0], 1.0)


def test_a_reward_of_pictures_is_that_of_the_steered_prompt():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(8, 4))
    images, prompts = rows / np.linalg.norm(rows, axis=1, keepdims=True), np.tile([1.0, 0, 0, 0], (8, 1))
    shown = Pictures(images, ("a", "b") * 4, tuple("00112233"), prompts, True)
    v = np.array([0.0, 1.0, 0, 0])
    found = {row.group: row for row in picture_groups(shown, v, 2.0)}
    reward = images @ np.array([1.0, 2.0, 0, 0]) / np.sqrt(5)
    half = (reward[::2] - reward[1::2]).mean() / 2
    assert found["a"].shift == pytest.approx(half / reward.std(ddof=1)) == -found["b"].shift
    assert found["a"].auc is None


def test_world_draws_the_same_scene_in_every_skin_tone():
    shown = skin_tones(load_encoder("world"), scenes=6)
    assert shown.groups[: len(SKIN)] == tuple(f"tone {i + 1} of {len(SKIN)}" for i in range(len(SKIN)))
    assert len(shown.images) == 6 * len(SKIN) + 3 and shown.groups[-1] is None
    assert shown.prompts is not None
    first = torch.from_numpy(shown.images[: len(SKIN)])
    assert (first @ first.T).min() > 0.8 and len(first.unique(dim=0)) == len(SKIN)
    assert shown.blocks[0] == shown.blocks[len(SKIN) - 1] != shown.blocks[len(SKIN)]

import torch

from safediffusion.diffusion.condition import Condition


def rows(n, pooled=True):
    tokens = torch.arange(n * 6.0).view(n, 2, 3)
    return Condition(tokens, torch.arange(n * 4.0).view(n, 4) if pooled else None)


def same(a, b):
    pooled = a.pooled is b.pooled is None or (
        a.pooled is not None and b.pooled is not None and torch.equal(a.pooled, b.pooled)
    )
    return torch.equal(a.tokens, b.tokens) and pooled


def test_tokens_and_pooled_vectors_move_together():
    cond = rows(5)
    assert same(Condition.cat(cond.split(2)), cond) and [len(part) for part in cond.split(2)] == [2, 2, 1]
    assert same(cond.repeat_interleave(2)[torch.tensor([0, 2, 4, 6, 8])], cond)
    assert same(cond[1:2].expand(3)[torch.tensor([2])], cond[1:2])


def test_masks_and_lengths_stay_with_their_rows():
    rows = torch.arange(5)
    cond = Condition(torch.zeros(5, 3, 2), None, rows[:, None] > torch.arange(3), tuple(rows.tolist()))
    picked = cond.repeat_interleave(2)[torch.tensor([8, 2, 3])]
    assert picked.lengths == (4, 1, 1) and torch.equal(picked.mask, cond.mask[[4, 1, 1]])
    joined = Condition.cat([cond[4:].expand(2), *cond.split(2), picked.to("cpu")])
    assert joined.lengths == (4, 4, 0, 1, 2, 3, 4, 4, 1, 1)
    assert torch.equal(joined.mask.sum(1), torch.tensor(joined.lengths).clamp(max=3))
    assert torch.equal(cond.zeros_like().mask, cond.mask) and cond.zeros_like().lengths == cond.lengths


def test_a_family_without_pooled_vectors_has_none():
    cond = rows(3, pooled=False)
    assert Condition.cat([cond, cond]).pooled is None and cond[0:1].expand(2).pooled is None
    assert Condition.cat([cond, cond]).mask is None and Condition.cat([cond, cond]).lengths is None

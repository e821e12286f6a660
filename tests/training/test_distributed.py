import pytest
import torch

from safediffusion.diffusion.condition import Condition
from safediffusion.system import distributed
from safediffusion.training.algorithms.algorithm import Batch, micro_batches, optimizer_batches


@pytest.mark.parametrize(("groups", "count"), [(8, 2), (3, 2), (7, 4), (5, 5), (4, 1)])
def test_every_group_is_in_one_process_and_shares_differ_by_one_at_most(monkeypatch, groups, count):
    monkeypatch.setattr(distributed, "count", lambda: count)
    shares = []
    for rank in range(count):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(distributed.share(groups))
    assert [group for share in shares for group in share] == list(range(groups))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1 <= min(map(len, shares))


def test_an_optimizer_step_may_leave_a_process_without_rows():
    batch = Batch(
        0,
        4,
        6,
        [(1, 0), (1, 1)],
        Condition(torch.zeros(2, 1, 1)),
        Condition(torch.zeros(2, 1, 1)),
        torch.zeros(2),
    )
    steps = [batch.local(rows) for rows in optimizer_batches(batch.total, 6)]
    assert [rows.tolist() for rows in steps] == [[], [], [], [], [0], [1]]
    pairs = torch.cartesian_prod(torch.tensor([0, 2]), steps[0])
    assert list(micro_batches(pairs, 3)) == []

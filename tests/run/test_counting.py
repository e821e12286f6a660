"""FLOPs and memory are counted as they are: on shapes as on content."""

import torch
import torch.nn.functional as F

from safediffusion.diffusion.load import as_diffuser
from safediffusion.diffusion.meta import AsOnGpu
from safediffusion.run.counting import Counter, KnownResults, cost_of
from safediffusion.run.model_cost import model_cost
from tests.pipelines import FAMILIES, RESOLUTION

MIB = 2**20


def test_peak_is_of_what_lives_at_the_same_time() -> None:
    with Counter() as counter:
        a = torch.zeros(MIB)  # 4 MiB
        b = a + 1
        del a
        c = b.view(2, -1).t()  # the same storage
        b = c + 1
        del c
        b.add_(1)
    assert counter.peak == 8 * MIB and counter.now == 4 * MIB


def test_known_results_are_what_the_operation_gives() -> None:
    known, aten = KnownResults(), torch.ops.aten
    a = torch.zeros(4, 6, device="meta", dtype=torch.int32)
    whole, real = (known.result(aten.add.Tensor, (a, one), {}) for one in (1, 1.0))
    assert (whole.dtype, real.dtype) == (torch.int32, torch.float32)
    for _ in range(2):  # the second time it is known
        new = known.result(aten.native_layer_norm.default, (real, [6], None, None, 1e-5), {})
        assert [t.shape for t in new] == [(4, 6), (4, 1), (4, 1)]
        assert len({t.untyped_storage()._cdata for t in new}) == 3
        view = known.result(aten.view.default, (real, [24]), {})
        assert view.untyped_storage()._cdata == real.untyped_storage()._cdata
    content = torch.arange(3.0)
    assert known.result(aten.add.Tensor, (content, content), {}).tolist() == [0, 2, 4]


def test_gradients_and_weights_are_not_counted() -> None:
    weight = torch.zeros(1000, 1000, requires_grad=True)  # 4 MB
    cost = cost_of(lambda rows: torch.ones(rows, 1000) @ weight, [weight], learns=True)
    assert weight.grad is None
    assert cost.flops == 2 * 2 * 1000**2  # forward, and the gradient of the weight
    assert cost.peak(1) < 4e6 + 50_000, "the gradient itself, before it is handed over, and some rows"


def test_memory_is_linear_in_rows() -> None:
    diffuser = as_diffuser(FAMILIES["sd"](), resolution=RESOLUTION)
    model = model_cost(diffuser, 4, recompute=False)
    cond = diffuser.encode([""])
    own = list(diffuser.network.parameters())
    with Counter(own) as counter:
        latents = torch.zeros(6, *diffuser.latent_shape)
        t = diffuser.process.timestep(torch.ones(6, dtype=torch.long))
        diffuser.predict(latents, t, cond.expand(6), 1.0).sum().backward()
    assert abs(counter.peak / model.learned.peak(6) - 1) < 0.1


def test_shapes_cost_what_content_costs() -> None:
    """The meta device has a GPU's attention: fewer bytes than a CPU's, and as many FLOPs."""
    for family in FAMILIES.keys() - {"sd-v"}:
        real, shapes = (
            model_cost(as_diffuser(FAMILIES[family](), device, resolution=RESOLUTION), 4, recompute=True)
            for device in ("cpu", "meta")
        )
        assert shapes.drawn.flops == real.drawn.flops, family
        assert shapes.trainable == real.trainable


def test_half_precision_is_where_autocast_has_it() -> None:
    x, weight = torch.zeros(2, 8, device="meta"), torch.zeros(8, 8, device="meta", requires_grad=True)
    with AsOnGpu(torch.bfloat16):
        product = F.linear(x, weight)
        assert product.dtype == torch.bfloat16
        assert F.layer_norm(product, (8,)).dtype == torch.float32
        q = torch.zeros(1, 2, 16, 8, device="meta")
        assert F.scaled_dot_product_attention(q, q, q).dtype == torch.bfloat16
    with AsOnGpu(torch.float32):
        assert F.linear(x, weight).dtype == torch.float32

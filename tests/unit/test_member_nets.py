"""M networks side by side are M networks: layer by layer against torch's own, and as a whole."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nets.heads import CosineHead, Head, LinearHead
from trainer.nets.member import Init, MemberBatchNorm2d, MemberConv2d, better_alone, initialise, member_linear
from trainer.nets.resnet import ResNet, build

M, B = 3, 4


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def parameters(net: nn.Module, but: str = "") -> int:
    return sum(p.numel() for name, p in net.named_parameters() if not but or but not in name)


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 1, 8), (3, 2, 8), (1, 2, 7), (7, 2, 16)])
def test_convolutions_are_separate_ones(kernel: int, stride: int, size: int) -> None:
    conv = MemberConv2d(M, 2, 5, kernel, stride).double()
    initialise(conv, range(M))
    x = draw(B, M * 2, size, size).requires_grad_()
    y = conv(x)
    weights = conv.weight.permute(0, 1, 4, 2, 3)
    singles = [
        F.conv2d(x_m, weight, stride=stride, padding=kernel // 2)
        for weight, x_m in zip(weights, x.chunk(M, dim=1), strict=True)
    ]
    torch.testing.assert_close(y, torch.cat(singles, dim=1), rtol=0, atol=1e-12)
    # What member 1 makes depends on member 1 alone.
    grad, grad_weight = torch.autograd.grad(y.chunk(M, dim=1)[1].square().sum(), (x, conv.weight))
    assert [bool(part.any()) for part in grad.chunk(M, dim=1)] == [False, True, False]
    assert [bool(part.any()) for part in grad_weight] == [False, True, False]


def test_batch_norm_is_a_members_own() -> None:
    norm = MemberBatchNorm2d(M, 5).double()
    singles = [nn.BatchNorm2d(5).double() for _ in range(M)]
    with torch.no_grad():
        norm.weight.copy_(draw(M, 5, seed=1))
        norm.bias.copy_(draw(M, 5, seed=2))
        for m, single in enumerate(singles):
            single.weight.copy_(norm.weight[m])
            single.bias.copy_(norm.bias[m])
    for training in (True, True, False):
        norm.train(training)
        x = draw(B, M * 5, 6, 6, seed=3) * 2 + 1
        expected = [single.train(training)(part) for single, part in zip(singles, x.chunk(M, dim=1), strict=True)]
        torch.testing.assert_close(norm(x), torch.cat(expected, dim=1), rtol=0, atol=1e-12)
    for m, single in enumerate(singles):
        assert single.running_mean is not None
        assert single.running_var is not None
        torch.testing.assert_close(norm.running_mean[m], single.running_mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(norm.running_var[m], single.running_var, rtol=0, atol=1e-12)


def test_linear_layers_are_separate_ones() -> None:
    x, weight, bias = draw(M, B, 7), draw(M, 5, 7, seed=1), draw(M, 5, seed=2)
    expected = torch.stack([F.linear(x[m], weight[m], bias[m]) for m in range(M)])
    torch.testing.assert_close(member_linear(x, weight, bias), expected, rtol=0, atol=1e-12)


def state(net: nn.Module, member: int) -> dict[str, Tensor]:
    return {name: value[member] for name, value in net.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "init"), [("small", "fan_out"), ("small", "fan_in"), ("resnet32", "fan_out"), ("resnet18", "fan_out")]
)
def test_weights_are_drawn_whoever_stands_beside(name: str, init: Init) -> None:
    beside, alone = build(name, 1, [4, 7, 4], init=init), build(name, 1, [7], init=init)
    for key, value in state(alone, 0).items():
        assert torch.equal(state(beside, 1)[key], value), key
        assert torch.equal(state(beside, 0)[key], state(beside, 2)[key]), key
    assert not torch.equal(state(beside, 0)["stem.weight"], state(beside, 1)["stem.weight"])


@pytest.mark.parametrize("init", ["fan_out", "fan_in"])
def test_weights_have_kaimings_spread(init: Init) -> None:
    net = build("resnet32", 3, [0], init=init)
    convolutions = [module for module in net.modules() if isinstance(module, MemberConv2d)]
    assert len(convolutions) == 31 + 2
    for conv in convolutions:
        _, c_out, k, _, c_in = conv.weight.shape
        spread = (2 / ({"fan_out": c_out, "fan_in": c_in}[init] * k * k)) ** 0.5
        assert abs(float(conv.weight.detach().std()) / spread - 1) < 4 / (2 * conv.weight.numel()) ** 0.5


def grown(head: Head, *seeds: int, init: Init = "fan_in") -> Tensor:
    """The rows of eight classes, by fan-in if not said otherwise, after three other classes."""
    head.init = init
    for task, classes in enumerate((3, 8)):
        head.grow(classes, seeds, task)
    return head.weight_MKD.detach()[:, 3:]


def test_rows_by_fan_in() -> None:
    rows = grown(LinearHead(2, 512), 4, 7)
    assert float(rows.std()) == pytest.approx((2 / 512) ** 0.5, rel=0.03)
    assert torch.equal(rows[1:], grown(LinearHead(1, 512), 7))
    assert not torch.equal(rows[0], rows[1])
    assert float(grown(LinearHead(2, 512, deviation=0.01), 4, 7).std()) == pytest.approx(0.01, rel=0.03)
    proxies = grown(CosineHead(2, 512, proxies=3), 4, 7).unflatten(2, (3, 512))
    torch.testing.assert_close(proxies.norm(dim=3), torch.ones(2, 8, 3))


def test_rows_of_a_wide_head() -> None:
    """Kaiming uniform for a linear layer: rows of the default times sqrt(3), and no biases."""
    head = LinearHead(2, 512)
    rows = grown(head, 4, 7, init="fan_out_wide_head")
    torch.testing.assert_close(rows, 3**0.5 * grown(LinearHead(2, 512), 4, 7, init="fan_out"))
    assert 0.99 < float(rows.abs().max()) / (3 / 512) ** 0.5 <= 1
    assert not head.bias_MK.detach().any()


@pytest.mark.parametrize("training", [True, False])
def test_a_network_beside_others_is_the_network_alone(training: bool) -> None:
    fused = build("small", 1, [0, 1, 2]).double().train(training)
    x = draw(B, M, 8, 8)
    found = fused(x).features_MBD
    for m in range(M):
        alone = build("small", 1, [m]).double().train(training)
        torch.testing.assert_close(found[m], alone(x[:, m : m + 1]).features_MBD[0], rtol=0, atol=1e-11)


@pytest.mark.parametrize("side", [8, 80])  # together, and one after another
@pytest.mark.parametrize(("name", "shortcut", "last_relu"), [("small", "conv", True), ("small", "pad", False)])
def test_a_folded_network_makes_the_same_maps(name: str, shortcut: Any, last_relu: bool, side: int) -> None:
    net = build(name, 1, range(M), shortcut=shortcut, last_relu=last_relu).double()
    with torch.no_grad():
        for number, norm in enumerate(module for module in net.modules() if isinstance(module, MemberBatchNorm2d)):
            for tensor in (norm.weight, norm.bias, norm.running_mean):
                tensor.copy_(draw(*tensor.shape, seed=number))
            norm.running_var.copy_(draw(*norm.running_var.shape, seed=number).abs() + 0.1)
        before = {key: value.clone() for key, value in net.state_dict().items()}
        found, expected = (one(draw(B, M, side, side)) for one in (net.folded(torch.float64), net.eval()))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert better_alone(draw(B, M, side, side), M) == (side == 80)
    assert not any(isinstance(module, MemberBatchNorm2d) for module in net.folded(torch.float64).modules())
    torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)


def test_resnet32_is_the_papers() -> None:
    """0.46 M parameters (He et al., CVPR 2016) without the classifier's; two 1x1 shortcuts with their norms."""
    net = build("resnet32", 3, [0])
    shortcuts = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    assert parameters(net, but="shortcut") == 463_504
    assert parameters(net) == 463_504 + shortcuts
    assert parameters(build("resnet32", 3, [0], shortcut="pad")) == 463_504
    assert net.features == 64
    assert build("resnet32", 3, [0, 1])(torch.zeros(2, 6, 32, 32)).features_MBD.shape == (2, 2, 64)


def test_resnet18_is_torchvisions() -> None:
    """11,689,512 parameters with the classifier of 1000 classes."""
    net: ResNet = build("resnet18", 3, [0])
    assert parameters(net) == 11_689_512 - (512 * 1000 + 1000)
    assert net.features == 512
    with torch.no_grad():
        assert net.eval()(torch.zeros(1, 3, 64, 64)).features_MBD.shape == (1, 1, 512)

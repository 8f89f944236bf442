"""The section ``net`` of a run file: the network."""

from typing import Literal

from pydantic import Field

from trainer.nets.member import Init
from trainer.section import Section


class NetConfig(Section):
    """The backbone that all tasks share; the classifier on it is the method's."""

    name: Literal["resnet32", "resnet18", "small"] = Field(
        "resnet32",
        description="resnet32: 32 px, 64 features; resnet18: 224 px, 512 features; small: digits, 64 features",
    )
    shortcut: Literal["conv", "pad"] = Field(
        "conv", description="where the shape changes: 1x1 convolution with batch norm, or zero-padded channels"
    )
    init: Init = Field(
        "fan_out",
        description="initial weights: Kaiming normal convolutions by fan-out and heads uniform in ±1/sqrt(features), "
        "or, as in codes for long-tailed recognition, Kaiming normal convolutions and linear heads by fan-in, and rows "
        "of norm 1 in cosine heads; or, as in PyCIL, convolutions by fan-out, and linear heads uniform in "
        "±sqrt(3/features) without biases",
    )

"""RunConfig: everything that decides a result, and nothing else.

No output path, device, precision or number of members is in here. ``run_id`` is the hash of the
content, so two equal configurations are the same run wherever and whenever they are met.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, field_validator, model_validator

from trainer.config.explain import explain
from trainer.errors import ConfigError
from trainer.methods.base import Method, find, names

LARGEST_SEED = 2**31 - 1


class Section(BaseModel):
    """A strict, frozen part of a configuration: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Fraction = Annotated[float, Field(ge=0, lt=1)]


class Imbalance(Section):
    """The long tail that is cut into the training images."""

    ratio: float = Field(1.0, ge=1, le=10_000, description="images of the largest class over images of the smallest")
    order: Literal["shuffled", "ordered", "balanced"] = Field(
        "shuffled",
        description="shuffled: sizes independent of the order of learning (LT); ordered: largest classes first (LTIO); "
        "balanced: no tail (conventional)",
    )
    profile: Literal["label", "position"] = Field(
        "label",
        description="what the exponential profile runs over before any shuffle: the data set's own labels "
        "(CIFAR) or the positions in the class order (ImageNetSubset, Food101)",
    )
    max_per_class: int | None = Field(
        None, ge=1, description="images of the largest class; null: all that the first class of the profile has"
    )
    draw: Literal["random", "first"] = Field(
        "random", description="which images stay: a seeded draw (CIFAR) or the first ones listed (ImageNetSubset)"
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="of the draw of images and of the shuffle of sizes; apart from the run's seed"
    )


class Evaluation(Section):
    """The images that accuracies are measured on."""

    split: Literal["test", "validation"] = Field(
        "test", description="test: the data set's test images; validation: images taken from the training images"
    )
    per_class: int = Field(25, ge=1, description="validation images of each class, taken before the tail is cut")
    seed: int = Field(0, ge=0, description="of the draw of the validation images")


class DataConfig(Section):
    """Which images, how many of each class, and how they reach the network."""

    source: Literal["digits", "parquet", "cifar100", "food101", "imagenet_subset", "image_folder"] = Field(
        "digits", description="where the images come from"
    )
    path: str | None = Field(
        None, description="folder of the images; environment variables such as ${IMAGENET32} are filled in"
    )
    image_column: str = Field("image", description="parquet: column of the image bytes or Hugging Face image structs")
    label_column: str = Field("label", description="parquet: column of the labels, integers or names")
    on_bad_image: Literal["error", "skip"] = Field("error", description="what a corrupt or missing image does")
    resize: int | None = Field(
        None,
        ge=4,
        le=1024,
        description="short side in pixels that images are stored at, as centre squares; null: as they are, "
        "but 256 for imagenet_subset and food101",
    )
    crop: int = Field(32, ge=4, le=1024, description="side in pixels of what the network sees")
    augment: Literal["resized_crop", "random_crop", "none"] = Field(
        "resized_crop", description="training: random resized crop, or random crop, each with flip; or nothing"
    )
    pad: int = Field(4, ge=0, le=64, description="zero padding in pixels before the training crop")
    flip: bool = Field(True, description="training: mirror half of the images")
    normalise: Literal["cifar100", "cifar10", "cifar10_image_std", "imagenet", "half"] = Field(
        "cifar100",
        description="whose channel means and deviations; cifar10_image_std: deviations within an image, not over all "
        "pixels (long-tailed recognition); half: 0.5 and 0.5",
    )
    imbalance: Imbalance = Imbalance()
    holdout_fraction: Fraction = Field(
        0.0, description="part of each class left out after the tail is cut, unused, as the released code does (0.1)"
    )
    evaluation: Evaluation = Evaluation()


class ClassOrder(Section):
    """The order in which classes are learnt."""

    seed: int | None = Field(1993, ge=0, lt=2**32, description="of the permutation; null: the data set's own order")
    classes: tuple[int, ...] | None = Field(None, description="the order itself, all classes, instead of a seed")

    @field_validator("classes", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Protocol(Section):
    """How the classes are cut into tasks."""

    kind: Literal["lfs", "lfh"] = Field(
        "lfs", description="lfs: from scratch, equal tasks; lfh: half of the classes first"
    )
    tasks: int = Field(10, ge=1, le=1000, description="lfs: number of tasks; lfh: number of tasks after the first half")
    first_task_classes: int | None = Field(None, ge=1, description="classes of the first task; null: by kind")
    class_order: ClassOrder = ClassOrder()


class NetConfig(Section):
    name: Literal["resnet32", "resnet18", "small"] = Field(
        "resnet32",
        description="resnet32: 32 px, 64 features; resnet18: 224 px, 512 features; small: digits, 64 features",
    )
    shortcut: Literal["conv", "pad"] = Field(
        "conv", description="where the shape changes: 1x1 convolution with batch norm, or zero-padded channels"
    )


class MemoryConfig(Section):
    """Exemplars kept of each old class."""

    per_class: int = Field(20, ge=0, le=100_000, description="exemplars kept of each class")
    selection: Literal["herding", "random"] = Field("herding", description="how exemplars are chosen")


class OptimConfig(Section):
    """SGD and its schedule, started afresh in every stage."""

    epochs: int = Field(160, ge=1, le=10_000, description="epochs of each task")
    lr: float = Field(0.1, gt=0, le=100, description="learning rate")
    schedule: Literal["milestones", "cosine"] = Field(
        "milestones", description="the learning rate falls at milestones, or along half a cosine to 0"
    )
    milestones: tuple[int, ...] = Field(
        (80, 120), description="epochs after which the learning rate is multiplied by gamma"
    )
    gamma: float = Field(0.1, gt=0, le=1, description="factor of the learning rate at a milestone")
    warmup_epochs: int = Field(0, ge=0, le=1000, description="epochs over which the learning rate rises linearly")
    batch_size: int = Field(128, ge=1, le=65_536)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0, le=1)
    clip_norm: float | None = Field(None, gt=0, description="largest norm of a run's gradient; null: not clipped")

    @field_validator("milestones", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)) or any(m < 1 for m in self.milestones):
            raise ValueError("milestones must be rising epochs from 1 on")
        return self


class Stage2(Section):
    """A second stage that balances the classifier (Liu et al., Long-Tailed CIL, ECCV 2022), after any method's own."""

    epochs: int = Field(30, ge=1, le=10_000)
    lr: float = Field(0.1, gt=0, le=100, description="learning rate of the new rows of the head, falling as a cosine")
    scale_lr_factor: float = Field(0.1, gt=0, le=10, description="of the learning rate of the factors on the logits")
    images_per_visit: int = Field(4, ge=1, description="images of a class that the class-aware sampler takes in a row")


class RunConfig(Section):
    """One run: one configuration and one seed."""

    data: DataConfig = DataConfig()
    protocol: Protocol = Protocol()
    net: NetConfig = NetConfig()
    method: SerializeAsAny[Method]
    memory: MemoryConfig = MemoryConfig()
    optim: OptimConfig = OptimConfig()
    stage2: Stage2 | None = Field(None, description="null: none")
    seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="of initial weights, shuffles, augmentation and random exemplars"
    )

    @field_validator("method", mode="before")
    @classmethod
    def _method_by_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "name" not in value:
            raise ConfigError("is missing", field="method.name", allowed=", ".join(names()))
        method = find(value["name"])
        try:
            return method.model_validate({k: v for k, v in value.items() if k != "name"})
        except ValidationError as error:
            raise explain(error, method, prefix="method.") from None

    def as_dict(self) -> dict[str, Any]:
        """Every field written out, defaults too, under the names that files use, as YAML can hold it."""
        dumped = self.model_dump(mode="json", by_alias=True)
        return {**dumped, "method": {"name": self.method.name, **dumped["method"]}}

    @property
    def run_id(self) -> str:
        """Hash of the content. Where the images lie does not decide a result; the store adds their fingerprint."""
        return content_hash(self._identity())

    @property
    def config_id(self) -> str:
        """Hash of the content but for the seed: runs that differ in their seed alone share it."""
        return content_hash({k: v for k, v in self._identity().items() if k != "seed"})

    @property
    def first_task_id(self) -> str:
        """Hash of what acts in the first task: runs that share it share that task's training."""
        identity = self._identity()
        later = self.method.fields_from_task(1)
        identity["method"] = {k: v for k, v in identity["method"].items() if k not in later}
        return content_hash(identity)

    def trains_together_with(self, other: RunConfig) -> bool:
        """Whether both can be members of one pass: they differ only in the seed and in per-member fields."""
        return self._shared_fields() == other._shared_fields()

    def _shared_fields(self) -> dict[str, Any]:
        config = self.as_dict()
        per_member = self.method.per_member_fields()
        config["method"] = {k: v for k, v in config["method"].items() if k not in per_member}
        return {k: v for k, v in config.items() if k != "seed"}

    def _identity(self) -> dict[str, Any]:
        config = self.as_dict()
        config["data"] = {k: v for k, v in config["data"].items() if k != "path"}
        return config


def content_hash(content: Any) -> str:
    """16 hex digits of the canonical JSON of ``content``."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

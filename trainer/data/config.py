"""The sections ``data`` and ``protocol`` of a run file: images and tasks."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from trainer.registry import OneOf, files
from trainer.section import Section


class Imbalance(Section):
    """The long tail that is cut into the training images."""

    ratio: float = Field(1.0, ge=1, le=10_000, description="images of the largest class over images of the smallest")
    order: Literal["shuffled", "ordered", "balanced"] = Field(
        "shuffled",
        description="shuffled: sizes independent of the order of learning (LT); ordered: largest classes first (LTIO); "
        "balanced: no tail is cut, and none with ratio 1 (conventional)",
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
        0,
        ge=0,
        lt=2**32,
        description="seed of the draw of images and the shuffle of sizes; independent of the run's seed",
    )


class Evaluation(Section):
    """The images that accuracies are measured on."""

    split: Literal["test", "validation", "validation_from_train"] = Field(
        "test",
        description="test: the data set's test images, its validation images where it has no others, or a fifth of "
        "each class by content where it has neither; validation: its own validation images, or images cut from the "
        "training images where it has none besides its test images; validation_from_train: cut in any case",
    )
    per_class: int = Field(
        25,
        ge=1,
        description="validation images of each class that are cut before the tail is, at most: of a class with less "
        "than five times as many a fifth, one at least, none of one image",
    )
    seed: int = Field(0, ge=0, description="seed of the draw of validation images")


class DataConfig(Section):
    """Which images, how many of each class, and how they reach the network."""

    source: Annotated[str, OneOf(lambda: files("trainer.data.sources"))] = Field(
        "digits", description="where the images come from"
    )
    path: str | None = Field(
        None,
        description="folder or file of the images, relative to the run file or to the working directory; environment "
        "variables such as ${IMAGENET32} are filled in",
    )
    image_column: str = Field(
        "image", description="parquet: column of the image bytes or Hugging Face image structs; csv: of the image files"
    )
    label_column: str = Field("label", description="parquet, csv: column of the labels, integers or names")
    split_column: str | None = Field(
        None,
        description="parquet, csv: column that says train, test or validation; null: `split`, where the names of files "
        "say none",
    )
    classes: tuple[str, ...] | None = Field(
        None,
        min_length=2,
        description="the classes that are taken, by name, or by number from 0 where no class has a number for a name; "
        "their order in this list is that of the labels; null: all",
    )
    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="how to treat a corrupt or missing image: fail or skip it"
    )
    background: Literal["white", "grey", "black"] = Field("white", description="what transparent pixels show")
    value_range: tuple[float, float] | None = Field(
        None,
        description="pixels of more than 8 bits in one channel: the values that become black and white; null: 0 to "
        "65535 for integers, 0 to 1 for fractions, refused where the images do not fit that",
    )
    resize: int | None = Field(
        None,
        ge=4,
        le=1024,
        description="short side in pixels that images are stored at, as centre squares; null: as they are, "
        "but 256 for imagenet_subset and food101",
    )
    crop: int = Field(32, ge=4, le=1024, description="input size of the network, in pixels")
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
    holdout_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="fraction of each class left out and unused after the tail is cut, as the released code does (0.1)",
    )
    evaluation: Evaluation = Evaluation()

    @property
    def stored_side(self) -> int | None:
        """Short side in pixels that images are stored at, as centre squares; None: as they are."""
        return self.resize or {"food101": 256, "imagenet_subset": 256}.get(self.source)

    @field_validator("classes", mode="before", json_schema_input_type=tuple[str | int, ...] | None)
    @classmethod
    def _numbers_to_text(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return tuple(str(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in value)

    @field_validator("value_range", mode="before")
    @classmethod
    def _list_to_pair(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("value_range")
    @classmethod
    def _rising(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError("black must be below white")
        return value


class ClassOrder(Section):
    """The order in which classes are learnt."""

    seed: int | None = Field(
        1993, ge=0, lt=2**32, description="seed of the permutation; null: the data set's own order"
    )
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
    stop_after: int | None = Field(None, ge=1, description="tasks that are trained, the first ones; null: all")
    class_order: ClassOrder = ClassOrder()

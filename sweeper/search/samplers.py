"""Optuna's samplers and pruners by name, and how their draws are made repeatable."""

import hashlib
import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import optuna
import yaml
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from pydantic import Field

from trainer.errors import ConfigError, nearest
from trainer.section import Section

_DESIGNS = (optuna.samplers.QMCSampler, optuna.samplers.GridSampler, optuna.samplers.BruteForceSampler)
"""their seed fixes one design of which every trial is a point, so that it must be the same in every ask; they learn
nothing from outcomes, and those that end stop the study's `optimize` loop when nothing is left: there is none here"""

_READERS = (optuna.samplers.TPESampler, optuna.samplers.RandomSampler)
"""they keep no state but the study, so that restoring it can skip them, which saves time"""


class SamplerConfig(Section):
    """The sampler of a search."""

    sampler: str = Field("TPESampler", description="name of a sampler of Optuna, or import path of a class")
    seed: int = Field(0, ge=0, description="seed of the sampler")
    options: dict[str, Any] = Field({}, description="keyword arguments of the sampler")

    def find(self) -> Any:
        """The class of that name."""
        return _class(optuna.samplers, self.sampler)


class PrunerConfig(Section):
    """The pruner of a search, which stops configurations with poor results early."""

    pruner: str = Field("SuccessiveHalvingPruner", description="a pruner of Optuna or an import path; steps are tasks")
    options: dict[str, Any] = Field({}, description="keyword arguments of the pruner")

    def find(self) -> Any:
        """The class of that name."""
        return _class(optuna.pruners, self.pruner)


def note_past(search: SamplerConfig, study: optuna.Study, number: int) -> None:
    """Let the study's sampler update its state for a restored trial, whose parameters are known."""
    if search.find() not in _READERS:
        trial = study.get_trials(deepcopy=False)[number]
        study.sampler.sample_relative(study, trial, study.sampler.infer_relative_search_space(study, trial))


def sampler(search: SamplerConfig, number: int) -> BaseSampler:
    """The sampler that suggests one trial: a fresh one each time, seeded by ``search.seed`` and the trial's number.

    So a suggestion depends on nothing but the study at that time. A resumed sweep therefore gives the suggestions of an
    undisturbed one if the study is the same whenever a number is suggested: with one trial at a time and packs of one
    configuration for every sampler and pruner; with any number of trials for samplers that read no outcomes
    (RandomSampler, GridSampler). Otherwise suggestions depend on which trials have ended by then.
    """
    cls, seed = search.find(), search.seed
    if not issubclass(cls, _DESIGNS):
        digest = hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=4).digest()
        seed = int.from_bytes(digest, "little") >> 1
    seeded = {"seed": seed} if "seed" in inspect.signature(cls).parameters else {}
    return _make(cls, seeded | search.options)


def for_telling(search: SamplerConfig, number: int) -> BaseSampler:
    """The sampler while an ended trial is told: one that ends with its design would try to stop the study."""
    return optuna.samplers.RandomSampler(0) if issubclass(search.find(), _DESIGNS) else sampler(search, number)


def covers_a_grid(search: SamplerConfig) -> bool:
    """Whether the trial of each number has a point of a grid of its own."""
    return issubclass(search.find(), optuna.samplers.GridSampler)


def pruner(pruning: PrunerConfig) -> BasePruner:
    """The pruner of a study."""
    return _make(pruning.find(), pruning.options)


def check_search(search: SamplerConfig, file: str) -> None:
    """Raises ConfigError if Optuna has no such sampler, or it does not take the options."""
    if "seed" in search.options:
        problem = "is made from `search.seed` and the trial's number"
        raise ConfigError(problem, file=file, field="search.options.seed")
    _check(search, optuna.samplers, BaseSampler, file, lambda: sampler(search, 0))


def check_pruning(pruning: PrunerConfig, file: str) -> None:
    """Raises ConfigError if Optuna has no such pruner, or it does not take the options."""
    _check(pruning, optuna.pruners, BasePruner, file, lambda: pruner(pruning))


def parse_pruning(text: str, option: str) -> PrunerConfig:
    """Parse ``NAME`` or ``NAME:{option: value}``, given to ``option`` of a command.

    Raises ConfigError if Optuna has no such pruner, or it does not take the options.
    """
    name, _, options = text.partition(":")
    try:
        parsed = yaml.safe_load(options) if options.strip() else {}
    except yaml.YAMLError:
        parsed = None
    if not isinstance(parsed, dict) or not all(isinstance(option, str) for option in parsed):
        raise ConfigError(f"{options.strip()!r} are not options like {{min_resource: 2}}", field=f"{option} {name}")
    pruning = PrunerConfig(pruner=name, options=parsed)
    check_pruning(pruning, option)
    return pruning


def _check(
    config: SamplerConfig | PrunerConfig, module: Any, base: type, file: str, make: Callable[[], object]
) -> None:
    def fits(found: Any) -> bool:
        return inspect.isclass(found) and issubclass(found, base)

    name, field = _name_and_field(config)
    try:
        found = config.find()
    except Exception as error:  # a module that is imported may raise anything
        own = {name: getattr(module, name) for name in module.__all__}
        known = sorted(name for name, found in own.items() if fits(found) and not inspect.isabstract(found))
        problem = f"{name!r} cannot be imported: {error}" if "." in name else f"Optuna has no {name!r}"
        allowed = f"{', '.join(known)}, or the import path of a class"
        raise ConfigError(problem, file=file, field=field, allowed=allowed, nearest=nearest(name, known)) from None
    if not fits(found):
        raise ConfigError(f"{name!r} is not a subclass of Optuna's {base.__name__}", file=file, field=field)
    with in_one_line(config, file):
        make()


@contextmanager
def in_one_line(config: SamplerConfig | PrunerConfig, file: str) -> Iterator[None]:
    """Whatever the sampler or pruner raises, as a ConfigError: its reason, or the package that is missing."""
    name, field = _name_and_field(config)
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        problem, cause = f"{name}: {str(error) or type(error).__name__}", cast(BaseException | None, error)
        while cause is not None:
            if isinstance(cause, ModuleNotFoundError):
                problem = f"{name} needs a package that is not installed: pip install {cause.name}"
            cause = cause.__cause__ or cause.__context__
        field = f"{field.partition('.')[0]}.options" if config.options else field
        raise ConfigError(problem, file=file, field=field) from None


def _name_and_field(config: SamplerConfig | PrunerConfig) -> tuple[str, str]:
    if isinstance(config, SamplerConfig):
        return config.sampler, "search.sampler"
    return config.pruner, "pruning.pruner"


def _class(module: Any, name: str) -> Any:
    """Optuna's own class of that name, or the class at an import path such as ``package.module.Class``."""
    path, _, last = name.rpartition(".")
    if path.startswith("."):
        raise ImportError("an import path is absolute")
    return getattr(importlib.import_module(path) if path else module, last)


def _make(cls: Any, options: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls half of its samplers experimental, at every ask
        return cls(**options)

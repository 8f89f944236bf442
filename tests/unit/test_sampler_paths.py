"""Samplers that Optuna does not have, named by their import path."""

import sys
import types

import optuna
import pytest

from sweeper.search.samplers import SamplerConfig, check_search, sampler
from trainer.errors import ConfigError


class Corner(optuna.samplers.RandomSampler):
    """A sampler that is kept outside Optuna."""


def test_a_sampler_is_found_by_its_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("my_samplers")
    module.Corner = Corner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_samplers", module)
    config = SamplerConfig(sampler="my_samplers.Corner")
    check_search(config, "s.yaml")
    assert isinstance(sampler(config, 0), Corner)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_module.Sampler", "cannot be imported"),
        ("optuna.samplers.Nothing", "cannot be imported"),
        ("os.path", "is not a subclass of Optuna's BaseSampler"),
    ],
)
def test_an_import_path_that_leads_nowhere_is_one_line(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"s\.yaml: search\.sampler: .*{why}"):
        check_search(SamplerConfig(sampler=name), "s.yaml")

"""What the leader of a promotion is tested on: the sweep's own images and tasks, or those of another run file."""

from dataclasses import dataclass
from typing import Self

from sweeper.search.space import Params, Space
from trainer.config.files import load_run, override, parse_run
from trainer.config.run_config import RunConfig
from trainer.errors import ConfigError

BASE = "the sweep's base"


@dataclass(frozen=True)
class Target:
    """A run file's images and tasks, on the test split."""

    name: str
    """of the base, in messages"""
    base: RunConfig
    space: Space
    file: str | None
    """run file of another data set; None: the images and tasks are the sweep's own"""

    @classmethod
    def of(cls, space: Space, on: str | None = None) -> Self:
        """The sweep's own, or those of the run file ``on``.

        Raises ConfigError for a run file that cannot be read or is of another scenario, and for a search that varies
        the images or tasks.
        """
        if on is None:
            return cls(BASE, space.base_on_test(), space, None)
        base = load_run(on, ["data.evaluation.split=test"]).config
        ours = space.base_on_test()
        for field, own, theirs in (
            ("protocol.kind", ours.protocol.kind, base.protocol.kind),
            ("data.imbalance.order", ours.data.imbalance.order, base.data.imbalance.order),
        ):
            if own != theirs:
                problem = f"is {theirs}, and {own} in the sweep: results of one scenario say nothing of another"
                raise ConfigError(problem, file=on, field=field)
        for name in space.spec.vary:
            if name.startswith(("data.", "protocol.")):
                problem = "is searched: its values belong to the sweep's own images and tasks"
                raise ConfigError(problem, file=space.file, field=f"vary.{name}")
        return cls(on, base, space, on)

    def config(self, params: Params) -> RunConfig:
        """The configuration of the search with these parameters, here: its method whole, and what else was searched."""
        own = self.space.config(params, "test", whole=True)
        if self.file is None:
            return own
        content = self.base.as_dict() | {"method": own.as_dict()["method"]}
        override(content, [(name, value) for name, value in params.items() if not name.startswith("method.")])
        return parse_run(content, file=self.file)

"""Train given configurations with the engine of a search and store them; stored runs are not trained again."""

from collections.abc import Callable, Mapping, Sequence

from sweeper.execution.job import Job
from sweeper.execution.packing import Packing
from sweeper.execution.places import Places
from sweeper.execution.progress import Progress
from sweeper.execution.sweep import Sweep
from sweeper.execution.tune import run_trials
from sweeper.search.given import GivenConfigurations
from sweeper.search.space import Resources
from sweeper.store.cache import RunCache
from sweeper.store.store import Store
from sweeper.store.sweep_file import absolute_path
from trainer.config.run_config import RunConfig
from trainer.results.rows import RunResult


def train_given(
    groups: Mapping[str, Sequence[RunConfig]],
    store: Store,
    resources: Resources,
    metric: str,
    fingerprint: str,
    say: Callable[[str], None],
    check_stop: Callable[[], None] = lambda: None,
    own_cluster: bool = False,
) -> dict[str, list[RunResult]]:
    """The results of each group's configurations, by label and in their order, diverged and failed ones too.

    The configurations of a group are trained together, the groups side by side; a group that equals an earlier one is
    not trained twice. ``metric`` is what progress shows; ``fingerprint``: of the images that stored runs must have.
    Whatever has ended is stored at once. ``check_stop`` raises to stop; ``own_cluster``: no other process uses it.
    Raises UserError where nothing can be trained.
    """
    cache = RunCache(store.folder.parent, fingerprint)
    held = cache.find([config.run_id for configs in groups.values() for config in configs])
    missing: dict[str, list[RunConfig]] = {}
    for label, configs in groups.items():
        wanted = [absolute_path(config) for config in configs if config.run_id not in held]
        if wanted and wanted not in missing.values():
            missing[label] = wanted
    stored = store.trials()
    given = GivenConfigurations(missing, first=max(stored, default=-1) + 1)
    protocols = [config.protocol for own in missing.values() for config in own]
    tasks = max((protocol.tasks + (protocol.kind == "lfh") for protocol in protocols), default=0)
    progress = Progress(store.folder, len(stored) + len(missing), tasks, metric, say)
    progress.status.done = len(stored)
    job = Job(store.folder.reachable, resources, metric)
    if missing:
        run_trials(
            Sweep(given, job, store, progress, packing=Packing.stated(resources)),
            places=Places(resources, own_cluster=own_cluster),
            check_stop=check_stop,
        )
    progress.end("finished")
    for outcome in given.outcomes.values():
        held |= {result.run_id: result for result in outcome.results}
    return {label: [held[config.run_id] for config in configs] for label, configs in groups.items()}

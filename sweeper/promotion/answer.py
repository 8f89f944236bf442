"""The decision of a promotion with its evidence, for programs."""

from pydantic import Field

from sweeper.store.results import open_results
from sweeper.store.schema import PromotionRow
from sweeper.store.store import Store


class Promotion(PromotionRow):
    """A decision about a run file, as the table ``promotions`` holds it."""

    forced: bool = Field(description="whether the run file was written without evidence")


def latest(store: Store, *, forced: bool) -> Promotion:
    """The last decision about a configuration of the sweep in ``store``, which has one."""
    newest = "FROM promotions WHERE sweep = $sweep ORDER BY decided_at DESC LIMIT 1"
    (row,) = open_results(store.folder.parent, store.sweep).sql(newest, sweep=store.sweep).rows()
    return Promotion(**row, forced=forced)

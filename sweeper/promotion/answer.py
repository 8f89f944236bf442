"""The decision of a promotion with its evidence, for programs."""

from pydantic import Field

from sweeper.store.results import last_promotion, open_results
from sweeper.store.schema import PromotionRow
from sweeper.store.store import Store


class Promotion(PromotionRow):
    """A decision about a run file, as the table ``promotions`` holds it."""

    forced: bool = Field(description="whether the run file was written without evidence")


def latest(store: Store, *, forced: bool) -> Promotion:
    """The last decision about a configuration of the sweep in ``store``, which has one."""
    row = last_promotion(open_results(store.folder.parent, store.sweep), store.sweep)
    assert row is not None
    return Promotion(**row, forced=forced)

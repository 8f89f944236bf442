"""Points of a front that have a name, each as the SQL that chooses it."""

from collections.abc import Sequence

from trainer.errors import ConfigError, nearest

NAMES = ("best", "balanced", "cheapest")


def check_point(point: str) -> None:
    """Raises ConfigError for what is neither a name nor a number."""
    if point not in NAMES and not point.isdecimal():
        allowed = f"{', '.join(NAMES)}, or the number of a trial"
        raise ConfigError("no such point", field=f"--point {point}", allowed=allowed, nearest=nearest(point, NAMES))


def point_query(point: str, metric: str, directions: Sequence[str]) -> str:
    """The SQL whose one row is the configuration: ``trial``, ``params_json`` and the first objective as ``value``.

    ``point``: ``best`` in the first objective; ``balanced``, the nearest to the best of each objective where 0 is the
    best and 1 the worst on the front; ``cheapest`` in device seconds; or the number of a finished trial that meets the
    constraints. Of equal ones, the first. ``directions`` of the objectives; ``metric`` of the first.
    """
    if point not in NAMES:
        return (
            f"SELECT trial, params_json, {metric} AS value FROM seeds WHERE sweep = $sweep AND status = 'finished' "
            f"AND feasible AND {metric} IS NOT NULL AND trial = {int(point)}"
        )
    gaps = [_gap(f"means[{place}]", direction) for place, direction in enumerate(directions, 1)]
    order = {"best": f"power({gaps[0]}, 2)", "balanced": " + ".join(f"power({gap}, 2)" for gap in gaps)}
    chosen = order.get(point, "device_s / n")
    front = "SELECT trial, params_json, means[1] AS value FROM front WHERE sweep = $sweep"
    return f"{front} ORDER BY {chosen}, trial LIMIT 1"


def _gap(mean: str, direction: str) -> str:
    """How far a mean is from the best on the front: from 0 to 1, the worst."""
    best = "max" if direction == "maximize" else "min"
    return f"coalesce(({mean} - {best}({mean}) OVER ()) / nullif(max({mean}) OVER () - min({mean}) OVER (), 0), 0)"

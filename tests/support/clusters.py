"""Ray clusters of several nodes on this machine."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from ray.cluster_utils import Cluster

from sweeper.execution.cluster import AuthenticationTokenLoader, use_fresh_token


@contextlib.contextmanager
def running_cluster(**head: Any) -> Iterator[Cluster]:
    """A cluster of one node, with a token that this process and the commands that it starts have for this block.

    ``head``: options of the node. Ray keeps the first token that it reads: without this block's end the next cluster
    of the process would be asked for with this one's.
    """
    before = os.environ.get("RAY_AUTH_TOKEN")
    use_fresh_token()
    cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **head})
    try:
        yield cluster
    finally:
        cluster.shutdown()
        if before is None:
            os.environ.pop("RAY_AUTH_TOKEN", None)
        else:
            os.environ["RAY_AUTH_TOKEN"] = before
        AuthenticationTokenLoader.instance().reset_cache()

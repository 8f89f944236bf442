"""Ray clusters of several nodes on this machine."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from sweeper.execution.cluster import AuthenticationTokenLoader, use_fresh_token


@contextlib.contextmanager
def running_cluster(**head: Any) -> Iterator[Cluster]:
    """A cluster of one node, with a token that this process and the commands that it starts have for this block.

    ``head``: options of the node. Ray keeps the first token that it reads: without this block's end the next cluster
    of the process would be asked for with this one's.
    """
    with _own_token():
        cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **head})
        try:
            yield cluster
        finally:
            cluster.shutdown()


@contextlib.contextmanager
def _own_token() -> Iterator[None]:
    before = os.environ.get("RAY_AUTH_TOKEN")
    use_fresh_token()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("RAY_AUTH_TOKEN", None)
        else:
            os.environ["RAY_AUTH_TOKEN"] = before
        AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def growing_cluster(folder: Path, *, most: int, idle_s: float) -> Iterator[str]:
    """The address of a cluster whose head trains nothing and whose autoscaler adds up to ``most`` nodes of one CPU.

    Ray's own fake provider makes them on this machine. One that was idle for ``idle_s`` is removed. ``folder``: for
    Ray's files; its path leaves room for the names of sockets.
    """
    port, client_port = _free_ports(2)
    address = f"127.0.0.1:{port}"
    config = {
        "cluster_name": "fake",
        "max_workers": most,
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": idle_s / 60,
        "provider": {
            "type": "fake_multinode",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "gcs_address": address,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": most},
        },
        "head_node_type": "ray.head.default",
        **{name: {} for name in ("auth", "file_mounts")},
        **{name: [] for name in ("cluster_synced_files", "initialization_commands", "setup_commands")},
        **{f"{node}_{what}": [] for node in ("head", "worker") for what in ("setup_commands", "start_ray_commands")},
    }
    (folder / "autoscaler.json").write_text(json.dumps(config))
    ray = str(Path(sys.executable).with_name("ray"))
    options = [f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    options += [
        f"--ray-client-server-port={client_port}",
        f"--autoscaling-config={folder / 'autoscaler.json'}",
        f"--temp-dir={folder / 'r'}",
    ]
    with _own_token():
        mark = f"CIL_TEST_CLUSTER={folder}"
        environment = os.environ | {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
        environment |= dict([mark.split("=")])
        command = [ray, "start", "--head", "--block", *options]
        head = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            check = [ray, "health-check", "--address", address]
            while subprocess.run(check, check=False, capture_output=True).returncode:
                assert head.poll() is None
                assert time.monotonic() < deadline
            yield address
        finally:
            head.terminate()
            head.wait(60)
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if mark.encode() in (process / "environ").read_bytes():
                        os.kill(int(process.name), signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]

"""Connect to a running Ray cluster, or start one on this machine."""

import atexit
import contextlib
import logging
import math
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray
from ray._raylet import (  # type: ignore[attr-defined]
    AuthenticationMode,
    AuthenticationTokenLoader,
    get_authentication_mode,
)

import trainer
from sweeper.execution.dashboard import unauthenticated_warning
from sweeper.execution.scratch import scratch_folder
from sweeper.execution.signals import kept_handlers
from sweeper.search.space import Resources
from trainer.errors import UserError

NOT_SENT = [
    *("/.git", "/.venv", "/results", "/out", "/data"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", "__pycache__"),
]
"""what lies beside the code, as patterns of .gitignore; the slash keeps trainer/data"""

_LONGEST_TMPDIR = 30
"""bytes that leave room for Ray's own names: session, process and socket"""


class ClusterError(UserError):
    """No Ray cluster can be reached, or it can never hold a trial."""


def find_address(given: str | None) -> str | None:
    """The address of the cluster to use: ``given``, otherwise ``$RAY_ADDRESS``; None to start one here."""
    return given or os.environ.get("RAY_ADDRESS")


@contextlib.contextmanager
def connected(address: str | None, say: Callable[[str], None] = print) -> Iterator[str]:
    """Connect to the cluster at ``address``, otherwise at ``$RAY_ADDRESS``, otherwise to one started for this block.

    Gives the address of the cluster. ``say`` takes a line: that one is started, a warning that all may enter it.
    Raises ClusterError.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # Tune's own boxes and tables
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    address = find_address(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    with contextlib.ExitStack() as undo:
        undo.callback(keep_the_terminal)
        if address is None:
            options["_temp_dir"] = undo.enter_context(_private_folder())
        undo.callback(ray.shutdown)
        with kept_handlers():
            if address is None:
                say("starting Ray on this machine")
                _start_own(options)
            else:
                _connect(address, options, say)
        # It prints a traceback for every trial that is retried; the driver says so in a line.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        yield ray.get_runtime_context().gcs_address


def keep_the_terminal() -> None:
    """Keep Ray, which has started colorama, from resetting a terminal's colours when this process ends: it has none."""
    colorama = sys.modules.get("colorama.initialise")
    if colorama is not None:
        atexit.unregister(colorama.reset_all)


def _connect(address: str, options: dict[str, Any], say: Callable[[str], None]) -> None:
    """Connect to a cluster that runs. Raises ClusterError."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:  # a job's code is on the nodes already
        options["runtime_env"] = {"working_dir": ".", "excludes": NOT_SENT, **_installed_code()}
    _check_reachable(address)
    tokenless = not AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
    if tokenless:  # Ray insists on one; a cluster without authentication ignores it
        use_fresh_token()
    try:
        context = ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        hint = "; if it requires a token, set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH" if tokenless else ""
        raise ClusterError(f"no Ray cluster at {address}: {first}{hint}") from None
    warning = unauthenticated_warning(context.dashboard_url)
    if warning:
        say(warning)


def _installed_code() -> dict[str, Any]:
    """What of a runtime environment sends this code where it is installed, and so not in the working directory."""
    home = Path(trainer.__file__).resolve().parents[1]
    if not (home / "__init__.py").is_file():  # a checkout
        return {}
    return {"py_modules": [str(home)], "worker_process_setup_hook": f"{home.name}.enter"}


def use_fresh_token() -> None:
    """Give this process, and the cluster that it starts, a random token of their own.

    Without one, anyone who can reach this machine's ports can run code as the user. Raises ClusterError if Ray was
    imported before this package, with authentication off: too late.
    """
    if get_authentication_mode() != AuthenticationMode.TOKEN:
        raise ClusterError("Ray was imported without token authentication: import sweeper.execution before ray")
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    AuthenticationTokenLoader.instance().reset_cache()


def _start_own(options: dict[str, Any]) -> None:
    """Start a cluster on this machine. Raises ClusterError if Ray does not start.

    Ray gives its processes half a minute, which is too short on a machine under load: it gets a second try.
    """
    use_fresh_token()
    try:
        ray.init(address="local", include_dashboard=False, **options)
    except Exception:  # Ray raises no narrower one
        ray.shutdown()
        try:
            ray.init(address="local", include_dashboard=False, **options)
        except Exception as error:
            raise _not_started(error) from None


def _not_started(error: Exception) -> ClusterError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ClusterError(f"Ray does not start on this machine: {first}")


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    """A folder for Ray's temporary files that this user alone can enter: the files themselves are for all to read.

    Its path is short, because those of sockets in it have at most 107 bytes. Raises ClusterError if it cannot be made.
    """
    above = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(above) > _LONGEST_TMPDIR and "RAY_TMPDIR" not in os.environ:
        above = "/tmp"
    with contextlib.ExitStack() as undo:
        try:
            folder = undo.enter_context(scratch_folder("ray-", above))
        except OSError as error:
            raise _not_started(error) from None
        yield f"{folder}/r"  # Ray opens the folder that it is given to all users


def _check_reachable(address: str) -> None:
    """Raises ClusterError if nothing listens there: Ray would try for minutes, with a line for each attempt."""
    if address in ("auto", "local"):
        return
    try:
        url = urlsplit(address if "://" in address else f"//{address}")
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if host is None or port is None:
        raise ClusterError(f"not the address of a Ray cluster: {address!r}; allowed: HOST:PORT, ray://HOST:PORT, auto")
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        raise ClusterError(f"no Ray cluster at {address}: {error.strerror or error}") from None


def fits(resources: Resources) -> int:
    """The number of trials that the cluster can hold at a time, all of its resources counted; 0 if none."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    shares = ([has.get(name, 0.0) / need for name, need in needs(resources).items()] for has in nodes)
    return sum(math.floor(min(share) + 1e-9) for share in shares)


def must_wait(resources: Resources) -> str | None:
    """The reason why another trial would have to wait; None if it could start now."""
    free = ray.available_resources()
    room = all(free.get(name, 0.0) >= need for name, need in needs(resources).items())
    return None if room and fits(resources) else why_waiting(resources)


def why_waiting(resources: Resources) -> str:
    """The reason why no trial can start now."""
    needed = ", ".join(f"{need:g} {name}" for name, need in needs(resources).items())
    if not fits(resources):
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        each = "; ".join(sorted({f"{has.get('CPU', 0):g} CPU, {has.get('GPU', 0):g} GPU" for has in nodes}))
        return f"a trial needs {needed} on one node; the nodes of the cluster have {each}"
    free = ray.available_resources()
    return f"a trial needs {needed}; the cluster has {free.get('CPU', 0):g} CPU, {free.get('GPU', 0):g} GPU free"


def needs(resources: Resources) -> dict[str, float]:
    """What a trial takes of its node, by Ray's names."""
    return {"CPU": resources.cpu} | ({"GPU": resources.gpu} if resources.gpu else {})

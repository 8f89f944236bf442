"""Whether a Ray dashboard lies open: whoever reaches its job port runs code on the whole cluster."""

from __future__ import annotations

import ipaddress
import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

TIMEOUT_S = 3.0


def exposed(dashboard_url: str | None) -> str | None:
    """One line of warning if the dashboard answers strangers from beyond this machine, else None.

    ``dashboard_url`` as Ray gives it: ``HOST:PORT`` or ``http://HOST:PORT``; None and the empty string mean no
    dashboard. A dashboard on a loopback address is not asked. One on another address is asked for its version
    without a token: with token authentication it refuses. One that does not answer, or answers something that
    is no Ray dashboard, is not warned of. Raises nothing.
    """
    if not dashboard_url:
        return None
    url = dashboard_url if "://" in dashboard_url else f"http://{dashboard_url}"
    try:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        if host is None or _only_loopback(host) or not _answers_without_token(url):
            return None
    except (OSError, ValueError):
        return None
    return (
        f"warning: the Ray dashboard on {host}:{port} asks for no token: anyone who reaches it can run code on this "
        "cluster; set RAY_AUTH_MODE=token (docs/cluster.md, 'Who may use the cluster')"
    )


def _only_loopback(host: str) -> bool:
    addresses = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(host, None)}
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def _answers_without_token(url: str) -> bool:
    # A proxy of the environment could answer in the dashboard's place.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url.rstrip('/')}/api/version", timeout=TIMEOUT_S) as response:
            return b"ray_version" in response.read(10_000)
    except urllib.error.HTTPError:
        return False

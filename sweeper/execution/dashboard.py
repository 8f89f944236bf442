"""Warn of a Ray dashboard without authentication: anyone who can reach its job port can run code on the cluster."""

import ipaddress
import socket
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit

from trainer.words import WARNING

TIMEOUT_S = 3.0


def unauthenticated_warning(dashboard_url: str | None) -> str | None:
    """A line of warning if the dashboard answers requests without a token from beyond this machine, otherwise None.

    ``dashboard_url`` as Ray gives it: ``HOST:PORT`` or ``http://HOST:PORT``; None and the empty string mean no
    dashboard. One on a loopback address gives no warning and gets no request. Any other gets a request for its version
    without a token, which token authentication refuses. No warning is given if nothing answers, or a server that is
    not a Ray dashboard. Raises nothing.
    """
    if not dashboard_url:
        return None
    url = dashboard_url if "://" in dashboard_url else f"http://{dashboard_url}"
    try:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        addresses = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(host, None)}
        if all(ipaddress.ip_address(address).is_loopback for address in addresses):
            return None
        # Without a proxy: one set in the environment could answer in the dashboard's place.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url.rstrip('/')}/api/version", timeout=TIMEOUT_S) as response:
            if b"ray_version" not in response.read(10_000):
                return None
    except (OSError, ValueError, HTTPException):  # refusals of the server are among them
        return None
    return (
        f"{WARNING}the Ray dashboard on {host}:{port} accepts unauthenticated requests: anyone who can reach it can "
        "run code on this cluster; set RAY_AUTH_MODE=token (docs/cluster.md, 'Who may use the cluster')"
    )

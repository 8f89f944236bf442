"""What somebody without the token can do: ``python stranger.py HOST PORT...`` tries each port and prints JSON.

With ``RAY_AUTH_TOKEN`` set it is no stranger, and only asks for the list of nodes.
"""

import contextlib
import http.client
import json
import os
import sys

import grpc

ENTRYPOINT = {"entrypoint": "touch /tmp/let_in"}
REQUESTS = [
    ("GET", "/api/jobs/", None),
    ("POST", "/api/jobs/", ENTRYPOINT),
    ("POST", "/api/job_agent/jobs/", ENTRYPOINT),
    ("POST", "/get_or_create_runtime_env", {}),
    ("POST", "/get_runtime_envs_info", {}),
]
NODES = "NodeInfoGcsService/GetAllNodeInfo"
CALLS = [
    NODES,
    "JobInfoGcsService/GetAllJobInfo",
    "InternalKVGcsService/InternalKVKeys",
    "InternalKVGcsService/InternalKVPut",
    "ActorInfoGcsService/GetAllActorInfo",
    "NodeManagerService/GetNodeStats",
    "NodeManagerService/RequestWorkerLease",
    "CoreWorkerService/PushTask",
    "CoreWorkerService/GetCoreWorkerStats",
    "ObjectManagerService/Push",
    "ReporterService/GetTraceback",
    "LogService/ListLogs",
]


def answer_over_http(host: str, port: int, method: str, path: str, body: object) -> int | str | None:
    """The status of the answer, or "metrics" where they are the answer to every path; None if it is no HTTP."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection(host, port, timeout=5)
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        metrics = answer.status == 200 and answer.headers.get("Content-Type", "").startswith("text/plain; version=")
        return "metrics" if metrics else answer.status
    return None


def answer_over_grpc(host: str, port: int, call: str, token: str | None) -> str:
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{call}")(b"", timeout=5, metadata=metadata)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def main() -> None:
    host, *ports = sys.argv[1:]
    token = os.environ.get("RAY_AUTH_TOKEN")
    found = {}
    for port in map(int, ports):
        found[port] = {call: answer_over_grpc(host, port, call, token) for call in ([NODES] if token else CALLS)}
        if token is None:
            found[port] |= {f"{m} {path}": answer_over_http(host, port, m, path, body) for m, path, body in REQUESTS}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

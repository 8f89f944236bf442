"""Every file of cluster/ against what it is given to: Ray's own checks, KubeRay's fields, a shell, a real cluster."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from ray._private.runtime_env.packaging import _get_excludes
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.runtime_env import RuntimeEnv

from sweeper.execution.cluster import NOT_SENT

REPO = Path(__file__).parents[2]
CLUSTER = REPO / "cluster"
RAY_UP = ["ray_up_aws.yaml", "ray_up_local.yaml"]
KUBERAY = ["raycluster.yaml", "rayjob.yaml"]
RAY = Path(sys.executable).parent / "ray"


def read(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text())


def pinned(package: str) -> str:
    """The version of a package that pyproject.toml asks for."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    return next(d.split("==")[1] for d in project["dependencies"] if re.match(rf"{package}\b", d))


def commands() -> str:
    """Everything in cluster/ and its page that someone runs."""
    files = [*CLUSTER.rglob("*.*"), REPO / "docs" / "cluster.md"]
    return "\n".join(path.read_text() for path in files)


# -- ray up ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_up_accepts_the_file(name: str) -> None:
    config = prepare_config(read(name))
    validate_config(config)
    started = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in started
    assert "--num-cpus=0" in started
    for command in ["head_start_ray_commands", "worker_start_ray_commands"]:
        assert "RAY_AUTH_MODE=token" in config[command][-1]
    assert "~/.ray/auth_token" in config["file_mounts"]
    assert not any("pip install" in c for c in config["setup_commands"]), "Ray's default setup replaces the pinned Ray"


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_up_would_refuse_a_slip(name: str) -> None:
    config = read(name)
    config["head_start_commands"] = config.pop("head_start_ray_commands")
    with pytest.raises(jsonschema.ValidationError, match="head_start_commands"):
        validate_config(prepare_config(config))


# -- KubeRay --------------------------------------------------------------------------------------

TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
SWITCH = {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "integer"]}}


def record(required: str, **fields: Any) -> dict[str, Any]:
    """An object of these fields and no others."""
    return {"type": "object", "additionalProperties": False, "required": required.split(), "properties": fields}


def several(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


# The fields of Kubernetes' and KubeRay's objects that the manifests use, in our words.
CONTAINER = record(
    "name image resources",
    name=TEXT,
    image=TEXT,
    workingDir=TEXT,
    ports=several(record("containerPort name", containerPort=COUNT, name={"type": "string", "maxLength": 15})),
    env=several(record("name value", name=TEXT, value={"type": "string"})),
    resources=record("requests limits", requests=QUANTITIES, limits=QUANTITIES),
    volumeMounts=several(record("name mountPath", name=TEXT, mountPath={"type": "string", "pattern": "^/"})),
)
VOLUME = record(
    "name",
    name=TEXT,
    persistentVolumeClaim=record("claimName", claimName=TEXT),
    emptyDir=record("", medium={"const": "Memory"}, sizeLimit=TEXT),
)
TOLERATION = record("key operator effect", key=TEXT, operator={"const": "Exists"}, effect={"const": "NoSchedule"})
POD = record(
    "restartPolicy containers",
    restartPolicy={"const": "Never"},  # which the second version of the autoscaler needs
    containers=several(CONTAINER),
    volumes=several(VOLUME),
    tolerations=several(TOLERATION),
)
TEMPLATE = record("metadata spec", metadata=record("labels", labels=TEXTS), spec=POD)
HEAD = record("rayStartParams template", rayStartParams=TEXTS, template=TEMPLATE)
WORKERS = record(
    "groupName replicas minReplicas maxReplicas rayStartParams template",
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=TEXTS,
    template=TEMPLATE,
)
CLUSTER_SPEC = record(
    "rayVersion authOptions enableInTreeAutoscaling autoscalerOptions headGroupSpec workerGroupSpecs",
    rayVersion=TEXT,
    authOptions=record("mode secretName", mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    enableInTreeAutoscaling={"const": True},
    autoscalerOptions=record("version idleTimeoutSeconds", version={"enum": ["v1", "v2"]}, idleTimeoutSeconds=COUNT),
    headGroupSpec=HEAD,
    workerGroupSpecs=several(WORKERS),
)
JOB_SPEC = record(
    "entrypoint rayClusterSpec",
    entrypoint=TEXT,
    backoffLimit=COUNT,
    shutdownAfterJobFinishes=SWITCH,
    ttlSecondsAfterFinished=COUNT,
    runtimeEnvYAML=TEXT,
    rayClusterSpec=CLUSTER_SPEC,
)


def manifest(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return record(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=record("", name=TEXT, generateName=TEXT),
        spec=spec,
    )


SCHEMAS = {"raycluster.yaml": manifest("RayCluster", CLUSTER_SPEC), "rayjob.yaml": manifest("RayJob", JOB_SPEC)}


def cluster_spec(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = read(f"kuberay/{name}")["spec"]
    return spec.get("rayClusterSpec", spec)


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_knows_every_field(name: str) -> None:
    jsonschema.validate(read(f"kuberay/{name}"), SCHEMAS[name])


@pytest.mark.parametrize("name", KUBERAY)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("groupName: gpu", "groupname: gpu"),
        ("image: ", "imagee: "),
        ("maxReplicas: 4", "maxReplicas: four"),
        ("version: v2", "version: 2"),
        ("mode: token", "mode: tokens"),
    ],
)
def test_the_schema_catches_a_slip(name: str, old: str, new: str) -> None:
    text = (CLUSTER / "kuberay" / name).read_text()
    assert old in text
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text.replace(old, new)), SCHEMAS[name])


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_pods_fit_together(name: str) -> None:
    spec = cluster_spec(name)
    assert spec["rayVersion"] == pinned("ray")
    assert spec["authOptions"]["mode"] == "token"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    [workers] = spec["workerGroupSpecs"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    policy = next(
        d for d in yaml.safe_load_all((CLUSTER / "kuberay/results.yaml").read_text()) if "podSelector" in d["spec"]
    )
    for group in [spec["headGroupSpec"], workers]:
        template = group["template"]
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        [container] = template["spec"]["containers"]
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        results = next(e["value"] for e in container["env"] if e["name"] == "CIL_RESULTS")
        assert any(results.startswith(mount["mountPath"] + "/") for mount in container["volumeMounts"])
        # Kubernetes takes the request of an extended resource from its limit and refuses two different ones.
        assert container["resources"]["limits"] == container["resources"]["requests"]
    [gpu_container] = workers["template"]["spec"]["containers"]
    assert gpu_container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_only_where_the_operator_needs_it_does_a_dashboard_leave_loopback() -> None:
    assert cluster_spec("raycluster.yaml")["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    open_to_pods = cluster_spec("rayjob.yaml")
    assert open_to_pods["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "0.0.0.0"
    assert open_to_pods["authOptions"]["mode"] == "token"


def test_kuberay_storage_outlives_and_is_shared() -> None:
    claim, policy = yaml.safe_load_all((CLUSTER / "kuberay/results.yaml").read_text())
    assert claim["kind"] == "PersistentVolumeClaim"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert policy["kind"] == "NetworkPolicy"
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    for name in KUBERAY:
        for group in [cluster_spec(name)["headGroupSpec"], *cluster_spec(name)["workerGroupSpecs"]]:
            claims = [v.get("persistentVolumeClaim", {}).get("claimName") for v in group["template"]["spec"]["volumes"]]
            assert claim["metadata"]["name"] in claims


# -- runtime_env and image --------------------------------------------------------------------------


def test_runtime_env_is_one() -> None:
    given = read("runtime_env.yaml")
    checked = RuntimeEnv(**given)
    assert checked["env_vars"] == given["env_vars"]
    assert given["env_vars"]["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    assert given["env_vars"]["CIL_RESULTS"].startswith("/")


@pytest.mark.parametrize("patterns", [read("runtime_env.yaml")["excludes"], NOT_SENT], ids=["ray job submit", "launch"])
def test_nodes_are_sent_the_code_and_not_what_lies_beside_it(patterns: list[str]) -> None:
    left_out = _get_excludes(REPO, patterns)
    for kept in ["trainer/data/tasks.py", "runs/a.yaml", "search_spaces/digits.yaml", "pyproject.toml"]:
        assert not left_out(REPO / kept)
    for beside in [".git/HEAD", ".venv/bin/python", "data/images.parquet", "results/digits/status.json", "out/a.yaml"]:
        assert left_out(REPO / beside)


def test_a_job_on_kubernetes_gets_the_same_environment() -> None:
    in_manifest = yaml.safe_load(read("kuberay/rayjob.yaml")["spec"]["runtimeEnvYAML"])
    assert in_manifest["env_vars"] == read("runtime_env.yaml")["env_vars"]


def test_the_image_is_of_the_pinned_ray_and_copies_what_exists() -> None:
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    assert f"FROM rayproject/ray:{pinned('ray')}-py311" in lines
    for line in lines:
        if line.startswith("COPY"):
            *sources, _ = line.split()[2:]
            missing = [source for source in sources if not (REPO / source).exists()]
            assert not missing


# -- commands that the files and the page name ------------------------------------------------------


def test_every_module_that_is_run_exists() -> None:
    modules = set(re.findall(r"python -m ([a-z_.]+[a-z_])", commands())) - {"venv"}
    assert "sweeper.launch" in modules
    missing = [module for module in sorted(modules) if importlib.util.find_spec(module) is None]
    assert not missing


def test_every_file_that_the_page_names_exists() -> None:
    page = (REPO / "docs" / "cluster.md").read_text()
    named = set(re.findall(r"\bcluster/[\w./-]*\w", page))
    assert {f"cluster/{path.relative_to(CLUSTER)}" for path in CLUSTER.rglob("*.*")} <= named | {"cluster/Dockerfile"}
    assert not [name for name in sorted(named) if not (REPO / name).exists()]


def test_every_flag_of_ray_start_exists() -> None:
    used = re.findall(r"ray start((?:\s|\\\n|--[^\s`]+)+)", commands())
    flags = {flag for run in used for flag in re.findall(r"--[a-z-]+", run)}
    assert {"--head", "--address", "--dashboard-host"} <= flags
    shown = subprocess.run([RAY, "start", "--help"], capture_output=True, text=True, check=True).stdout
    assert not [flag for flag in sorted(flags) if flag not in shown]


# -- Slurm ------------------------------------------------------------------------------------------

FAKE_SRUN = """\
#!/bin/bash
# Runs the step here. Nodes of one machine must not share a temporary folder: each would overwrite the other's.
while [[ "$1" == --* ]]; do shift; done
if [[ "$1 $2" == "ray start" ]]; then
    shift 2
    exec ray start --temp-dir="$(mktemp -d "$SLURM_TEST_TMP/node-XXXX")" "$@"
fi
exec "$@"
"""
FAKE_SCONTROL = """\
#!/bin/bash
if [[ "$1" == show ]]; then tr , '\\n' <<<"$3"; else echo "$@" >>"$SLURM_TEST_TMP/requeued"; fi
"""
FAKE_LAUNCH = """\
import os, signal, sys, time
import ray

def stop(*_):
    print("closing", flush=True)
    time.sleep(1)  # a driver takes its time to close the results
    print("closed", flush=True)
    sys.exit(0)

ray.init(logging_level="ERROR")
signal.signal(signal.SIGTERM, stop)
deadline = time.monotonic() + 120
while sum(node["Alive"] for node in ray.nodes()) < 2 and time.monotonic() < deadline:
    time.sleep(0.5)
print("nodes", sum(node["Alive"] for node in ray.nodes()), "cpu", ray.cluster_resources()["CPU"], flush=True)
print("space", sys.argv[1], "results", os.environ["CIL_RESULTS"], "auth", os.environ["RAY_AUTH_MODE"], flush=True)
if sys.argv[1] == "long.yaml":
    time.sleep(300)
"""


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to submit from, and a Slurm of two nodes that are both this machine."""
    where = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))  # short: Ray's sockets live in it
    (where / "bin").mkdir()
    (where / "sweeper").mkdir()
    (where / "sweeper" / "__init__.py").touch()
    (where / "sweeper" / "launch.py").write_text(FAKE_LAUNCH)
    environment_bin = where / ".venv" / "bin"
    environment_bin.mkdir(parents=True)
    for tool in ["python", "ray"]:
        script = environment_bin / tool
        target = sys.executable if tool == "python" else RAY
        script.write_text(f'#!/bin/bash\nexec {target} "$@"\n')
    fakes = {"srun": FAKE_SRUN, "scontrol": FAKE_SCONTROL, "hostname": "#!/bin/bash\necho 127.0.0.1 10.0.0.1\n"}
    for name, text in fakes.items():
        (where / "bin" / name).write_text(text)
    for script in [*(where / "bin").iterdir(), *environment_bin.iterdir()]:
        script.chmod(0o755)
    for name in [n for n in os.environ if n.startswith(("RAY_", "SLURM_", "CIL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{where / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name, value in {
        "SLURM_SUBMIT_DIR": str(where),
        "SLURM_JOB_NODELIST": "one,two",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_TEST_TMP": str(where),
    }.items():
        monkeypatch.setenv(name, value)
    yield where
    shutil.rmtree(where, ignore_errors=True)


def submit(space: str) -> subprocess.Popen[str]:
    """Run the script with SIGINT as Slurm leaves it: a shell cannot trap a signal that is ignored when it starts."""
    command = ["env", "--default-signal=INT", "bash", str(CLUSTER / "slurm.sbatch"), space]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def left_over(where: Path) -> list[str]:
    """Processes of the cluster that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(where) in command:
            found.append(command)
    return found


def wait_until_gone(where: Path) -> None:
    deadline = time.monotonic() + 30
    while left_over(where) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not left_over(where)


@pytest.mark.slow
def test_slurm_script_runs_a_sweep_on_two_nodes_and_leaves_nothing(slurm: Path) -> None:
    job = submit("short.yaml")
    output, _ = job.communicate(timeout=240)
    assert job.returncode == 0, output
    assert "nodes 2 cpu 2.0" in output
    assert f"space short.yaml results {slurm}/results auth token" in output
    assert not (slurm / "requeued").exists()
    wait_until_gone(slurm)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_slurm_script_lets_the_driver_close_and_requeues_at_the_time_limit(
    slurm: Path, sent: signal.Signals, long: bool
) -> None:
    if sent == signal.SIGTERM and not long:
        pytest.skip("with --long")
    job = submit("long.yaml")
    assert job.stdout is not None
    before = []
    for line in job.stdout:
        before.append(line)
        if line.startswith("space "):
            break
    job.send_signal(sent)
    output, _ = job.communicate(timeout=120)
    assert job.returncode == 0, [*before, output]
    assert "closed" in output
    assert (slurm / "requeued").exists() == (sent == signal.SIGINT)
    wait_until_gone(slurm)


def test_slurm_script_says_what_it_misses() -> None:
    ran = subprocess.run(["bash", CLUSTER / "slurm.sbatch"], capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "usage: sbatch cluster/slurm.sbatch SEARCH_SPACE.yaml" in ran.stderr
    assert subprocess.run(["bash", "-n", CLUSTER / "slurm.sbatch"], check=False).returncode == 0

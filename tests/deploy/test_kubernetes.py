"""
The Kubernetes manifests, held to the programs: what they name exists, and what they ask is answered.
"""

import asyncio
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from omen.v1.signal_pb2 import OmenSignal
from omen.v1.signal_service_pb2 import EMIT_STATUS_DELIVERED
from omen_client import OmenClient
from omen_rpc.health import SERVING
from omen_rpc.server import Server
from tests.conftest import ROOT
from tests.deploy.started import Place, all_started, health_of, is_there, known_variables, program_of, settings_of

KUBERNETES = ROOT / "deploy" / "kubernetes"
MANIFESTS = [
    document
    for name in yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    for document in yaml.safe_load_all((KUBERNETES / name).read_text())
]
WORKLOADS = {each["metadata"]["name"]: each for each in MANIFESTS if each["kind"] in {"StatefulSet", "Deployment"}}
# Which secret has which keys, as deploy/README.md makes them.
KEYS = {
    "omen-keys": "reconciler:admin:r1\nconsole:read:c1\nfeed:ingest,read:f1\n",
    "riskcast-keys": "omen:ingest,read:o2\nreconciler:ingest,read:r2\nconsole:read:c2\n",
    "reconciler-keys": "console:read:c3\nops:admin:a3\n",
    "omen-at-riskcast": "o2\n",
    "reconciler-at-omen": "r1\n",
    "reconciler-at-riskcast": "r2\n",
    "console-at-omen": "c1\n",
    "console-at-riskcast": "c2\n",
    "console-at-reconciler": "c3\n",
}


def pod(name: str) -> dict[str, Any]:
    """
    Return a workload's pod.
    """
    spec: dict[str, Any] = WORKLOADS[name]["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    """
    Return a workload's only container.
    """
    (only,) = pod(name)["containers"]
    return dict(only)


def environment(name: str, databases: str = "postgresql://omen@postgres/omen") -> dict[str, str]:
    """
    Return a container's environment; what comes from the secret of databases is *databases*.
    """
    return {each["name"]: each.get("value", databases) for each in container(name)["env"]}


def of_kind(kind: str) -> Iterator[dict[str, Any]]:
    """
    Yield the manifests of one kind.
    """
    return (each for each in MANIFESTS if each["kind"] == kind)


def selected(labels: dict[str, str]) -> set[str]:
    """
    Return the workloads whose pods have *labels*.
    """
    return {
        name
        for name, each in WORKLOADS.items()
        if labels.items() <= each["spec"]["template"]["metadata"]["labels"].items()
    }


def test_there_is_one_writer() -> None:
    """
    OMEN is a StatefulSet of one with a volume of its own; the others are Deployments and keep nothing in their pods.
    """
    assert {name: each["kind"] for name, each in WORKLOADS.items()} == {
        "omen": "StatefulSet",
        "riskcast": "Deployment",
        "reconciler": "Deployment",
        "console": "Deployment",
    }
    assert WORKLOADS["omen"]["spec"]["replicas"] == 1
    (claim,) = WORKLOADS["omen"]["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    mounts = {each["name"]: each["mountPath"] for each in container("omen")["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == environment("omen")["OMEN_DATA_DIR"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_pods_may_do_little(name: str) -> None:
    """
    No pod runs as root, writes its own file system, keeps a capability, or takes more than its limits.
    """
    inside, around = container(name)["securityContext"], pod(name)["securityContext"]
    assert around["runAsNonRoot"] is True
    assert around["runAsUser"] == 10001
    assert around["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(name)["automountServiceAccountToken"] is False
    assert container(name)["resources"]["limits"].keys() == {"cpu", "memory"}
    assert container(name)["resources"]["requests"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize("name", [name for name in WORKLOADS if is_there(container(name)["command"][0])])
def test_settings_exist_and_fit(name: str) -> None:
    """
    Every variable is one that the program reads; with them it would start, on the ports that the container opens, and
    the pod may take as long to end as the program may drain.
    """
    command = container(name)["command"]
    assert set(environment(name)) <= known_variables(command[0])
    settings = settings_of(command, environment(name)).settings
    if name != "console":
        assert (settings.serves_reflection, settings.drain_pause_s) == (False, 5.0)
        assert settings.api_keys_file == Path(f"/keys/{name}-keys")
    ports = {each["name"]: each["containerPort"] for each in container(name)["ports"]}
    assert ports["metrics"] == settings.metrics_port
    assert f"0.0.0.0:{ports.get('grpc', ports.get('http'))}" == settings.listen
    drain_s = getattr(settings, "drain_pause_s", 0) + getattr(settings, "drain_timeout_s", 5)
    assert pod(name)["terminationGracePeriodSeconds"] > drain_s + 5
    if hasattr(settings, "env"):
        Server(program_of(command[0])[0].name, settings_of(command, environment(name) | no_files(name)), {})


def no_files(name: str) -> dict[str, str]:
    """
    Return what takes the files of keys out of an environment, and gives a key instead.
    """
    prefix = program_of(container(name)["command"][0])[0].prefix
    return {key: "" for key in environment(name) if key.endswith("_FILE")} | {f"{prefix}_API_KEYS": "a:admin:b"}


def test_services_lead_to_ports() -> None:
    """
    Each workload has a service of its name, whose ports are those of the container by name and number.
    """
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind("Service")}
    assert services.keys() == WORKLOADS.keys()
    for name, spec in services.items():
        assert selected(spec["selector"]) == {name}
        opened = {each["name"]: each["containerPort"] for each in container(name)["ports"]}
        assert {each["targetPort"]: each["port"] for each in spec["ports"]} == opened


def test_every_host_is_a_service() -> None:
    """
    Whom a container is told to call is a service that has that port, and the network lets it through.
    """
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind("Service")}
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind("NetworkPolicy")}
    assert policies.keys() == WORKLOADS.keys()
    for policy in policies.values():
        assert policy["policyTypes"] == ["Ingress"]
    calls = [
        (name, *value.split(":"))
        for name in WORKLOADS
        for key, value in environment(name).items()
        if value.partition(":")[0] in services and not key.endswith("_LISTEN")
    ]
    assert len(calls) == 6
    for caller, host, port in calls:
        assert int(port) in [each["port"] for each in services[host]["ports"]]
        allowed = [
            selected(peer["podSelector"]["matchLabels"])
            for rule in policies[host]["ingress"]
            if {"port": int(port)} in rule["ports"]
            for peer in rule["from"]
            if "podSelector" in peer and "namespaceSelector" not in peer
        ]
        assert caller in set().union(*allowed), f"{caller} may not call {host}:{port}"


def test_the_monitor_finds_every_server() -> None:
    """
    The ServiceMonitor selects what kustomize labels, and scrapes a port that each service has, let in by the network.
    """
    (monitor,) = of_kind("ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    (labels,) = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["labels"]
    assert labels["pairs"] == monitor["spec"]["selector"]["matchLabels"]
    ports = {each["metadata"]["name"]: each["spec"]["ports"] for each in of_kind("Service")}
    for policy in of_kind("NetworkPolicy"):
        (port,) = [each["port"] for each in ports[policy["metadata"]["name"]] if each["name"] == endpoint["port"]]
        assert {"port": port} in [one for rule in policy["spec"]["ingress"] for one in rule["ports"]]


def test_disruptions_are_bounded() -> None:
    """
    Nodes can be drained: one writer may go and come back, and of several RiskCasts one stays.
    """
    budgets = {each["metadata"]["name"]: each["spec"] for each in of_kind("PodDisruptionBudget")}
    assert {name: selected(each["selector"]["matchLabels"]) for name, each in budgets.items()} == {
        "omen": {"omen"},
        "riskcast": {"riskcast"},
        "reconciler": {"reconciler"},
    }
    assert budgets["omen"]["maxUnavailable"] == 1
    assert WORKLOADS["riskcast"]["spec"]["replicas"] > budgets["riskcast"]["minAvailable"]


async def test_the_manifests_run(tmp_path: Path, postgres_url: str) -> None:
    """
    Real servers, started with the manifests' commands and variables, with keys as the secrets have them: each probe is
    answered, metrics are where they are scraped, and a signal goes all the way, with a key and not without.
    """
    (tmp_path / "keys").mkdir()
    for key, text in KEYS.items():
        (tmp_path / "keys" / key).write_text(text)
        (tmp_path / "keys" / key).chmod(0o440)  # As the manifests mount them.
    place = Place(tmp_path, {}, {"/keys": f"{tmp_path}/keys", "/data": f"{tmp_path}/data"}, {})
    names = [name for name in ("riskcast", "omen", "reconciler", "console") if is_there(container(name)["command"][0])]
    wanted = {name: (container(name)["command"], environment(name, postgres_url)) for name in names}
    async with AsyncExitStack() as stack:
        servers = await all_started(stack, wanted, place)
        for name, started in servers.items():
            for probe in (container(name)["livenessProbe"], container(name)["readinessProbe"]):
                if "grpc" in probe:
                    assert await health_of(started.at(probe["grpc"]["port"]), probe["grpc"]["service"]) == SERVING
                else:
                    assert (
                        fetched(started.at(port_of(name, probe["httpGet"]["port"])), probe["httpGet"]["path"]) == "ok\n"
                    )
            assert "omen_server_ready" in fetched(started.at(port_of(name, "metrics")), "/metrics")
        with pytest.raises(grpc.aio.AioRpcError):
            await health_of(servers["omen"].at(50051), "alive")  # A name nobody serves is no answer that serves all.
        async with OmenClient(servers["omen"].at(50051), api_key="f1") as omen:
            result = await omen.emit(OmenSignal(signal_id="OMEN-KUBE00000001", title="Through all manifests"))
        assert result.status == EMIT_STATUS_DELIVERED
        codes = await asyncio.gather(*(started.server.stop() for started in servers.values()))
        assert set(codes) == {0}


def port_of(name: str, port: str | int) -> int:
    """
    Return a container's port by its name.
    """
    return next(int(each["containerPort"]) for each in container(name)["ports"] if each["name"] == port)


def fetched(address: str, path: str) -> str:
    """
    Return what a server's HTTP port says.
    """
    with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as reply:
        return str(reply.read().decode())

"""The manifests in deploy/kubernetes are valid, and fit each other and the program."""

import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from backhaul.cli.arguments import parser
from backhaul.config import ServerConfig
from backhaul.config.loader import parse

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.31", kubernetes_validate.latest_version())
"""The oldest one that the manifests are for, and the newest one that is known."""
CUSTOM = {"Kustomization", "Component", "ServiceMonitor"}
"""Kinds that Kubernetes itself does not know."""

Document = dict[str, Any]


def documents(*files: Path) -> list[Document]:
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


BUILT = documents(*(FOLDER / name for name in documents(FOLDER / "kustomization.yaml")[0]["resources"]))
LABELS = {"app.kubernetes.io/name": "backhaul"}
SERVERS = next(one for one in BUILT if one["kind"] == "StatefulSet")["spec"]
POD = SERVERS["template"]["spec"]
CONTAINER = POD["containers"][0]


def config() -> ServerConfig:
    """Return the configuration of the servers, with a token in the place of the secret."""
    text = (FOLDER / "server.toml").read_text()
    found = parse(re.sub(r"^token_file = .*$", 'token = "bh1_0123456789-0123456789"', text, flags=re.MULTILINE))
    assert isinstance(found, ServerConfig)
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", BUILT, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_a_resource_is_valid(document: Document, version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_selectors_and_labels_agree() -> None:
    """The namespace is the only one without them."""
    text = "".join(path.read_text() for path in FOLDER.rglob("*.yaml"))
    labelled = [document for document in documents(*FOLDER.rglob("*.yaml")) if "metadata" in document]
    assert {document["kind"] for document in labelled if document["metadata"].get("labels") != LABELS} == {"Namespace"}
    assert SERVERS["selector"]["matchLabels"] == SERVERS["template"]["metadata"]["labels"] == LABELS
    selected = [document["spec"]["selector"] for document in labelled if "selector" in document.get("spec", {})]
    assert all(selector.get("matchLabels", selector) == LABELS for selector in selected)
    assert text.count("app.kubernetes.io/") == text.count("app.kubernetes.io/name: backhaul")


def test_a_mistake_would_be_found() -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"port": 3}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_file_belongs_to_the_whole() -> None:
    named = {"kustomization.yaml"}
    for settings in documents(*FOLDER.rglob("kustomization.yaml")):
        named |= {
            *settings["resources"],
            *(file for one in settings.get("configMapGenerator", []) for file in one["files"]),
        }
    assert {path.name for path in FOLDER.rglob("*") if path.is_file()} == named
    kinds = {document["kind"] for document in documents(*FOLDER.rglob("*.yaml"))}
    assert kinds - {document["kind"] for document in BUILT} == CUSTOM


def test_the_configuration_is_sound_and_fits_the_ports() -> None:
    found = config()
    assert {warning for warning in found.warnings if not warning.startswith("web_port")} == set()
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"tunnel": found.bind_addr.port, "users": found.ports[0].bind_port, "monitor": found.web_port}
    assert found.skip_optz
    assert found.security == "required"


def test_services_lead_to_the_servers() -> None:
    names = {port["name"] for port in CONTAINER["ports"]}
    services = {one["metadata"]["name"]: one["spec"] for one in BUILT if one["kind"] == "Service"}
    assert {port["targetPort"] for spec in services.values() for port in spec["ports"]} <= names
    assert services[SERVERS["serviceName"]]["clusterIP"] == "None"
    assert services[SERVERS["serviceName"]]["publishNotReadyAddresses"], "clients make a server ready"
    monitor = documents(FOLDER / "monitoring" / "servicemonitor.yaml")[0]["spec"]
    assert monitor["selector"]["matchLabels"] == services[SERVERS["serviceName"]]["selector"]
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= names


def test_files_are_where_the_configuration_looks_for_them() -> None:
    mounts = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert set(mounts.values()) == {volume["name"] for volume in POD["volumes"]}
    (path,) = parser().parse_args(CONTAINER["args"]).config
    folder, _, file = path.rpartition("/")
    assert mounts[folder] == "config"
    assert (FOLDER / file).exists()
    token = re.search(r'^token_file = "(.*)/token"$', (FOLDER / "server.toml").read_text(), re.MULTILINE)
    assert token
    assert mounts[token[1]] == "token"
    image = (ROOT / "Dockerfile").read_text()
    assert {"/run/backhaul", "/var/lib/backhaul"} <= mounts.keys()
    assert f"USER {POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" in image


def test_users_in_flight_have_time_before_the_end() -> None:
    shell, option, script = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    pause, drain = script.split("; ")
    options = parser().parse_args(shlex.split(drain)[1:])
    assert (shell, option, options.command) == ("sh", "-c", "drain")
    waits = int(pause.removeprefix("sleep ")) + options.wait + config().shutdown_timeout
    assert POD["terminationGracePeriodSeconds"] >= waits + 15
    assert CONTAINER["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "monitor"}

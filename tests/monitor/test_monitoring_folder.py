"""The Prometheus and Grafana set-up that is shipped with the program."""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from tests.monitor.sample import Tunnel, port, server_status, times

from backhaul.monitor.exposition import PROMETHEUS
from backhaul.monitor.prometheus import Figures, slices
from backhaul.monitor.status import ClientStatus, GroupStatus, LimitStatus
from backhaul.state import MemberState

FOLDER = Path(__file__).parents[2] / "monitoring"
ALERTS = FOLDER / "alerts.yml"
DASHBOARDS = FOLDER / "grafana/dashboards"

# The queries of v0.7.2's dashboard, which must keep working.
OLD_QUERIES = ["backhaul_tunnel_status", "backhaul_tunnel_usage"]

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is missing (package prometheus)")


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Return the names of all exported samples, with the labels of each."""
    status = replace(
        Tunnel(replace(port(443), target="x:1")).read(),
        limits=(LimitStatus("limits", "max_users", "users", 9, 3),),
        clients=(ClientStatus("berlin", True, "192.0.2.7", "", 0.25, 3, 7, 1),),
        groups=(GroupStatus("web", "least", (MemberState("berlin", 7, "ready"),)),),
        servers=(server_status("a.example:1"),),
    )
    figures = Figures(status, {443: 1}, iter([times()]), {"server.crt": 1.0})
    text = b"".join(slices(PROMETHEUS, figures)).decode()
    families = text_string_to_metric_families(text)
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DASHBOARDS / "backhaul.json").read_bytes())
    return document


def targets() -> list[dict[str, Any]]:
    return [target for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def names(query: str) -> set[str]:
    return set(re.findall(r"\b(?:backhaul|process)_\w+", query))


@pytest.mark.parametrize("query", OLD_QUERIES + [target["expr"] for target in targets()])
def test_queried_metrics_are_exported(query: str, exported: dict[str, set[str]]) -> None:
    assert names(query)
    assert names(query) <= exported.keys()


@pytest.mark.parametrize("target", targets(), ids=lambda target: target["expr"])
def test_the_labels_of_a_legend_exist(target: dict[str, Any], exported: dict[str, set[str]]) -> None:
    grouped = re.search(r"by \(([^)]*)\)", target["expr"])
    kept = set(grouped[1].split(", ")) if grouped else exported[min(names(target["expr"]))] | {"instance", "job"}
    assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept


@pytest.mark.parametrize("query", [target["expr"] for target in targets() if "rate(" in target["expr"]])
def test_rates_follow_the_time_that_a_panel_shows(query: str) -> None:
    """With a fixed window peaks of a day vanish, and a minute is empty."""
    assert set(re.findall(r"\[(.+?)\]", query)) == {"$__rate_interval"}


def test_every_metric_is_on_the_dashboard(exported: dict[str, set[str]]) -> None:
    ours = {name for name in exported if name.startswith("backhaul_")}
    shown = set().union(*(names(target["expr"]) for target in targets()))
    assert ours - shown == {"backhaul_build_info", "backhaul_start_time_seconds"}


@pytest.mark.parametrize("thing", ["client", "group"])
def test_each_thing_has_a_row(thing: str) -> None:
    panels = sorted(dashboard()["panels"], key=lambda panel: panel["gridPos"]["y"])
    (start,) = (index for index, panel in enumerate(panels) if panel.get("repeat") == thing)
    below = list(itertools.takewhile(lambda panel: panel["type"] != "row", panels[start + 1 :]))
    assert below
    assert all(f'{thing}=~"${thing}"' in target["expr"] for panel in below for target in panel["targets"])
    assert thing in {variable["name"] for variable in dashboard()["templating"]["list"]}


def test_alerts_watch_exported_metrics(exported: dict[str, set[str]]) -> None:
    expressions = re.findall(r"^ +expr: (.*)$", ALERTS.read_text(), re.MULTILINE)
    assert all(names(expression) or expression.startswith("up{") for expression in expressions)
    assert set().union(*map(names, expressions)) <= exported.keys()


def test_panels_have_distinct_ids_and_places() -> None:
    panels = dashboard()["panels"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24  # columns in Grafana
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_compose_file_mounts_existing_files() -> None:
    mounts = re.findall(r"- (\./[^:]+):", (FOLDER / "docker-compose.yml").read_text())
    assert len(mounts) == 4
    assert all((FOLDER / mount).exists() for mount in mounts)


@needs_promtool
def test_promtool_accepts_the_configuration() -> None:
    command = ["promtool", "check", "config", str(FOLDER / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_can_parse_every_query(tmp_path: Path) -> None:
    """It names the rule with a mistake."""
    queries = [target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h") for target in targets()]
    recorded = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries)]
    rules = tmp_path / "rules.yml"
    rules.write_text(json.dumps({"groups": [{"name": "all", "rules": recorded}]}))  # YAML contains JSON
    done = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize(
    "command", [["check", "rules", ALERTS], ["test", "rules", Path(__file__).with_name("alerts.yml")]]
)
def test_alerts_fire_when_they_should(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

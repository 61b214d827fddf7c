"""``examples/cluster/consume``: valid by the published schemas, and consistent with what `consume` does."""

from __future__ import annotations

import os
import re
import tomllib
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from sentstream.cli import app
from sentstream.kafka.watch.health import Health
from sentstream.kafka.watch.http import Server
from sentstream.kafka.watch.metrics import Metrics
from tools.fetched import Unavailable
from tools.kubernetes import problems, scalers

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "cluster" / "consume"
FILES = sorted(FOLDER.glob("*.yaml"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def manifest(name: str) -> Any:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))


SETTINGS: Mapping[str, str] = manifest("settings")["data"]
POD = manifest("deployment")["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
SCALED = manifest("scaledobject")["spec"]


def options() -> set[str]:
    """The options of `consume`."""
    node: Any = typer.main.get_command(app)
    return {name for option in node.commands["consume"].params for name in option.opts}


def unavailable(error: Unavailable) -> None:
    """Skip what needs the validator; in CI, where there must be one, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"no manifest validator: {error}", pytrace=False)
    pytest.skip(f"no manifest validator: {error}")


class TestSchemas:
    def found(self, *files: Path) -> list[str]:
        try:
            return problems(files)
        except Unavailable as error:
            unavailable(error)
            raise

    def test_manifests_are_valid(self) -> None:
        assert {path.stem for path in FILES} == {"settings", "deployment", "scaledobject", "podmonitor"}
        assert self.found(*FILES) == []

    @pytest.mark.parametrize(
        ("name", "right", "wrong", "message"),
        [
            (
                "deployment",
                "terminationGracePeriodSeconds",
                "terminationGraceSeconds",
                "terminationGraceSeconds",
            ),
            ("deployment", "periodSeconds: 30", "periodSeconds: often", "livenessProbe/periodSeconds"),
            ("scaledobject", "minReplicaCount", "minReplicas", "minReplicas"),
            ("podmonitor", "jobLabel", "joblabel", "joblabel"),
            ("settings", "kind: ConfigMap", "kind: ConfigMaps", "could not find schema for ConfigMaps"),
        ],
    )
    def test_validator_detects_mistakes(
        self, name: str, right: str, wrong: str, message: str, tmp_path: Path
    ) -> None:
        text = (FOLDER / f"{name}.yaml").read_text("utf-8")
        assert right in text
        (tmp_path / "wrong.yaml").write_text(text.replace(right, wrong), "utf-8")
        found = self.found(tmp_path / "wrong.yaml")
        assert found
        assert all(message in line for line in found)

    def test_keda_supports_each_trigger_setting(self) -> None:
        """Its schema leaves them open, and KEDA passes over what it does not know."""
        try:
            known = scalers()
        except Unavailable as error:
            unavailable(error)
        (trigger,) = SCALED["triggers"]
        for name, value in trigger["metadata"].items():
            setting = known[trigger["type"]][name.removesuffix("FromEnv")]
            if name.endswith("FromEnv"):
                assert setting["envVariableReadable"]
                assert value in SETTINGS
            elif "allowedValue" in setting:
                assert value in setting["allowedValue"]


class TestDeployment:
    def test_options_and_variables_exist(self) -> None:
        command, *rest = CONTAINER["args"]
        assert command == "consume"
        assert {word for word in rest if word.startswith("--")} <= options()
        for name in SETTINGS:
            if option := re.fullmatch(r"SENTSTREAM_CONSUME_(\w+)", name):
                assert f"--{option[1].lower().replace('_', '-')}" in options()
            else:
                assert name == "SENTSTREAM_KAFKA_BOOTSTRAP_SERVERS"
        assert CONTAINER["envFrom"] == [{"configMapRef": {"name": manifest("settings")["metadata"]["name"]}}]

    def test_image_is_the_one_that_is_built(self) -> None:
        assert CONTAINER["image"] == f"sentstream:{VERSION}"
        user = POD["spec"]["securityContext"]
        assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in DOCKERFILE

    def test_probes_use_served_endpoints(self) -> None:
        (port,) = CONTAINER["ports"]
        number = str(port["containerPort"])
        assert CONTAINER["args"][CONTAINER["args"].index("--metrics-port") + 1] == number
        assert f"EXPOSE {number}" in DOCKERFILE
        health = Health()
        with Server(Metrics({}), 0, host="127.0.0.1", healthy=health.reason, ready=lambda: None) as server:
            for probe in "startup", "liveness", "readiness":
                asked = CONTAINER[f"{probe}Probe"]["httpGet"]
                assert asked["port"] == port["name"]
                address = f"http://127.0.0.1:{server.port}{asked['path']}"
                with urllib.request.urlopen(address) as answer:
                    assert answer.status == 200
        assert CONTAINER["livenessProbe"]["httpGet"]["path"] != CONTAINER["readinessProbe"]["httpGet"]["path"]

    def test_instance_name_has_the_lifetime_of_its_pod(self) -> None:
        """A name that is given (--instance-id) would stay in the group after the pod has gone."""
        assert "--instance-id" not in CONTAINER["args"]
        assert "SENTSTREAM_CONSUME_INSTANCE_ID" not in SETTINGS
        (home,) = re.findall(r"XDG_STATE_HOME=(\S+)", DOCKERFILE)
        mounts = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in POD["spec"]["volumes"]}
        assert "emptyDir" in volumes[mounts[f"{home}/sentstream"]]

    def test_grace_period_and_cpu_limit(self) -> None:
        assert POD["spec"]["terminationGracePeriodSeconds"] >= 60  # what docs/streaming.md asks for
        assert CONTAINER["resources"]["limits"] == CONTAINER["resources"]["requests"]

    def test_selectors_match_the_pods(self) -> None:
        deployment, monitor = manifest("deployment"), manifest("podmonitor")
        labels = POD["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels
        assert monitor["spec"]["selector"]["matchLabels"] == labels
        assert SCALED["scaleTargetRef"] == {"name": deployment["metadata"]["name"]}
        assert "replicas" not in deployment["spec"]  # KEDA's
        assert [each["port"] for each in monitor["spec"]["podMetricsEndpoints"]] == [
            CONTAINER["ports"][0]["name"]
        ]

    def test_prometheus_job_name_matches_the_alerts(self) -> None:
        job = POD["metadata"]["labels"][manifest("podmonitor")["spec"]["jobLabel"]]
        assert f'up{{job="{job}"}}' in (ROOT / "deploy" / "alerts.yml").read_text("utf-8")


def test_page_names_every_file_and_test() -> None:
    page = (FOLDER / "README.md").read_text("utf-8")
    assert {f"{path.stem}.yaml" for path in FILES} == set(re.findall(r"\]\((\w+\.yaml)\)", page))
    for name in re.findall(r"`(tests/[\w/]+\.py)`", page):
        assert (ROOT / name).is_file()

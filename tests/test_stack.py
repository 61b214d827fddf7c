"""The Docker stack's files: the settings of compose, Prometheus, Grafana and the image match sentstream.

``deploy/check.py`` is the other half: it starts the stack and breaks it.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import typer

from sentstream.cli import app
from sentstream.drift.distribution import BINS, LEAST_TEXTS, Distribution
from sentstream.kafka.clients.api import Partition
from sentstream.kafka.watch.drift import Baseline, Drift
from sentstream.kafka.watch.events import Committed
from sentstream.kafka.watch.metrics import Metrics
from tools.fetched import Unavailable
from tools.promtool import promtool

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
PAGE = (ROOT / "docs" / "compose.md").read_text("utf-8")
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/sentstream.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
ANNOTATIONS: list[dict[str, Any]] = DASHBOARD["annotations"]["list"]
VARIABLES: list[dict[str, Any]] = DASHBOARD["templating"]["list"]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
#: What PromQL itself is made of, as far as the dashboard and the alerts use it.
PROMQL = set(
    "sum max by rate increase deriv time histogram_quantile ignoring group_left and or unless on absent up "
    "count offset vector le job instance".split()
)


def texts() -> Iterator[tuple[str, str]]:
    """Everything that is not code and names options, images or metrics."""
    for path in [ROOT / "docker-compose.yml", *sorted(DEPLOY.rglob("*.yml"))]:
        yield path.name, path.read_text("utf-8")
    yield "compose.md", PAGE


@functools.cache
def exported() -> dict[str, set[str]]:
    """For each series that ``/metrics`` can show, its labels."""
    build = dict.fromkeys(("version", "model", "model_version", "digest", "provider", "client", "group"), "x")
    metrics = Metrics(build, scoring=os.getpid())
    partition = Partition("tweets", 0)
    metrics.rebalanced("assigned", [partition], [partition])
    metrics.lags({partition: 1})
    seen = Distribution({"positive": LEAST_TEXTS}, (LEAST_TEXTS, *(BINS - 1) * (0,)), 1.0, 2, 1)
    done = Committed(
        {"positive": 1}, dead={"MessageDecodeError": 1}, newest=1, offsets={partition: 1}, seen=seen
    )
    drift = Drift(metrics.registry, 60.0, Baseline(seen))
    for observer in metrics, drift:
        observer.committed(done)
    return {
        sample.name: set(sample.labels) for family in metrics.registry.collect() for sample in family.samples
    }


def queries() -> Iterator[tuple[str, str]]:
    """Return the location of each query, and the query."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in ANNOTATIONS:
        yield annotation["name"], annotation["expr"]
    for block in re.findall(r"expr: (?:>-\n)?(.+?)\n +(?:for|labels):", alerts(), re.DOTALL):
        yield "alerts.yml", " ".join(block.split())


def check_with_promtool(*arguments: str) -> None:
    """Check with Prometheus's own tool."""
    try:
        program = promtool()
    except Unavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no promtool: {error}", pytrace=False)
        pytest.skip(f"no promtool: {error}")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> str:
    return (DEPLOY / "alerts.yml").read_text("utf-8")


QUERIES = [pytest.param(query, id=f"{where}-{place}") for place, (where, query) in enumerate(queries())]


class TestQueries:
    def test_dashboard_and_alerts_have_queries(self) -> None:
        shown = sum(len(panel["targets"]) for panel in PANELS)
        assert len(QUERIES) == shown + len(ANNOTATIONS) + alerts().count("alert:")

    @pytest.mark.parametrize("query", QUERIES)
    def test_queries_use_exported_metrics_and_labels(self, query: str) -> None:
        # neither values nor durations
        bare = re.sub(r'"[^"]*"|\$__\w+|\[[^\]]*\]|(?<=offset )\w+', "", query)
        names = set(re.findall(r"[a-z_]\w*", bare)) - PROMQL
        metrics = names & exported().keys()
        labels = set().union(*(exported()[name] for name in metrics))
        assert names - metrics <= labels
        assert metrics or "up" in query

    def test_prometheus_accepts_every_query(self, tmp_path: Path) -> None:
        rules = [
            {"record": f"query:{index}", "expr": re.sub(r"\$\w+", "1m", one)}
            for index, (_, one) in enumerate(queries())
        ]
        (tmp_path / "queries.yml").write_text(
            json.dumps({"groups": [{"name": "all", "rules": rules}]}), "utf-8"
        )
        check_with_promtool("check", "rules", str(tmp_path / "queries.yml"))

    def test_alerts_pass_their_tests_in_prometheus(self) -> None:
        check_with_promtool("check", "rules", str(DEPLOY / "alerts.yml"))
        check_with_promtool("test", "rules", str(DEPLOY / "alerts.test.yml"))

    @pytest.mark.parametrize("query", QUERIES)
    def test_counters_are_queried_as_rates(self, query: str) -> None:
        for name in re.findall(r"(sentstream_\w+|process_\w+)", query):
            counted = name.endswith(("_total", "_bucket"))
            assert bool(re.search(rf"(rate|increase)\({name}\b", query)) == counted, name

    def test_every_alert_has_a_test(self) -> None:
        tests = (DEPLOY / "alerts.test.yml").read_text("utf-8")
        names = re.findall(r"alert: (\w+)", alerts())
        assert names
        assert set(names) == set(re.findall(r"alertname: (\w+)", tests))

    @pytest.mark.parametrize("query", QUERIES)
    def test_parentheses_match(self, query: str) -> None:
        for left, right in "()", "{}", "[]":
            assert query.count(left) == query.count(right)


class TestDashboard:
    def test_panels_have_ids_titles_and_descriptions(self) -> None:
        assert len({panel["id"] for panel in PANELS}) == len(PANELS)
        assert len({panel["title"] for panel in PANELS}) == len(PANELS)
        assert all(panel["description"].endswith(".") for panel in PANELS)

    def test_panels_do_not_overlap(self) -> None:
        positions = [panel["gridPos"] for panel in PANELS]
        for index in positions:
            assert index["x"] >= 0
            assert index["x"] + index["w"] <= 24
        for one, other in combinations(positions, 2):
            apart = (
                one["x"] + one["w"] <= other["x"]
                or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"]
                or other["y"] + other["h"] <= one["y"]
            )
            assert apart, (one, other)

    def test_rows_are_filled(self) -> None:
        covered = sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in PANELS)
        assert covered == 24 * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in PANELS)

    def test_data_source_is_provisioned(self) -> None:
        provisioned = (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8")
        (uid,) = re.findall(r"uid: (\S+)", provisioned)
        for panel in PANELS:
            for holder in [panel, *panel["targets"]]:
                assert holder["datasource"] == {"type": "prometheus", "uid": uid}
        assert re.findall(r"url: (\S+)", provisioned) == ["http://prometheus:9090"]

    def test_panel_queries_have_distinct_letters(self) -> None:
        for panel in PANELS:
            letters = [target["refId"] for target in panel["targets"]]
            assert len(set(letters)) == len(letters)

    def test_legend_labels_exist_in_the_query(self) -> None:
        for panel in PANELS:
            for target in panel["targets"]:
                for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                    assert re.search(rf"by \([^)]*\b{label}\b", target["expr"]), panel["title"]

    def test_dashboard_shows_the_documented_panels(self) -> None:
        shown = {name for name in exported() for _, query in queries() if name in query}
        for name in (
            *("sentstream_messages_total", "sentstream_labels_total", "sentstream_dead_letters_total"),
            *(
                "sentstream_consumer_lag",
                "sentstream_batch_seconds_bucket",
                "sentstream_batch_records_bucket",
            ),
            *("sentstream_scoring_seconds_bucket", "sentstream_last_commit_timestamp_seconds"),
            *("sentstream_build_info", "sentstream_aborts_total", "sentstream_rebalances_total"),
            *("sentstream_end_to_end_delay_seconds_bucket", "sentstream_truncated_total"),
            *("sentstream_drift_psi", "sentstream_drift_score_mean", "sentstream_drift_unknown_word_share"),
            *("process_resident_memory_bytes", "sentstream_scoring_process_resident_memory_bytes"),
            *("process_cpu_seconds_total", "sentstream_scoring_process_cpu_seconds_total"),
        ):
            assert name in shown

    def test_group_topic_and_instance_can_be_chosen(self) -> None:
        assert [variable["name"] for variable in VARIABLES] == ["group", "instance", "topic"]
        for variable in VARIABLES:
            metric, label = re.fullmatch(
                r"label_values\((\w+)[^,]*, (\w+)\)", variable["definition"]
            ).groups()  # type: ignore[union-attr]
            assert label in exported()[metric] | {"instance"}
            assert variable["query"]["query"] == variable["definition"]
            assert variable["allValue"] == ".*"  # as deploy/check.py fills them in

    @pytest.mark.parametrize("query", [query for panel in PANELS for query in panel["targets"]])
    def test_panels_use_the_selected_variables(self, query: dict[str, Any]) -> None:
        """Each panel shows the chosen instances and, where there is a topic, the chosen topics."""
        for name, _, labels in re.findall(r"\b((sentstream|process)_\w+)(?:{([^}]*)})?", query["expr"]):
            assert 'instance=~"$instance"' in labels, name
            assert ('topic=~"$topic"' in labels) == ("topic" in exported()[name])

    def test_restarts_and_model_changes_are_annotations(self) -> None:
        assert [annotation["name"] for annotation in ANNOTATIONS] == ["Restarts", "Model changes"]
        restarts, models = ANNOTATIONS
        assert restarts["expr"].startswith("process_start_time_seconds")
        assert restarts["expr"].endswith(" * 1000")  # Grafana's times are in ms
        assert restarts["useValueForTime"]
        assert "sentstream_build_info" in models["expr"]

    def test_dashboard_is_mounted_where_grafana_looks(self) -> None:
        provider = (DEPLOY / "grafana/provisioning/dashboards/files.yml").read_text("utf-8")
        (folder,) = re.findall(r"path: (\S+)", provider)
        assert f"./deploy/grafana/dashboards:{folder}:ro" in COMPOSE
        assert f"{folder}/sentstream.json" in COMPOSE


class TestCommands:
    def options(self, command: str) -> set[str]:
        node: Any = typer.main.get_command(app)
        return {name for option in node.commands[command].params for name in option.opts}

    def test_compose_options_exist(self) -> None:
        found = re.findall(r"command: \[(consume|produce), (.*?)\]", COMPOSE, re.DOTALL)
        assert sorted(command for command, _ in found) == ["consume", "produce"]
        for command, rest in found:
            assert set(re.findall(r"--[a-z-]+", rest)) <= self.options(command)

    def test_environment_variables_exist(self) -> None:
        found = {
            pair for _, text in texts() for pair in re.findall(r"SENTSTREAM_(CONSUME|PRODUCE)_(\w+)", text)
        }
        assert ("CONSUME", "BOOTSTRAP_SERVERS") in found
        for command, name in found:
            assert f"--{name.lower().replace('_', '-')}" in self.options(command.lower()), name

    def test_played_files_exist(self) -> None:
        (played,) = re.findall(r"command: \[produce, /(\S+),", COMPOSE)
        assert (ROOT / played).is_file()

    def test_metrics_port_is_consistent(self) -> None:
        (port,) = re.findall(r'--metrics-port, "(\d+)"', COMPOSE)
        assert f"localhost:{port}/healthz" in COMPOSE
        assert f"port: {port}" in (DEPLOY / "prometheus.yml").read_text("utf-8")
        assert f"EXPOSE {port}" in (ROOT / "Dockerfile").read_text("utf-8")

    def test_prometheus_discovers_consume_instances(self) -> None:
        config = (DEPLOY / "prometheus.yml").read_text("utf-8")
        assert "names: [consume]" in config
        assert re.search(r"^ +type: A$", config, re.MULTILINE)
        assert {job for _, query in queries() for job in re.findall(r'job="(\w+)"', query)} <= set(
            re.findall(r"job_name: (\w+)", config)
        )


class TestImages:
    def test_every_image_has_a_version(self) -> None:
        names = [name for _, text in texts() for name in re.findall(r"image: (\S+)", text)]
        dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
        stages = re.findall(r" AS (\S+)", dockerfile)
        names += [name for name in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) if name not in stages]
        assert len(names) >= 6
        for name in names:
            assert re.fullmatch(r"[a-z/]+:v?\d[\w.-]*", name), name

    def test_image_has_the_package_version(self) -> None:
        assert f'org.opencontainers.image.version="{VERSION}"' in (ROOT / "Dockerfile").read_text("utf-8")
        tags = {tag for _, text in texts() for tag in re.findall(r"sentstream:(\d[\w.-]*)", text)}
        assert tags == {VERSION, f"{VERSION}-cuda"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: the word, and the rest in one line."""
    lines = [
        line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")
    ]
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    pairs = (line.partition(" ") for line in whole.splitlines() if line.strip())
    return [(word, rest) for word, _, rest in pairs]


class TestDockerfile:
    def stage(self, name: str) -> dict[str, str]:
        """Return the instructions of a stage and its base stages; the last of each kind wins."""
        by_word: dict[str, str] = {}
        inside = False
        for word, rest in instructions():
            if word == "FROM":
                inside = rest.endswith(f" AS {name}")
                if inside:
                    parent = rest.split()[0]
                    by_word = self.stage(parent) if ":" not in parent else {"FROM": parent}
            elif inside:
                by_word[word] = rest
        return by_word

    def test_legacy_docker_builder_is_supported(self) -> None:
        whole = (ROOT / "Dockerfile").read_text("utf-8")
        assert not re.search(r"^# *syntax|<<|--link|--mount|@sha256|--chmod|--exclude", whole, re.MULTILINE)
        known = {
            "FROM",
            "RUN",
            "COPY",
            "ENV",
            "LABEL",
            "WORKDIR",
            "USER",
            "STOPSIGNAL",
            "EXPOSE",
            "ENTRYPOINT",
        }
        assert {word for word, _ in instructions()} <= known

    def test_cpu_image_is_the_default_and_skips_cuda(self) -> None:
        stages = [rest for word, rest in instructions() if word == "FROM"]
        assert stages[-1] == "cpu"
        names = [stage.rpartition(" AS ")[2] for stage in stages]
        assert names.index("cpu") < names.index("cuda-packages") < names.index("cuda")

    @pytest.mark.parametrize("name", ["cpu", "cuda"])
    def test_image_runs_as_an_unprivileged_user(self, name: str) -> None:
        instructions = self.stage(name)
        assert instructions["FROM"] == "python:3.11-slim"
        assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", instructions["USER"])
        assert instructions["ENTRYPOINT"] == '["sentstream"]'
        assert instructions["STOPSIGNAL"] == "SIGTERM"
        assert "ORT_DISABLE_TELEMETRY=1" in (ROOT / "Dockerfile").read_text("utf-8")

    def test_pip_uses_pinned_versions_without_cache(self) -> None:
        for name in "cpu-packages", "cuda-packages":
            assert "PIP_CONSTRAINT=/src/constraints.txt" in self.stage(name)["ENV"]
            assert "PIP_NO_CACHE_DIR=1" in self.stage(name)["ENV"]
        wheel = self.stage("wheel")["RUN"]
        assert "PIP_CONSTRAINT=constraints.txt" in wheel
        assert "PIP_BUILD_CONSTRAINT=constraints.txt" in wheel
        assert "--no-cache-dir" in wheel

    def test_build_context_has_only_what_the_wheel_needs(self) -> None:
        lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        rules = [line for line in lines if line and not line.startswith("#")]
        assert rules[0] == "*"
        sent = {rule[1:] for rule in rules if rule.startswith("!")}
        copied = {
            name
            for word, rest in instructions()
            if word == "COPY" and not rest.startswith("--from")
            for name in rest.split()[:-1]
        }
        assert copied == sent
        assert all((ROOT / name).exists() for name in sent)


@functools.cache
def compose_is_there() -> bool:
    """Whether compose can read files here; that needs no engine."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


@functools.cache
def composed(*files: str) -> dict[str, Any]:
    """The services as compose itself reads them."""
    if not compose_is_there():
        pytest.skip("docker compose is not installed")
    arguments = [part for name in files for part in ("--file", name)]
    run = subprocess.run(
        ["docker", "compose", *arguments, "config", "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    services: dict[str, Any] = json.loads(run.stdout)["services"]
    return services


class TestCompose:
    def test_services_restart_and_have_health_checks(self) -> None:
        for name, service in composed("docker-compose.yml").items():
            if name == "topics":
                assert service["restart"] == "no"
                continue
            assert service["restart"] == "unless-stopped", name
            assert {"test", "interval", "timeout", "retries", "start_period"} <= service["healthcheck"].keys()

    def test_host_mounts_are_minimal_and_read_only(
        self,
    ) -> None:
        for name, service in composed("docker-compose.yml").items():
            for volume in service.get("volumes", []):
                if volume["type"] == "bind":
                    place = Path(volume["source"]).relative_to(ROOT)
                    assert place.parts[0] in ("deploy", "examples"), name
                    assert (ROOT / place).exists()
                    assert volume["read_only"]

    def test_health_checks_do_not_start_java(self) -> None:
        service = composed("docker-compose.yml")["kafka"]
        command, *arguments = service["healthcheck"]["test"]
        assert (command, arguments) == ("CMD", ["bash", "/opt/kafka_ready.sh", "127.0.0.1", "9092"])
        mounted = {volume["target"]: volume["source"] for volume in service["volumes"]}
        assert Path(mounted["/opt/kafka_ready.sh"]) == DEPLOY / "kafka_ready.sh"
        assert "INSIDE://:9092" in service["environment"]["KAFKA_LISTENERS"]

    def test_ports_are_local_only(self) -> None:
        for service in composed("docker-compose.yml").values():
            for port in service.get("ports", []):
                assert port["host_ip"] == "127.0.0.1"

    def test_consume_can_be_scaled(self) -> None:
        consume = composed("docker-compose.yml")["consume"]
        assert not {"ports", "container_name", "hostname"} & consume.keys()
        assert "SENTSTREAM_CONSUME_INSTANCE_ID" not in consume["environment"]

    def test_consume_has_a_grace_period_and_stable_name(self) -> None:
        consume = composed("docker-compose.yml")["consume"]
        assert consume["stop_grace_period"] in ("30s", "1m0s")
        dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
        (state,) = re.findall(r"XDG_STATE_HOME=(\S+)", dockerfile)
        assert [volume["target"] for volume in consume["volumes"]] == [f"{state}/sentstream"]

    def test_sentstream_has_minimal_privileges(self) -> None:
        services = composed("docker-compose.yml")
        for name in "consume", "produce":
            assert services[name]["read_only"]
            assert services[name]["cap_drop"] == ["ALL"]
            assert services[name]["security_opt"] == ["no-new-privileges:true"]

    def test_sentstream_waits_for_the_broker_and_the_topic(self) -> None:
        services = composed("docker-compose.yml")
        for name in "consume", "produce":
            waits = {
                service: condition["condition"] for service, condition in services[name]["depends_on"].items()
            }
            assert waits == {"kafka": "service_healthy", "topics": "service_completed_successfully"}

    def test_cuda_override_changes_image_and_requests_a_device(self) -> None:
        before = composed("docker-compose.yml")["consume"]
        after = composed("docker-compose.yml", "deploy/compose.cuda.yml")["consume"]
        assert after["build"]["target"] == "cuda"
        assert after["environment"]["SENTSTREAM_CONSUME_PROVIDER"] == "cuda"
        assert after["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
        assert {key for key in after if after[key] != before.get(key)} == {
            *("build", "deploy", "environment", "image"),
        }


class TestPage:
    def test_external_broker_override_mounts_the_secrets(self, tmp_path: Path) -> None:
        (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
        (tmp_path / "compose.broker.yml").write_text(block, "utf-8")
        consume = composed("docker-compose.yml", str(tmp_path / "compose.broker.yml"))["consume"]
        (secret,) = consume["secrets"]
        file = consume["environment"]["SENTSTREAM_CONSUME_CLIENT_CONFIG"]
        assert file == f"/run/secrets/{secret['source']}"
        assert not consume["environment"]["SENTSTREAM_CONSUME_BOOTSTRAP_SERVERS"].startswith("kafka:")
        assert consume["read_only"]

    def test_page_explains_the_stack_check(self) -> None:
        assert (ROOT / "deploy" / "check.py").is_file()
        assert "python3 deploy/check.py" in PAGE

    def test_page_names_every_port(self) -> None:
        for port in re.findall(r":-(\d+)}:", COMPOSE):
            assert f"localhost:{port}" in PAGE

    def test_page_names_every_service(self) -> None:
        services = COMPOSE.partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
        for name in re.findall(r"^  (\w+):$", services, re.MULTILINE):
            assert f"`{name}`" in PAGE

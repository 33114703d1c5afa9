"""docker-compose.yml: Compose accepts it, and it says what the code understands."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
from temporalio.envconfig import ClientConfigProfile

from stack.embedded import binaries, postgres, postgres_files, replica_server
from stack.embedded.record import ROLE, TEMPORAL, TEMPORAL_UI, StackRecord
from stack.embedded.temporal_server import TemporalServer
from stack.embedded.worker_process import READY_FILE_VARIABLE
from stack.settings import ENVIRONMENT_PREFIX, Settings, resolve_databases
from tests.support.compose import COMPOSE_FILE, compose, environment, project
from workers.run import DRAIN_SECONDS

OURS = ("migrate", "worker", "cli")
COMPLETED = "service_completed_successfully"
RETIRED = ("temporalio/auto-setup", "temporalio/docker-compose")
OF_THE_PLACE = {"listen_addresses", "port", "unix_socket_directories", "cluster_name", "hba_file"}
"""Settings of an embedded Postgres that follow from where it runs, which a container decides otherwise."""

PROJECT = project()
SERVICES: dict[str, Any] = PROJECT["services"]
JOBS = {
    name
    for service in SERVICES.values()
    for name, dependency in service.get("depends_on", {}).items()
    if dependency["condition"] == COMPLETED
}
LASTING = sorted(SERVICES.keys() - JOBS - {"cli"})
DATABASE_SERVERS = sorted(name for name in SERVICES if SERVICES[name]["image"].startswith("postgres:"))
OUR_DATABASE_SERVERS = sorted(set(DATABASE_SERVERS) - {"temporal-postgres"})
REPLICAS = sorted(name for name in OUR_DATABASE_SERVERS if SERVICES[name].get("profiles") == ["replicas"])


def test_compose_accepts_it_without_a_warning() -> None:
    done = compose("config", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("replicas: 2", "replicas: two"),
        ("    working_dir: ", "    workdir: "),
        ("catalog: {condition", "catalogue: {condition"),
        ('"shard-3:/var', '"shard-4:/var'),
        ("source: read-model", "source: write-model"),
        ("<<: *postgres\n", "<<: *mysql\n"),
    ],
)
def test_compose_refuses_a_broken_copy(right: str, wrong: str, tmp_path: Path) -> None:
    whole = COMPOSE_FILE.read_text()
    assert right in whole
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(whole.replace(right, wrong, 1))
    assert compose("config", "--quiet", file=broken).returncode != 0


@pytest.mark.parametrize("name", OURS)
def test_each_variable_of_ours_is_one_that_is_read(name: str) -> None:
    known = {ENVIRONMENT_PREFIX + field.upper() for field in Settings.model_fields} | {READY_FILE_VARIABLE}
    ours = {variable for variable in SERVICES[name]["environment"] if variable.startswith(ENVIRONMENT_PREFIX)}
    assert ours
    assert ours <= known


@pytest.mark.parametrize("name", OURS)
def test_each_variable_of_temporal_is_one_that_its_client_reads(name: str) -> None:
    given = {variable: value for variable, value in environment(SERVICES[name]).items() if "TEMPORAL_" in variable}
    assert "TEMPORAL_ADDRESS" in given
    for variable, value in given.items():
        assert _profile({variable: value}) != _profile({}), variable
    host, port = (_profile(given).address or "").split(":")
    assert SERVICES[host]["ports"][0]["target"] == int(port)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("chosen", [{}, {"APP_DATABASE_PASSWORD": "own"}])
def test_every_address_leads_to_a_database_that_its_server_makes(
    name: str, chosen: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = project(**chosen)
    for variable, value in environment(read["services"][name]).items():
        monkeypatch.setenv(variable, value)
    databases = resolve_databases(Settings())
    assert [urlsplit(dsn).hostname for dsn in databases.shards.values()] == list(databases.shards)
    for dsn in [*databases.shards.values(), databases.catalog, databases.read_model]:
        address = urlsplit(dsn)
        server = read["services"][address.hostname]
        assert address.port == 5432
        assert address.username == ROLE != server["environment"]["POSTGRES_USER"]
        assert address.password == chosen.get("APP_DATABASE_PASSWORD", "development")
        assert address.path.strip("/") in _databases_made(read, server)


@pytest.mark.parametrize("chosen", [{}, {"DATABASE_PASSWORD": "own"}])
def test_only_the_job_that_migrates_knows_the_owner(chosen: dict[str, str]) -> None:
    services = project(**chosen)["services"]
    job = environment(services["migrate"])
    for name in OUR_DATABASE_SERVERS:
        server = environment(services[name])
        assert job["SHARDWISE_MIGRATION_USER"] == server["POSTGRES_USER"]
        assert job["SHARDWISE_MIGRATION_PASSWORD"] == server["POSTGRES_PASSWORD"]
        assert server["POSTGRES_PASSWORD"] == chosen.get("DATABASE_PASSWORD", "development")
    for name in ("worker", "cli"):
        assert not [variable for variable in environment(services[name]) if "MIGRATION" in variable]


@pytest.mark.parametrize("chosen", [{}, {"TEMPORAL_DATABASE_PASSWORD": "own"}])
def test_temporal_and_its_schema_job_reach_its_database(chosen: dict[str, str]) -> None:
    services = project(**chosen)["services"]
    server, schema, store = (services[name] for name in ("temporal", "temporal-schema", "temporal-postgres"))
    user, password = store["environment"]["POSTGRES_USER"], store["environment"]["POSTGRES_PASSWORD"]
    assert password == chosen.get("TEMPORAL_DATABASE_PASSWORD", "development")
    environment_of_server, environment_of_schema = server["environment"], schema["environment"]
    assert [environment_of_server[name] for name in ("POSTGRES_SEEDS", "POSTGRES_USER", "POSTGRES_PWD")] == [
        environment_of_schema[name] for name in ("SQL_HOST", "SQL_USER", "SQL_PASSWORD")
    ]
    assert (environment_of_schema["SQL_HOST"], environment_of_schema["SQL_USER"]) == ("temporal-postgres", user)
    assert environment_of_schema["SQL_PASSWORD"] == password
    assert environment_of_server["DB"] == environment_of_schema["SQL_PLUGIN"]


@pytest.mark.parametrize("name", OURS)
def test_a_setting_of_the_shell_reaches_the_container(name: str) -> None:
    variable = "SHARDWISE_CANCELLATION_WINDOW_SECONDS"
    assert variable not in environment(SERVICES[name])
    assert environment(project(**{variable: "2.5"})["services"][name])[variable] == "2.5"


def test_images_are_pinned_and_none_is_retired() -> None:
    images = {service["image"] for service in SERVICES.values()} - {"shardwise"}
    for image in images:
        repository, _, tag = image.partition(":")
        assert repository not in RETIRED
        assert tag[:1].isdigit(), image


def test_the_containers_run_the_temporal_that_the_tests_run_on() -> None:
    program = binaries.temporal_bin(Settings())
    embedded = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    for name, part in (
        ("temporal", "Server"),
        ("temporal-schema", "Server"),
        ("temporal-namespace", "Server"),
        ("temporal-ui", "UI"),
    ):
        major, minor, _ = SERVICES[name]["image"].partition(":")[2].split(".")
        assert f"{part} {major}.{minor}." in embedded, name


def test_temporal_is_tuned_as_the_embedded_one_is(tmp_path: Path) -> None:
    record = StackRecord(shards=[], ports={TEMPORAL: 1, TEMPORAL_UI: 2})
    command = TemporalServer(tmp_path, tmp_path, lambda: tmp_path, record).command()
    values = [command[at + 1] for at, word in enumerate(command) if word == "--dynamic-config-value"]
    (mounted,) = SERVICES["temporal"]["configs"]
    assert mounted["target"] == SERVICES["temporal"]["environment"]["DYNAMIC_CONFIG_FILE_PATH"]
    content = PROJECT["configs"][mounted["source"]]["content"]
    assert content == "".join(f"{key}:\n  - value: {value}\n" for key, value in (each.split("=") for each in values))


@pytest.mark.parametrize("name", ["temporal-schema", "temporal-namespace"])
def test_a_job_is_a_script_that_a_shell_can_read(name: str) -> None:
    assert SERVICES[name]["entrypoint"] == ["sh", "-euc"]
    (script,) = SERVICES[name]["command"]
    subprocess.run(["sh", "-n", "-c", script], timeout=10, check=True)


@pytest.mark.parametrize("name", DATABASE_SERVERS)
def test_a_database_server_keeps_its_data_on_a_volume_of_its_own(name: str) -> None:
    """Postgres 18 moved its image's volume one level up: below a mount at the old path, the data would be lost."""
    (volume,) = SERVICES[name]["volumes"]
    major = int(SERVICES[name]["image"].partition(":")[2].partition(".")[0])
    assert volume["type"] == "volume"
    assert volume["target"] == ("/var/lib/postgresql" if major >= 18 else "/var/lib/postgresql/data")
    others = [SERVICES[other]["volumes"][0]["source"] for other in DATABASE_SERVERS if other != name]
    assert volume["source"] not in others


@pytest.mark.parametrize("name", OUR_DATABASE_SERVERS)
def test_a_database_server_is_configured_as_the_embedded_ones_are(name: str) -> None:
    configuration = postgres._CONFIGURATION + postgres._FOR_REPLICAS
    if name in REPLICAS:
        configuration += replica_server._REPLICA_CONFIGURATION.format(primary="$PRIMARY")
    embedded = dict(line.split(" = ") for line in configuration.splitlines() if not line.startswith("#"))
    command = SERVICES[name]["command"]
    started = shlex.split(command[0].partition("exec docker-entrypoint.sh ")[2]) if name in REPLICAS else command
    program, *options = (each for each in started if each.strip())
    assert program == "postgres"
    chosen = dict(option.removeprefix("--").split("=") for option in options)
    assert chosen.pop("hba_file") == SERVICES[name]["configs"][0]["target"]
    assert chosen == {key: value.strip("'") for key, value in embedded.items() if key not in OF_THE_PLACE}


def test_there_is_a_replica_of_each_shard_for_who_wants_one() -> None:
    assert REPLICAS == ["shard-1-replica-1", "shard-2-replica-1", "shard-3-replica-1"]
    for name in REPLICAS:
        shard = name.removesuffix("-replica-1")
        service, primary = SERVICES[name], SERVICES[shard]
        conninfo = dict(word.split("=") for word in service["environment"]["PRIMARY"].split())
        assert (conninfo["host"], conninfo["application_name"]) == (shard, name)
        assert conninfo["user"] == primary["environment"]["POSTGRES_USER"]
        assert service["environment"]["PGPASSWORD"] == primary["environment"]["POSTGRES_PASSWORD"]
        assert list(service["depends_on"]) == [shard]
        assert service["entrypoint"] == ["bash", "-euc"]
        subprocess.run(["bash", "-n", "-c", service["command"][0]], timeout=10, check=True)
    usual = compose("config", "--services", profile="")
    assert "worker" in usual.stdout.split()
    assert not set(REPLICAS) & set(usual.stdout.split())


def test_the_page_on_replicas_says_how_the_containers_are_told_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "replicas.md").read_text()
    [told] = re.findall(r"^(?:export )?SHARDWISE_REPLICAS='(.*shard-3-replica-1.*)'$", page, re.MULTILINE)
    for variable, value in environment(project(SHARDWISE_REPLICAS=told)["services"]["cli"]).items():
        monkeypatch.setenv(variable, value)
    databases = resolve_databases(Settings())
    for shard, replicas in databases.replicas.items():
        addresses = [urlsplit(replica.dsn) for replica in replicas]
        assert [each.hostname for each in addresses] == [f"{shard}-replica-1"]
        assert addresses[0]._replace(netloc="") == urlsplit(databases.shards[shard])._replace(netloc="")
        assert addresses[0].username == ROLE
    assert list(databases.replicas) == list(databases.shards)


@pytest.mark.parametrize("name", OUR_DATABASE_SERVERS)
def test_a_database_sorts_as_the_embedded_ones_do(name: str) -> None:
    embedded = [option for option in postgres_files._INITDB_OPTIONS if "locale" in option or "encoding" in option]
    assert sorted(SERVICES[name]["environment"]["POSTGRES_INITDB_ARGS"].split()) == sorted(embedded)


def test_every_service_is_known_to_these_tests() -> None:
    assert sorted(JOBS) == ["migrate", "temporal-namespace", "temporal-schema"]
    assert sorted(set(OUR_DATABASE_SERVERS) - set(REPLICAS)) == ["catalog", "shard-1", "shard-2", "shard-3"]
    assert set(LASTING) == {*DATABASE_SERVERS, "temporal", "temporal-ui", "worker"}
    assert SERVICES["cli"]["profiles"] == ["cli"]


@pytest.mark.parametrize("name", LASTING)
def test_each_lasting_service_has_a_health_check_and_is_restarted(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_that_depends_on_a_server_waits_until_it_is_healthy(name: str) -> None:
    for dependency, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] == (COMPLETED if dependency in JOBS else "service_healthy"), dependency


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert {port["host_ip"] for port in SERVICES[name].get("ports", [])} <= {"127.0.0.1"}


def test_the_worker_can_be_multiplied_and_has_the_time_to_drain() -> None:
    worker = SERVICES["worker"]
    assert not worker.keys() & {"container_name", "hostname", "ports"}
    assert worker["deploy"]["replicas"] == 2
    assert float(worker["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS


def test_the_worker_is_healthy_once_it_polls_and_not_by_an_earlier_run() -> None:
    worker = SERVICES["worker"]
    ready_file = worker["environment"][READY_FILE_VARIABLE]
    assert worker["healthcheck"]["test"] == ["CMD", "test", "-s", ready_file]
    assert str(PurePosixPath(ready_file).parent) in worker["tmpfs"]


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_change_nothing_but_their_scratch_folder(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert all(volume["read_only"] for volume in service.get("volumes", []))


def _profile(variables: dict[str, str]) -> ClientConfigProfile:
    return ClientConfigProfile.load(disable_file=True, override_env_vars=variables)


def _databases_made(read: dict[str, Any], server: dict[str, Any]) -> set[str]:
    """By the image itself, and by the statements that it finds at its first start."""
    scripts = [
        read["configs"][config["source"]]["content"]
        for config in server.get("configs", [])
        if config["target"].startswith("/docker-entrypoint-initdb.d/") and config["target"].endswith(".sql")
    ]
    made = {script.strip().removeprefix("CREATE DATABASE ").removesuffix(";") for script in scripts}
    return made | {server["environment"]["POSTGRES_DB"]}

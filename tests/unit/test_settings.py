"""What the environment can set, and how a mistake in it is reported."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from sqlalchemy.engine import make_url

from domain.errors import InvalidInput, Unreachable
from domain.replicas import ReplicaAddress
from stack.embedded.ports import USUAL_TEMPORAL, PortClaims, is_free
from stack.embedded.record import StackRecord
from stack.settings import Settings, load_settings, resolve_databases, resolve_owner_databases

OWN = '{"eu": "postgres://u:p@eu.example:5432/shop"}'


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SHARDWISE_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SHARDWISE_SHARDS", "not json"),
        ("SHARDWISE_SHARDS", '{"eu": "mysql://eu.example/shop"}'),
        ("SHARDWISE_SHARDS", '{"a/b": "postgresql://eu.example/shop"}'),
        ("SHARDWISE_SHARDS", ""),
        ("SHARDWISE_SHARDS", "null"),
        ("SHARDWISE_SHARDS", "[" * 100_000),
        ("SHARDWISE_SHARDS", '{"eu": "postgresql://eu.example"}'),
        ("SHARDWISE_SHARDS", '{"eu": "postgresql:///shop"}'),
        ("SHARDWISE_SHARDS", '{"eu": "postgresql://eu.example:port/shop"}'),
        ("SHARDWISE_SHARDS", '{"eu": "postgresql://eu.example:99999/shop"}'),
        ("SHARDWISE_SHARDS", '{"eu": "postgresql://[::1/shop"}'),
        ("SHARDWISE_SHARDS", '{"eu": "postgresql://eu.example/shop?sslmode=require"}'),
        ("SHARDWISE_SHARDS", '{"eu": "postgresql://eu.example/shop?ssl=full"}'),
        ("SHARDWISE_SHARDS", '{"eu": "postgresql://eu.example/shop?ssl=require&ssl=disable"}'),
        ("SHARDWISE_SHARDS", '{"eu": "postgresql://eu.example/shop?ssl=require&sslrootcert=ca.pem"}'),
        ("SHARDWISE_CATALOG_DSN", "postgresql://eu.example/shop?sslrootcert=ca.pem"),
        ("SHARDWISE_SHARDS", r'{"eu": "postgresql://eu\u202e.example/shop"}'),
        ("SHARDWISE_SHARDS", r'{"eu": "postgresql://eu.example/sh\u0000op"}'),
        ("SHARDWISE_SHARDS", '{"eu": "postgresql://' + "x" * 5000 + '/shop"}'),
        ("SHARDWISE_SHARDS", '{"eu": "postgresql://a.example/shop", "eu": "postgresql://b.example/shop"}'),
        ("SHARDWISE_SHARDS", '{"eu": "postgresql://a.example/shop", "EU": "postgresql://b.example/shop"}'),
        ("SHARDWISE_SHARDS", '{"catalog": "postgresql://a.example/shop"}'),
        ("SHARDWISE_CATALOG_DSN", ""),
        ("SHARDWISE_REPLICAS", "not json"),
        ("SHARDWISE_REPLICAS", ""),
        ("SHARDWISE_REPLICAS", "[" * 100_000),
        # Of shards that SHARDWISE_SHARDS does not name: here it names none.
        ("SHARDWISE_REPLICAS", '{"eu": [{"dsn": "postgresql://eu.example/shop"}]}'),
        ("SHARDWISE_REPLICA_LAG_BYTES_MAX", "-1"),
        ("SHARDWISE_REPLICA_LAG_BYTES_MAX", "99999999999999999999"),
        ("SHARDWISE_DATA_DIR", ""),
        ("SHARDWISE_POOL_SIZE", "1000000000"),
        ("SHARDWISE_MAX_CACHED_WORKFLOWS", "99999999999999999999"),
        ("SHARDWISE_CANCELLATION_WINDOW_SECONDS", "inf"),
        ("SHARDWISE_CANCELLATION_WINDOW_SECONDS", "nan"),
        ("SHARDWISE_CANCELLATION_WINDOW_SECONDS", "1e300"),
        ("SHARDWISE_STUCK_AFTER_SECONDS", "inf"),
        ("SHARDWISE_POOL_SIZE", "0"),
        ("SHARDWISE_STUCK_AFTER_SECONDS", "soon"),
        ("SHARDWISE_ACTIVITY_MODE", "fast"),
        ("SHARDWISE_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_value_is_reported_with_its_variable(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert caught.value.field == variable
    assert variable in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("POOL_SIZE", "many", "expected a whole number, got 'many'"),
        ("POOL_SIZE", "0", "expected at least 1, got '0'"),
        ("STUCK_AFTER_SECONDS", "soon", "expected a number, got 'soon'"),
        ("CANCELLATION_WINDOW_SECONDS", "inf", "expected at most 31536000, got 'inf'"),
        ("WORKFLOW_SANDBOX", "perhaps", "expected true or false, got 'perhaps'"),
        ("ACTIVITY_MODE", "fast", "expected 'local_first' or 'regular', got 'fast'"),
        ("SHARDS", "geheim", "expected JSON (wrong from column 1 on)"),
        ("SHARDS", "[]", "expected an object"),
        ("SHARDS", '{"eu": 1}', "eu: expected text in quotes"),
        (
            "SHARDS",
            '{"a/b": "postgresql://db/o"}',
            "a shard's name: expected 1 to 63 of letters, digits, '.', '_', '-'",
        ),
        ("CATALOG_DSN", "db", "expected an address such as postgresql://user:password@host:port/database"),
        ("MIGRATION_USER", "", "expected at least 1 character(s)"),
    ],
)
def test_a_fault_is_reported_in_our_own_words(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SHARDWISE_{variable}", value)
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert caught.value.message == f"SHARDWISE_{variable}: {message}"


@pytest.mark.parametrize(
    "shards",
    [
        '{"postgresql://app:geheim@db/o": "shard-1"}',
        '{"eu": "postgresql://app@db/o?geheim=1"}',
        '{"eu": "postgresql://app:geheim@db/o?ssl=full"}',
        '{"eu": "app:geheim@db/o"}',
    ],
)
def test_a_mistake_in_an_address_shows_no_password(shards: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDWISE_SHARDS", shards)
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert "geheim" not in caught.value.message


@pytest.mark.parametrize(
    ("replicas", "told"),
    [
        ("[]", "expected an object"),
        ('{"eu": {}}', "eu: expected a list"),
        ('{"eu": ["postgresql://app:geheim@db/o"]}', "eu: replica 1: expected an object"),
        ('{"eu": [{"weight": 2}]}', "eu: replica 1: dsn: this field is required"),
        (
            '{"eu": [{"dsn": "postgresql://db/o"}, {"dsn": "app:geheim@db/o"}]}',
            "eu: replica 2: dsn: expected an address such as postgresql://user:password@host:port/database",
        ),
        ('{"eu": [{"dsn": "postgresql://db/o", "weight": 0}]}', "eu: replica 1: weight: expected at least 1"),
        ('{"eu": [{"dsn": "postgresql://db/o", "weight": 101}]}', "eu: replica 1: weight: expected at most 100"),
        ('{"eu": [{"dsn": "postgresql://db/o", "weight": "2"}]}', "eu: replica 1: weight: expected a whole number"),
        ('{"eu": [{"dsn": "postgresql://db/o", "wight": 2}]}', "eu: replica 1: there is no such field"),
        ('{"eu": [{"postgresql://app:geheim@db/o": 1}]}', "eu: replica 1: dsn: this field is required"),
        ('{"postgresql://app:geheim@db/o": []}', "a shard's name: expected 1 to 63 of letters, digits, '.', '_', '-'"),
        ('{"us": [], "ap": []}', "expected shards that SHARDWISE_SHARDS names, got ap, us"),
        (
            '{"eu": [{"dsn": "postgresql://db/o"}, {"dsn": "postgresql://db2/o"}]}',
            "expected no shard of the name eu-replica-2, which is that of a replica",
        ),
    ],
)
def test_a_mistake_in_the_replicas_is_told_without_a_password(
    replicas: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARDWISE_SHARDS", '{"eu": "postgresql://a/o", "eu-replica-2": "postgresql://b/o"}')
    monkeypatch.setenv("SHARDWISE_REPLICAS", replicas)
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert (caught.value.field, caught.value.message) == ("SHARDWISE_REPLICAS", f"SHARDWISE_REPLICAS: {told}")


def test_a_mistake_in_the_shards_is_told_before_one_in_the_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDWISE_SHARDS", "geheim")
    monkeypatch.setenv("SHARDWISE_REPLICAS", '{"eu": []}')
    with pytest.raises(InvalidInput, match="SHARDWISE_SHARDS"):
        load_settings()


def test_the_option_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDWISE_DATA_DIR", "from-variable")
    assert load_settings().data_dir == Path("from-variable")
    assert load_settings(Path("from-option")).data_dir == Path("from-option")


def test_own_servers_need_a_catalog_and_a_read_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDWISE_SHARDS", OWN)
    with pytest.raises(InvalidInput, match="SHARDWISE_CATALOG_DSN is needed"):
        resolve_databases(load_settings())
    monkeypatch.setenv("SHARDWISE_CATALOG_DSN", "postgresql://c.example/catalog")
    with pytest.raises(InvalidInput, match="SHARDWISE_READ_MODEL_DSN is needed"):
        resolve_databases(load_settings())


def test_own_servers_are_taken_whole_and_in_one_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDWISE_SHARDS", OWN)
    monkeypatch.setenv("SHARDWISE_CATALOG_DSN", "postgresql://c.example/catalog")
    monkeypatch.setenv("SHARDWISE_READ_MODEL_DSN", "postgresql://r.example/read_model")
    databases = resolve_databases(load_settings())
    assert databases.shards == {"eu": "postgresql://u:p@eu.example:5432/shop"}
    assert databases.catalog == "postgresql://c.example/catalog"


def test_replicas_are_taken_with_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDWISE_SHARDS", OWN)
    monkeypatch.setenv("SHARDWISE_CATALOG_DSN", "postgresql://c.example/catalog")
    monkeypatch.setenv("SHARDWISE_READ_MODEL_DSN", "postgresql://r.example/read_model")
    assert resolve_databases(load_settings()).replicas == {}
    monkeypatch.setenv(
        "SHARDWISE_REPLICAS",
        '{"eu": [{"dsn": "postgres://u:geheim@a/shop", "weight": 2}, {"dsn": "postgresql://b/shop"}]}',
    )
    settings = load_settings()
    databases = resolve_databases(settings)
    assert databases.replicas == {
        "eu": [ReplicaAddress("postgresql://u:geheim@a/shop", 2), ReplicaAddress("postgresql://b/shop", 1)]
    }
    assert len(databases.all) == 3
    assert "geheim" not in repr(settings) + settings.model_dump_json() + repr(databases) + repr(databases.replicas)


def test_a_stack_has_the_replicas_of_its_record(tmp_path: Path) -> None:
    ports = {"shard-1": 1, "catalog": 2, "temporal": 3, "temporal-ui": 4, "shard-1-replica-1": 5}
    StackRecord(shards=["shard-1"], replicas=1, ports=ports, password=SecretStr("p")).save(tmp_path)
    assert resolve_databases(load_settings(tmp_path)).replicas == {
        "shard-1": [ReplicaAddress("postgresql://shardwise:p@127.0.0.1:5/shardwise", 1)]
    }


def test_without_a_stack_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="run `shardwise up --detach`"):
        resolve_databases(load_settings(tmp_path))


def test_a_recorded_stack_is_found(tmp_path: Path) -> None:
    ports = {"shard-1": 1, "catalog": 2, "temporal": 3, "temporal-ui": 4}
    record = StackRecord(shards=["shard-1"], ports=ports, password=SecretStr("p"))
    record.save(tmp_path)
    databases = resolve_databases(load_settings(tmp_path))
    assert databases.shards == {"shard-1": "postgresql://shardwise:p@127.0.0.1:1/shardwise"}
    assert databases.catalog == "postgresql://shardwise:p@127.0.0.1:2/catalog"
    assert databases.read_model == "postgresql://shardwise:p@127.0.0.1:2/read_model"


def test_a_role_is_distinguished_from_the_owner(tmp_path: Path) -> None:
    ports = {"shard-1": 1, "catalog": 2, "temporal": 3, "temporal-ui": 4}
    StackRecord(shards=["shard-1"], ports=ports, password=SecretStr("p"), role_password=SecretStr("r")).save(tmp_path)
    settings = load_settings(tmp_path)
    assert resolve_databases(settings).shards == {"shard-1": "postgresql://shardwise_app:r@127.0.0.1:1/shardwise"}
    assert resolve_owner_databases(settings).catalog == "postgresql://shardwise:p@127.0.0.1:2/catalog"


def test_own_servers_have_an_owner_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDWISE_SHARDS", OWN)
    monkeypatch.setenv("SHARDWISE_CATALOG_DSN", "postgresql://c.example/catalog?ssl=verify-full")
    monkeypatch.setenv("SHARDWISE_READ_MODEL_DSN", "postgresql://r.example/read_model")
    assert resolve_owner_databases(load_settings()).shards == resolve_databases(load_settings()).shards
    monkeypatch.setenv("SHARDWISE_MIGRATION_USER", "owner")
    monkeypatch.setenv("SHARDWISE_MIGRATION_PASSWORD", "p@ss/word")
    owners = resolve_owner_databases(load_settings())
    assert make_url(owners.shards["eu"]).password == "p@ss/word"
    assert owners.shards == {"eu": "postgresql://owner:p%40ss%2Fword@eu.example:5432/shop"}
    assert owners.catalog == "postgresql://owner:p%40ss%2Fword@c.example/catalog?ssl=verify-full"


@pytest.mark.parametrize("rendered", [repr, str, lambda settings: settings.model_dump_json()])
def test_settings_and_addresses_show_no_password(
    rendered: Callable[[Settings], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARDWISE_SHARDS", '{"eu": "postgres://u:geheim@eu.example:5432/shop"}')
    monkeypatch.setenv("SHARDWISE_CATALOG_DSN", "postgresql://u:geheim@c.example/catalog")
    monkeypatch.setenv("SHARDWISE_READ_MODEL_DSN", "postgresql://u:geheim@c.example/read_model")
    monkeypatch.setenv("SHARDWISE_MIGRATION_PASSWORD", "geheim")
    settings = load_settings()
    assert "geheim" not in rendered(settings)
    assert "geheim" in resolve_databases(settings).catalog
    assert "geheim" not in repr(resolve_databases(settings))


GOOD_RECORD = StackRecord(
    shards=["shard-1"], ports={"shard-1": 1, "catalog": 2, "temporal": 3, "temporal-ui": 4}
).model_dump(mode="json")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[" * 100_000,
        json.dumps(GOOD_RECORD | {"version": 2}),
        json.dumps(GOOD_RECORD | {"shards": []}),
        json.dumps(GOOD_RECORD | {"shards": ["../shard-1"]}),
        json.dumps(GOOD_RECORD | {"ports": {"shard-1": 1, "catalog": 2, "temporal": 3}}),
        json.dumps(GOOD_RECORD | {"ports": GOOD_RECORD["ports"] | {"temporal": 70_000}}),
        json.dumps(GOOD_RECORD | {"workers": -1}),
        json.dumps(GOOD_RECORD | {"replicas": 1}),
        json.dumps(GOOD_RECORD | {"replicas": 4}),
        json.dumps(GOOD_RECORD | {"replicas": -1}),
        json.dumps(GOOD_RECORD | {"processes": {"temporal": {"pid": -1, "started_at": 1}}}),
    ],
)
def test_an_unreadable_record_is_not_treated_as_no_record(tmp_path: Path, content: str) -> None:
    StackRecord.path(tmp_path).write_text(content)
    with pytest.raises(InvalidInput, match="cannot read"):
        StackRecord.find(tmp_path)


def test_a_record_of_before_has_no_replicas(tmp_path: Path) -> None:
    before = {name: value for name, value in GOOD_RECORD.items() if name != "replicas"}
    StackRecord.path(tmp_path).write_text(json.dumps(before))
    record = StackRecord.load(tmp_path)
    assert (record.replicas, record.replica_servers, record.surplus_replicas) == (0, {}, {})


def test_a_record_knows_the_replicas_of_each_shard_and_which_are_too_many() -> None:
    record = StackRecord(shards=["shard-1", "shard-2"], replicas=2, ports={})
    assert list(record.replica_servers.items()) == [
        ("shard-1-replica-1", "shard-1"),
        ("shard-1-replica-2", "shard-1"),
        ("shard-2-replica-1", "shard-2"),
        ("shard-2-replica-2", "shard-2"),
    ]
    assert record.replicas_of("catalog") == []
    record.ports = dict.fromkeys(record.replica_servers, 1)
    record.made = [*record.replica_servers]
    record.replicas = 1
    assert record.surplus_replicas == {"shard-1-replica-2": "shard-1", "shard-2-replica-2": "shard-2"}
    record.forget("shard-1-replica-2")
    assert record.surplus_replicas == {"shard-2-replica-2": "shard-2"}
    assert "shard-1-replica-2" not in record.made


def test_a_worker_gets_what_was_set_but_no_own_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHARDWISE_SHARDS", OWN)
    monkeypatch.setenv("SHARDWISE_WORKFLOW_SANDBOX", "true")
    monkeypatch.setenv("SHARDWISE_CANCELLATION_WINDOW_SECONDS", "2.5")
    assert load_settings().for_embedded_workers(tmp_path) == {
        "SHARDWISE_DATA_DIR": str(tmp_path),
        "SHARDWISE_WORKFLOW_SANDBOX": "true",
        "SHARDWISE_CANCELLATION_WINDOW_SECONDS": "2.5",
    }


def test_two_first_starts_never_choose_the_same_ports() -> None:
    first, second = PortClaims(), PortClaims()
    try:
        chosen = [claims.choose(usual) for usual in (USUAL_TEMPORAL, None) for claims in (first, second, first)]
        assert len(set(chosen)) == len(chosen)
        assert all(is_free(port) for port in chosen)
    finally:
        first.release()
        second.release()


# Of the tests only.
UNTOLD = {"temporal_test_server_bin"}


@pytest.mark.parametrize("name", sorted(Settings.model_fields.keys() - UNTOLD))
def test_the_page_for_operators_shows_every_setting_and_its_default(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    default, variable = Settings.model_fields[name].get_default(), f"SHARDWISE_{name.upper()}"
    if default in (None, PydanticUndefined):
        assert variable in text
    else:
        written = str(default).lower() if isinstance(default, bool) else str(default)
        assert re.search(rf"^\| `{variable}` \| `?{re.escape(written)}`? \|", text, re.MULTILINE)

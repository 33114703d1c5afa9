"""What the environment can say, and how a mistake in it is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from domain.errors import InvalidInput, Unreachable
from stack.embedded.ports import USUAL_TEMPORAL, PortClaims, is_free
from stack.embedded.record import StackRecord
from stack.settings import load_settings, resolve_databases

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
        ("SHARDWISE_POOL_SIZE", "0"),
        ("SHARDWISE_STUCK_AFTER_SECONDS", "soon"),
        ("SHARDWISE_ACTIVITY_MODE", "fast"),
        ("SHARDWISE_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_value_is_told_with_its_variable(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert caught.value.field == variable
    assert variable in caught.value.message


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


def test_without_a_stack_the_way_to_make_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="run `shardwise up`"):
        resolve_databases(load_settings(tmp_path))


def test_a_recorded_stack_is_found(tmp_path: Path) -> None:
    record = StackRecord(shards=["shard-1"], ports={"shard-1": 1, "catalog": 2}, password="p")
    record.save(tmp_path)
    databases = resolve_databases(load_settings(tmp_path))
    assert databases.shards == {"shard-1": "postgresql://shardwise:p@127.0.0.1:1/shardwise"}
    assert databases.catalog == "postgresql://shardwise:p@127.0.0.1:2/catalog"
    assert databases.read_model == "postgresql://shardwise:p@127.0.0.1:2/read_model"


def test_a_record_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    StackRecord.path(tmp_path).write_text("{}")
    with pytest.raises(InvalidInput, match="cannot read"):
        StackRecord.find(tmp_path)


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

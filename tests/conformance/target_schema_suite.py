"""What every target's catalog has to do: tables, indexes, constraints.

The suite knows no database. Subclass it in a test module and give it a fixture `world` (`TargetWorld`).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.migration_suite import MigrationSuite
from tests.conformance.target_world import (
    BOOKINGS,
    CUSTOMERS,
    ORDERS,
    STREAMS,
    Migration,
    TargetWorld,
    customer,
    object_id,
    order,
)
from tranship.connectors.errors import (
    EpochMovedError,
    NotOursError,
)
from tranship.connectors.protocols import (
    Feed,
    Scope,
)


class TargetSchemaSuite(MigrationSuite):
    """`TargetSchema`."""

    def test_the_identity_stays(self, world: TargetWorld) -> None:
        assert world.schema().identity() == world.schema().identity() != ""

    def test_an_empty_target_has_no_error(self, world: TargetWorld) -> None:
        assert [f for f in world.schema().findings(STREAMS, "shop-1") if f.severity == "error"] == []

    def test_tables_are_made_once_and_dropped(self, world: TargetWorld) -> None:
        schema = world.schema()
        scope = Scope("shop-1", Feed.FORWARD, world.take_over("shop-1"))
        assert len(schema.table_differences(STREAMS)) >= 2
        made = schema.create_tables(scope, STREAMS)
        assert len(made) >= 5
        assert schema.create_tables(scope, STREAMS) == []
        assert schema.table_differences(STREAMS) == []
        assert [f for f in schema.findings(STREAMS, "shop-1") if f.severity == "error"] == []
        assert sorted(schema.drop_tables(scope, STREAMS)) == sorted(made)
        assert schema.drop_tables(scope, STREAMS) == []
        assert len(schema.table_differences(STREAMS)) >= 2

    def test_what_another_run_made_is_left_alone(self, migration: Migration) -> None:
        migration.load([order(1)])
        other = Scope("shop-2", Feed.FORWARD, migration.world.take_over("shop-2"))
        schema = migration.world.schema()
        findings = [f for f in schema.findings(STREAMS, other.run) if f.severity == "error"]
        assert any("orders" in finding.message for finding in findings)
        with pytest.raises(NotOursError, match="shop-1"):
            schema.create_tables(other, STREAMS)
        assert schema.drop_tables(other, STREAMS) == []
        migration.world.progress().forget_chunks(other, STREAMS)
        assert migration.numbers() == [1]

    def test_indexes_come_and_go(self, migration: Migration) -> None:
        schema, scope = migration.schema, migration.scope
        assert len(schema.index_differences(STREAMS)) == 1
        for _ in range(2):
            schema.create_indexes(scope, STREAMS)
            assert schema.index_differences(STREAMS) == []
        for _ in range(2):
            schema.drop_indexes(scope, STREAMS)
            assert len(schema.index_differences(STREAMS)) == 1

    def test_indexes_of_every_kind_come_and_go(self, migration: Migration) -> None:
        schema, scope = migration.schema, migration.scope
        schema.create_tables(scope, [BOOKINGS])
        assert schema.table_differences([BOOKINGS]) == []
        for _ in range(2):
            schema.create_indexes(scope, [BOOKINGS])
            schema.create_constraints(scope, [BOOKINGS])
            assert schema.index_differences([BOOKINGS]) == schema.constraint_differences([BOOKINGS]) == []
            schema.drop_constraints(scope, [BOOKINGS])
            schema.drop_indexes(scope, [BOOKINGS])
            assert len(schema.index_differences([BOOKINGS])) == 4
            assert len(schema.constraint_differences([BOOKINGS])) == 3

    def test_constraints_come_and_go(self, migration: Migration) -> None:
        schema, scope = migration.schema, migration.scope
        migration.load([order(1), order(2, number=None), order(3, number=None)])
        assert len(schema.constraint_differences(STREAMS)) >= 2
        for _ in range(2):
            schema.create_constraints(scope, STREAMS)
            assert schema.constraint_differences(STREAMS) == []
        for _ in range(2):
            schema.drop_constraints(scope, STREAMS)
            assert len(schema.constraint_differences(STREAMS)) >= 2

    def test_nothing_is_made_under_an_old_epoch(self, migration: Migration) -> None:
        migration.world.take_over(migration.scope.run)
        schema = migration.world.schema()
        calls: list[Callable[[], object]] = [
            lambda: schema.create_indexes(migration.scope, STREAMS),
            lambda: schema.create_constraints(migration.scope, STREAMS),
            lambda: schema.drop_tables(migration.scope, STREAMS),
        ]
        for call in calls:
            with pytest.raises(EpochMovedError):
                call()
        assert schema.table_differences(STREAMS) == []
        assert len(schema.index_differences(STREAMS)) == 1
        assert len(schema.constraint_differences(STREAMS)) >= 2

    def test_dangling_references_are_counted(self, migration: Migration) -> None:
        migration.load([customer(1, "a"), customer(2, None)], CUSTOMERS)
        nobody = object_id(77)
        migration.load([order(1), order(2), order(3, customer=nobody), order(4, customer=None), order(5)])
        assert migration.schema.dangling(ORDERS) == {"customer": 2}
        assert migration.schema.dangling(CUSTOMERS) == {}
        assert migration.schema.count(ORDERS) == 5
        assert migration.schema.count(CUSTOMERS) == 2

    def test_keys_that_are_referred_to_in_vain_are_named(self, migration: Migration) -> None:
        nobody, nowhere = object_id(77), object_id(78)
        migration.load([customer(1, "a")], CUSTOMERS)
        migration.load([order(n, customer=nobody if n % 3 else nowhere) for n in range(1, 7)])
        found = migration.schema.dangling_keys(migration.scope, ORDERS, 5)
        named = {name: [(to, key.hex(), rows) for to, key, rows in keys] for name, keys in found.items()}
        # An ObjectId's canonical key: its type, then its twelve bytes (`docs/architecture.md`).
        assert [(to, key[-24:], rows) for to, key, rows in named["customer"]] == [
            ("customers", nobody, 4),
            ("customers", nowhere, 2),
        ]
        assert len(migration.schema.dangling_keys(migration.scope, ORDERS, 1)["customer"]) == 1
        assert migration.schema.dangling_keys(migration.scope, CUSTOMERS, 5) == {}

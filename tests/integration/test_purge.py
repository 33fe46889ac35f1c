"""`tranship purge` beside other people: only tranship's own tables go."""

from __future__ import annotations

from tests.integration.route import STATE, THINGS, Route, things

FINISHED, REFUSED = 0, 3


def _ended(route: Route) -> str:
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    run = route.run_to_approval(plan)
    route.tranship("rollback", plan)
    run.wait()
    assert route.status(plan).status == "rolled back", run.output
    return str(plan)


def test_a_table_of_somebody_else_in_the_state_schema_stays(route: Route) -> None:
    plan = _ended(route)
    route.query(f"create table {STATE}.precious as select 1 as a; create table {STATE}.shadow as select 1 as a")
    assert route.tranship("purge", plan, "--yes")[0] == FINISHED
    left = route.query("select relname from pg_class where relkind = 'r' and relnamespace = %s::regnamespace", STATE)
    assert sorted(left) == [("precious",), ("shadow",)]
    assert route.query(f"select a from {STATE}.precious") == [(1,)]


def test_what_depends_on_a_state_table_is_named_and_stays(route: Route) -> None:
    plan = _ended(route)
    route.query(f"create view public.watch as select run from {STATE}.run")
    route.query(f"create table public.notes (run text references {STATE}.run)")
    code, said = route.tranship("purge", plan, "--yes")
    assert (code, "view public.watch" in said, "of public.notes" in said) == (REFUSED, True, True), said
    assert len(route.query("select * from public.watch")) == 1
    route.query("drop view public.watch")
    route.query("drop table public.notes")
    assert route.tranship("purge", plan, "--yes")[0] == FINISHED
    assert not route.has_state()

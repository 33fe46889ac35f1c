"""A whole run among an application's tables that refer to migrated rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.route import SCHEMA, STATE, Route, wait_until
from tranship.orchestrator.cli.commands import PAUSED
from tranship.orchestrator.journal.control import RequestKind

POSTS: dict[str, Any] = {
    "posts": {
        "key": {"_id": "text"},
        "columns": {"title": "text"},
        "children": {"posts_tags": {"path": "tags", "columns": {"tag": "text"}}},
    }
}
COUNT = 50


def _application(route: Route, on_delete: str = "cascade") -> None:
    """Its table refers to the posts; by default it loses its rows with them."""
    route.query(
        'create table public.likes (id int primary key, post text collate "C" '
        f"references {SCHEMA}.posts on delete {on_delete})"
    )
    route.query(f"insert into public.likes select row_number() over (order by _id), _id from {SCHEMA}.posts")


def _likes(route: Route) -> int:
    ((count,),) = route.query("select count(*) from public.likes")
    return int(count)


def _posts(route: Route, **parts: Any) -> Path:
    route.documents("posts").insert_many(
        {"_id": f"p{n:03}", "title": f"title {n}", "tags": [{"tag": "a"}, {"tag": "b"}]} for n in range(COUNT)
    )
    declared = {"postgresql": "${env:TARGET_URI}", "schema": SCHEMA, **parts}
    return route.plan(POSTS, target=declared)


def _titles(route: Route) -> set[tuple[Any, ...]]:
    return set(route.rows("posts", "_id", "title"))


def test_rows_that_refer_to_changed_documents_stay(route: Route) -> None:
    plan = _posts(route, accept=["public.likes"])
    child = route.run_to_approval(plan)
    _application(route)
    posts = route.documents("posts")
    posts.update_many({}, {"$set": {"title": "changed"}, "$pop": {"tags": 1}})
    posts.delete_many({"_id": {"$gte": "p045"}})
    wait_until(lambda: _titles(route) == {(f"p{n:03}", "changed") for n in range(45)}, child, "changes to be applied")
    assert _likes(route) == 45
    assert route.tranship("approve", plan)[0] == 0
    assert child.wait() == 0, child.output
    assert _likes(route) == 45
    assert len(route.rows("posts_tags", "_root_id")) == 45


def test_a_foreign_key_that_nobody_accepted_stops_the_cutover_and_every_command_but_those_that_stop(
    route: Route,
) -> None:
    plan = _posts(route)
    child = route.run_to_approval(plan)
    _application(route)
    journal = f"select count(*), max(hash) from {STATE}.journal"
    with route.session(plan) as session:  # an approval that came just before
        (run,) = session.unfinished()
        session.control.request(run, RequestKind.APPROVE, session.state(run).asking)
    wait_until(lambda: "public.likes" in child.output, child, "the cutover to refuse")
    assert "target.accept: [public.likes]" in child.output
    for command in ("check", "approve"):
        code, said = route.tranship(command, plan)
        assert (code, "target.foreign_key" in said, "public.likes" in said) == (3, True, True)
    assert route.tranship("pause", plan)[0] == 0
    assert child.wait() == PAUSED
    before = route.query(journal)
    for command in ("run", "resume", "reseed"):
        code, said = route.tranship(command, plan)
        assert (code, "target.foreign_key" in said) == (3, True), (command, said)
    assert route.query(journal) == before
    assert route.query(f"select count(*) from {STATE}.request where consumed_at is null") == [(0,)]
    assert _likes(route) == COUNT
    route.query("drop table public.likes")
    assert route.tranship("rollback", plan)[0] == 0


def test_a_document_whose_row_is_held_waits_alone_and_holds_the_cutover(route: Route) -> None:
    plan = _posts(route, accept=["public.likes"])
    child = route.run_to_approval(plan)
    _application(route, "restrict")
    posts = route.documents("posts")
    posts.delete_one({"_id": "p003"})
    posts.update_many({}, {"$set": {"title": "changed"}})
    wanted = {(f"p{n:03}", "changed") for n in range(COUNT) if n != 3}
    wait_until(lambda: _titles(route) == wanted | {("p003", "title 3")}, child, "all others to be applied")
    wait_until(lambda: route.status(plan).parked_keys == {"public.likes": 1}, child, "the key to be parked")
    route.tranship("approve", plan)
    wait_until(lambda: "1 keys by rows of public.likes" in child.output, child, "the cutover to refuse")
    route.query("delete from public.likes where post = 'p003'")
    wait_until(lambda: _titles(route) == wanted, child, "the key to be applied")
    route.await_status(plan, lambda status: status.waiting_for_approval == "cutover", child)
    assert route.tranship("approve", plan)[0] == 0
    assert child.wait() == 0, child.output
    assert _likes(route) == COUNT - 1

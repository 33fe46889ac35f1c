"""What a user may do, by replies to `connectionStatus` as MongoDB's documentation has them."""

from __future__ import annotations

from typing import Any

import pytest

from tranship.connectors.mongodb.rights import NEEDED, findings, untold

MARKERS, SWITCHES = "tranship_markers", "tranship_switches"


def status(privileges: list[tuple[dict[str, Any], list[str]]] | None = None, *roles: tuple[str, str]) -> dict[str, Any]:
    told = [{"resource": resource, "actions": actions} for resource, actions in privileges or []]
    return {
        "authInfo": {
            "authenticatedUsers": [{"user": "mover", "db": "admin"}],
            "authenticatedUserRoles": [{"role": role, "db": db} for role, db in roles],
            "authenticatedUserPrivileges": told,
        },
        "ok": 1,
    }


ALL = list(NEEDED)
WHOLE = {"db": "shop", "collection": ""}


@pytest.mark.parametrize(
    ("reply", "codes"),
    [
        ({"authInfo": {"authenticatedUsers": [], "authenticatedUserRoles": []}}, []),
        (status([(WHOLE, ["find", *ALL])]), []),
        (status([({"db": "", "collection": ""}, ALL)]), []),
        (status([({"anyResource": True}, ["anyAction"])]), []),
        (status([({"db": "shop", "collection": MARKERS}, ALL), ({"db": "shop", "collection": SWITCHES}, ALL)]), []),
        (status([({"db": "", "collection": MARKERS}, ALL), ({"db": "shop", "collection": SWITCHES}, ALL)]), []),
        (status([(WHOLE, ALL[:2]), (WHOLE, ALL[2:])]), []),
        (status([(WHOLE, ["find"])]), ["source.unwritable"] * 2),
        (status([(WHOLE, ALL[:-1])]), ["source.unwritable"] * 2),
        (status([({"db": "shop", "collection": MARKERS}, ALL), (WHOLE, ["find"])]), ["source.unwritable"]),
        (status([({"db": "other", "collection": ""}, ALL), ({"cluster": True}, ALL)]), ["source.unwritable"] * 2),
        (status([({"db": "shop", "collection": "things"}, ALL)]), ["source.unwritable"] * 2),
        (status(None, ("readWrite", "shop")), []),
        (status(None, ("readWrite", "other"), ("read", "shop")), ["source.rights_unknown"]),
        (status(None, ("root", "admin")), []),
        (status(None, ("read", "shop"), ("clusterMonitor", "admin")), ["source.unwritable"]),
        (status(None, ("ours", "admin")), ["source.rights_unknown"]),
        ({}, ["source.rights_unknown"]),
        ({"ok": 1}, ["source.rights_unknown"]),
    ],
)
def test_what_the_server_tells(reply: dict[str, Any], codes: list[str]) -> None:
    found = findings(reply, "shop")
    assert [finding.code for finding in found] == codes
    assert all(finding.hint for finding in found)


def test_what_is_missing_is_named() -> None:
    (markers, _) = findings(status([(WHOLE, ["insert", "update"])]), "shop")
    assert "may not remove, dropCollection on shop.tranship_markers" in markers.message


@pytest.mark.parametrize("collection", [MARKERS, SWITCHES])
@pytest.mark.parametrize("action", NEEDED)
def test_each_right_alone_is_missed(collection: str, action: str) -> None:
    privileges = [
        ({"db": "shop", "collection": name}, [one for one in ALL if (name, one) != (collection, action)])
        for name in (MARKERS, SWITCHES)
    ]
    (found,) = findings(status(privileges), "shop")
    assert f"may not {action} on shop.{collection}" in found.message


def told(*actions: str) -> dict[str, Any]:
    """A reply to `usersInfo` of a user about itself, with `showPrivileges`."""
    privileges = [{"resource": WHOLE, "actions": list(actions)}]
    return {"users": [{"user": "mover", "db": "admin", "inheritedPrivileges": privileges}], "ok": 1.0}


def test_what_is_said_of_the_user_itself_counts_where_the_server_tells_no_privileges() -> None:
    reply = status(None, ("ours", "admin"))
    assert untold(reply) == {"user": "mover", "db": "admin"}
    assert findings(reply, "shop", told(*ALL)) == []
    assert [one.code for one in findings(reply, "shop", told("find"))] == ["source.unwritable"] * 2
    assert [one.code for one in findings(reply, "shop", {})] == ["source.rights_unknown"]


@pytest.mark.parametrize("reply", [{}, {"authInfo": {"authenticatedUsers": []}}, status([(WHOLE, ALL)])])
def test_nobody_is_asked_about_where_all_is_told(reply: dict[str, Any]) -> None:
    assert untold(reply) is None

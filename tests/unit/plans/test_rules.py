"""Each rule with plans that keep it and plans that break it, the latter with the exact problem."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.unit.plans.texts import ENV, HEAD, STREAMS, problems_of, write
from tranship.plans import load_with_warnings
from tranship.plans.rules import MANY_COLUMNS, MAX_COLUMNS, RULES


class Case(NamedTuple):
    """A plan, and what a rule says about it."""

    text: str
    expected: tuple[str, ...] = ()


def streams(body: str) -> str:
    """A plan whose fifth line is this mapping of streams."""
    return f"{HEAD}streams: {{{body}}}\n"


def columns(count: int) -> str:
    """A stream with this many columns beside the key."""
    return "a: {columns: {" + ", ".join(f"c{number}: text" for number in range(count)) + "}}"


def indexed(count: int) -> str:
    """A plan with an index over so many columns."""
    names = [f"c{number}" for number in range(count)]
    declared = ", ".join(f"{name}: text" for name in names)
    return streams(f"a: {{columns: {{{declared}}}, indexes: [{{columns: [{', '.join(names)}]}}]}}")


ALL_KINDS = (
    "b: bool, i: int32, l: int64, f: float64, d: {type: decimal, scale: 2}, t: text, u: uuid, o: objectid, "
    "ts: timestamp, da: date"
)
ASKED = (
    "b: {eq: true}, i: {gt: 5, lte: 9}, l: {in: [1, 9007199254740993]}, f: {lt: 1.5}, d: {gte: '1.50'}, "
    "t: {in: ['a', '']}, u: {eq: 00112233-4455-6677-8899-aabbccddeeff}, o: {eq: '507f1f77bcf86cd799439011'}, "
    "ts: {gt: '2024-01-31T12:00:00Z'}, da: {lt: '2024-01-31'}"
)

RESERVED = [
    "_key",
    "_residue",
    "_ordinal",
    "_ordinal_2",
    "_root_id",
    "ctid",
    "xmin",
    "XMAX",
    "cmin",
    "cmax",
    "tableoid",
    "oid",
]
LONG = "x" * 64
FITS = "é" * 31 + "x"  # 63 bytes

GOOD: dict[str, tuple[str, ...]] = {
    "P101": (
        streams(f"a: {{table: {FITS}, columns: {{{FITS}: text}}}}"),
        streams(f"a: {{key: {{{'k' * 57}: {{path: _id, type: text}}}}, children: {{b: {{columns: {{c: text}}}}}}}}"),
        streams(f"a: {{key: {{{'k' * 63}: {{path: _id, type: text}}}}}}"),
    ),
    "P102": (streams("a: {from: x, where: {k: 1}, table: t}, b: {from: x, where: {k: 2}, table: u}"),),
    "P103": (streams("a: {columns: {x: text, y: text}, children: {z: {columns: {x: text}}}}"),),
    "P104": (streams("a: {columns: {key: text, _ids: text, xmins: text, _roots: text}}"),),
    "P105": (
        streams("a: {columns: {x: {path: p.q, type: text}, y: {path: p.r, type: text}, z: {path: pq, type: text}}}"),
        streams("a: {columns: {x: {path: p.q, type: text}}, children: {c: {path: p.items, columns: {x: text}}}}"),
        streams("a: {key: {x: {path: _id.x, type: text}, y: {path: _id.y, type: text}}}"),
        streams("a: {children: {c: {columns: {v: {path: [], type: text}}}}}"),
    ),
    "P106": (streams("a: {key: {x: {path: _id.x, type: text}}, columns: {_ids: text}}"),),
    "P107": (
        streams("a: {columns: {b: {type: text, references: b}}}, b: {key: {_id: text}}"),
        streams("a: {columns: {parent: {type: objectid, references: a}}}"),
    ),
    "P108": (streams("a: {columns: {x: text}, rest: {json: r}, indexes: [{columns: [x, _id]}, {columns: [r]}]}"),),
    "P109": (streams(columns(MAX_COLUMNS - 1)),),
    "P110": (streams(columns(MANY_COLUMNS - 1)),),
    "P111": (HEAD.replace("schema: shop", "schema: pgx, state_schema: app") + STREAMS,),
    "P112": (streams("a: {from: tranship_marker}, b: {from: systems}"),),
    "P113": (streams("a: {from: x, where: {k: 1}}, b: {from: x, where: {k: 2}}, c: {from: y}"),),
    "P114": (
        streams("a: {columns: {x: text}, order: [_id, free, x]}"),
        streams("a: {columns: {x: {path: d.x, type: text}, y: {path: d.y, type: text}}, order: [_id, d]}"),
    ),
    "P116": (streams("a: {columns: {x: text, y: {type: array, items: text}}, indexes: [{columns: [x]}]}"),),
    "P117": (indexed(32),),
    "P118": (
        streams(f"a: {{columns: {{{ALL_KINDS}}}, indexes: [{{columns: [t], where: {{{ASKED}}}}}]}}"),
        streams("a: {columns: {j: json}, indexes: [{columns: [_id], where: {j: present, _id: absent}}]}"),
    ),
    "P119": (streams("a: {columns: {x: text}, indexes: [{columns: [_id, x], unique: true}, {columns: [_id]}]}"),),
    "P120": (
        HEAD + STREAMS + "cutover: {fence: roles, writers: [shop, {user: shop, database: shop}]}\n",
        HEAD + STREAMS + "cutover: {fence: auto}\n",
        HEAD + STREAMS + "cutover: {fence: validators}\n",
    ),
    "P115": (
        HEAD + STREAMS + "limits: {workers: 4, memory: 1GiB}\n",
        HEAD + STREAMS + "limits: {workers: 64}\n",
    ),
}

BAD: dict[str, tuple[Case, ...]] = {
    "P101": (
        Case(
            streams(f"a: {{table: {LONG}, columns: {{{LONG}: text}}}}"),
            (
                "5:15: P101 streams.a.table: the name has 64 bytes; allowed: at most 63 bytes; "
                f"write table: {LONG[:54]}_022a6979",
                f"5:98: P101 streams.a.columns.{LONG}: the name has 64 bytes; allowed: at most 63 bytes; "
                f"write {LONG[:54]}_5a5d31b9: {{path: {LONG}, type: text}}",
            ),
        ),
        Case(
            HEAD.replace("schema: shop", f"schema: {LONG}") + f"streams: {{{LONG}: {{}}}}\n",
            (
                "4:43: P101 target.schema: the name has 64 bytes; allowed: at most 63 bytes; "
                f"write schema: {LONG[:54]}_9ef945a1",
                f"5:11: P101 streams.{LONG}.table: the name has 64 bytes; allowed: at most 63 bytes; "
                f"write table: {LONG[:54]}_5a5d31b9",
            ),
        ),
        Case(
            streams(
                f"a: {{key: {{{'k' * 58}: {{path: _id, type: text}}}}, children: {{b: {{columns: {{c: text}}}}}}}}"
            ),
            (
                f"5:21: P101 streams.a.key.{'k' * 58}: the name has 58 bytes; allowed: at most 57 bytes; "
                "write _id: {path: _id, type: text}",
            ),
        ),
        Case(
            streams('a: {columns: {"x\\0": text}}'),
            ('5:25: P101 streams.a.columns."x\\x00": a name cannot hold U+0000',),
        ),
    ),
    "P102": (
        Case(
            streams("a: {table: t}, b: {children: {T: {columns: {x: text}}}}"),
            (
                "5:41: P102 streams.b.children.T: streams.a.table names the same table (found T); "
                "write T_7a98c0cc: {path: T, columns: {x: {type: text}}}",
            ),
        ),
    ),
    "P103": (
        Case(
            streams("a: {key: {_id: {type: text, long: true}}, columns: {_id_SHA256: text}}"),
            (
                "5:63: P103 streams.a.columns._id_SHA256: streams.a.key._id.long has the same name (found _id_SHA256); "
                "write _id_SHA256_5c8495fa: {path: _id_SHA256, type: text}",
            ),
        ),
        Case(
            streams("a: {columns: {city: text, City: text}}"),
            (
                "5:37: P103 streams.a.columns.City: streams.a.columns.city has the same name (found City); "
                "write City_c0bb73c5: {path: City, type: text}",
            ),
        ),
        Case(
            streams("a: {columns: {x: text}, children: {x: {path: y, columns: {z: text}}}, rest: {json: X}}"),
            (
                "5:46: P103 streams.a.children.x: streams.a.columns.x has the same name (found x); "
                "write x_f9875f2a: {path: y, columns: {z: {type: text}}}",
                "5:88: P103 streams.a.rest.json: streams.a.columns.x has the same name (found X); "
                "write json: X_40767381",
            ),
        ),
    ),
    "P104": tuple(
        Case(
            streams(f"a: {{columns: {{{name}: {{type: text, path: x}}}}}}"),
            (
                f"5:25: P104 streams.a.columns.{name}: this name is reserved: choose another and give the "
                f"field as path (found {name}); write x: {{path: x, type: text}}",
            ),
        )
        for name in RESERVED
    ),
    "P105": (
        Case(
            streams("a: {columns: {x: {path: p, type: text}, y: {path: p, type: json}}}"),
            ("5:55: P105 streams.a.columns.y.path: streams.a.columns.x.path is the same field (found p)",),
        ),
        Case(
            streams("a: {columns: {x: {path: p.q, type: text}, y: {path: p, type: json}}}"),
            ("5:29: P105 streams.a.columns.x.path: a part of streams.a.columns.y.path (found p.q)",),
        ),
        Case(
            streams("a: {columns: {items: json}, children: {c: {path: items.sub, columns: {x: text}}}}"),
            ("5:54: P105 streams.a.children.c.path: a part of streams.a.columns.items.path (found items.sub)",),
        ),
        Case(
            streams("a: {children: {c: {columns: {v: {path: [], type: text}, w: text}}}}"),
            (
                "5:67: P105 streams.a.children.c.columns.w.path: a part of "
                "streams.a.children.c.columns.v.path (found w)",
            ),
        ),
        Case(
            streams("a: {key: {k: canonical, x: {path: _id.x, type: text}}}"),
            ("5:39: P105 streams.a.key.x.path: a part of streams.a.key.k.path (found _id.x)",),
        ),
    ),
    "P106": (
        Case(
            streams("a: {key: {order_id: objectid}}"),
            ("5:21: P106 streams.a.key.order_id.path: a key is read from _id (found order_id); allowed: _id, _id.…",),
        ),
        Case(
            streams("a: {key: {x: {path: _id.x, type: text}}, columns: {y: {path: _id.y, type: text}}}"),
            ("5:66: P106 streams.a.columns.y.path: _id belongs to the key (found _id.y)",),
        ),
    ),
    "P107": (
        Case(
            streams("orders: {columns: {c: {type: objectid, references: custmers}}}, customers: {}"),
            (
                "5:50: P107 streams.orders.columns.c.references.to: no stream has this name (found custmers); "
                "did you mean customers?; allowed: orders, customers",
            ),
        ),
        Case(
            streams("a: {columns: {b: {type: text, references: b}}}, b: {}"),
            ("5:41: P107 streams.a.columns.b.references.to: the key of b is objectid, this column is text (found b)",),
        ),
        Case(
            streams("a: {columns: {b: {type: bytes, references: b}}}, b: {key: {k: canonical}}"),
            (
                "5:42: P107 streams.a.columns.b.references.to: the key of b is canonical, this column is bytes "
                "(found b)",
            ),
        ),
        Case(
            streams("a: {columns: {b: {type: text, references: {to: b}}}}, b: {key: {_id.x: text, _id.y: text}}"),
            (
                "5:54: P107 streams.a.columns.b.references.to: the key of b has 2 columns, a reference holds one "
                "(found b)",
            ),
        ),
    ),
    "P108": (
        Case(
            streams("a: {columns: {status: text}, indexes: [{columns: [_id, statsu]}]}"),
            (
                "5:66: P108 streams.a.indexes[0].columns[1]: no column of this table (found statsu); did you "
                "mean status?; allowed: _id, status",
            ),
        ),
        Case(
            streams("a: {indexes: [{columns: [_id, _id]}]}"),
            ("5:41: P108 streams.a.indexes[0].columns[1]: this column is already in the index (found _id)",),
        ),
        Case(
            streams("a: {children: {c: {columns: {x: text}}}, indexes: [{columns: [c]}]}"),
            ("5:73: P108 streams.a.indexes[0].columns[0]: no column of this table (found c); allowed: _id",),
        ),
    ),
    "P109": (
        Case(
            streams(columns(MAX_COLUMNS)),
            (
                "5:11: P109 streams.a: 1501 columns; allowed: at most 1500; the rest fits one column by "
                "rest: {json: NAME}",
            ),
        ),
    ),
    "P111": (
        Case(
            HEAD.replace("schema: shop", "schema: tranship") + STREAMS,
            ("4:1: P111 target.state_schema: the state needs a schema of its own (found tranship)",),
        ),
        Case(
            HEAD.replace("schema: shop", "schema: pg_temp, state_schema: information_schema") + STREAMS,
            (
                "4:43: P111 target.schema: this schema belongs to PostgreSQL (found pg_temp)",
                "4:60: P111 target.state_schema: this schema belongs to PostgreSQL (found information_schema)",
            ),
        ),
    ),
    "P112": (
        Case(
            HEAD.replace("database: shop", "database: admin") + STREAMS,
            ("3:40: P112 source.database: this database belongs to MongoDB (found admin)",),
        ),
        Case(
            streams("tranship_markers: {}, b: {from: system.views}"),
            (
                "5:11: P112 streams.tranship_markers.from: tranship writes its markers into this collection "
                "(found tranship_markers)",
                "5:37: P112 streams.b.from: this collection belongs to MongoDB (found system.views)",
            ),
        ),
    ),
    "P114": (
        Case(
            streams("a: {columns: {x: text, y: text}, order: [x, _id, x]}"),
            (
                "5:44: P114 streams.a.order: these mapped fields are missing: y",
                "5:60: P114 streams.a.order[2]: this field is already in the order (found x)",
            ),
        ),
    ),
    "P116": (
        Case(
            streams("a: {columns: {x: text, y: {type: array, items: text}}, indexes: [{columns: [x, y]}]}"),
            (
                "5:90: P116 streams.a.indexes[0].columns[1]: this column holds arrays: for searches inside them "
                "make a GIN index after the cutover (found y)",
            ),
        ),
    ),
    "P117": (
        Case(
            indexed(33),
            ("5:390: P117 streams.a.indexes[0].columns: an index has at most 32 columns (found 33)",),
        ),
        Case(
            streams("a: {key: {" + ", ".join(f"k{n}: {{path: _id.k{n}, type: int32}}" for n in range(33)) + "}}"),
            ("5:11: P117 streams.a.table: a primary key has at most 32 columns (found 33 key columns)",),
        ),
    ),
    "P118": (
        Case(
            streams(
                "a: {columns: {t: text, i: int32, ts: timestamp, j: json}, indexes: [{columns: [t], where: "
                "{tt: absent, t: {gt: a}, i: {in: [1, '2', true]}, ts: {lt: '2024-01-31T12:00:00'}, j: {eq: 1}}}]}"
            ),
            (
                "5:102: P118 streams.a.indexes[0].where.tt: no column of this table that can be asked (found tt); "
                "did you mean t?; allowed: _id, t, i, ts, j",
                "5:118: P118 streams.a.indexes[0].where.t.gt: the order of texts depends on a collation; "
                "allowed: eq, in",
                "5:130: P118 streams.a.indexes[0].where.i.in: not a value of int32 (found 2); allowed: 5",
                "5:130: P118 streams.a.indexes[0].where.i.in: not a value of int32 (found True); allowed: 5",
                "5:156: P118 streams.a.indexes[0].where.ts.lt: not a value of timestamp (found 2024-01-31T12:00:00); "
                'allowed: "2024-01-31T12:00:00Z"',
                "5:188: P118 streams.a.indexes[0].where.j.eq: a column of the type json is compared with nothing; "
                "allowed: absent, present",
            ),
        ),
    ),
    "P119": (
        Case(
            streams(
                "a: {key: {x: {path: _id.x, type: text}, y: {path: _id.y, type: text}}, "
                "indexes: [{columns: [y], unique: true}]}"
            ),
            (
                "5:107: P119 streams.a.indexes[0].unique: a unique index over nothing but key columns: values could "
                "not pass between rows; allowed: false, a column outside of the key beside them",
            ),
        ),
    ),
    "P120": (
        Case(
            HEAD + STREAMS + "cutover: {fence: roles}\n",
            (
                "6:1: P120 cutover.writers: with `fence: roles` the users that lose their writing have to be declared "
                "(found none)",
            ),
        ),
        Case(
            HEAD + STREAMS + "cutover: {fence: router, writers: [shop, shop]}\n",
            (
                "6:26: P120 cutover.writers: `fence: router` takes nothing from users: name another fence, or leave "
                "this out (found 2)",
                "6:42: P120 cutover.writers[1]: this user is declared already (found shop)",
            ),
        ),
    ),
    "P115": (
        Case(
            HEAD + STREAMS + "limits: {workers: 5, memory: 1GiB}\n",
            ("6:22: P115 limits.memory: 5 workers need 1280MiB (found 1024MiB)",),
        ),
    ),
}

WARNED: dict[str, tuple[Case, ...]] = {
    "P110": (
        Case(
            streams(columns(MANY_COLUMNS)),
            ("5:11: warning: P110 streams.a: 201 columns: a row may not fit a page; consider rest: {json: NAME}",),
        ),
    ),
    "P113": (
        Case(
            streams("a: {from: x}, b: {from: x, where: {k: 1}}"),
            ("5:25: warning: P113 streams.b: documents of x go to a and to b: give both a where",),
        ),
        Case(
            streams("a: {from: x, where: {k: 1}}, b: {from: x, where: {k: 1}}"),
            ("5:40: warning: P113 streams.b: documents of x go to a and to b: give both a where",),
        ),
    ),
}


def warnings_of(folder: Path, text: str) -> list[str]:
    loaded = load_with_warnings(write(folder, text), ENV)
    return [str(warning).replace(f"{folder}/plan.yaml:", "") for warning in loaded.warnings]


def parameters(table: dict[str, tuple[Case, ...]]) -> list[object]:
    return [pytest.param(case, id=f"{code}-{n}") for code, cases in table.items() for n, case in enumerate(cases)]


@pytest.mark.parametrize("text", [pytest.param(t, id=f"{c}-{n}") for c, ts in GOOD.items() for n, t in enumerate(ts)])
def test_kept(text: str, tmp_path: Path) -> None:
    assert problems_of(tmp_path, text) == []


@pytest.mark.parametrize("code", ["P110", "P113"])
def test_kept_without_a_warning(code: str, tmp_path: Path) -> None:
    for text in GOOD[code]:
        assert warnings_of(tmp_path, text) == []


@pytest.mark.parametrize("case", parameters(BAD))
def test_broken(case: Case, tmp_path: Path) -> None:
    assert problems_of(tmp_path, case.text) == list(case.expected)


@pytest.mark.parametrize("case", parameters(WARNED))
def test_warned(case: Case, tmp_path: Path) -> None:
    assert warnings_of(tmp_path, case.text) == list(case.expected)


def test_every_rule_has_a_code_of_its_own_and_both_kinds_of_plans() -> None:
    codes = [(rule.__doc__ or "").partition(":")[0].removesuffix(" (warning)") for rule in RULES]
    assert codes == [f"P{number}" for number in range(101, 101 + len(RULES))]
    assert set(GOOD) == set(codes)
    assert {*BAD, *WARNED} == set(codes)

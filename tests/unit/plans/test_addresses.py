"""Secrets come in by references only, are put in exactly, and never get out again."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path

import pytest

from tests.unit.plans.texts import ENV, HEAD, STREAMS, plan_of, problems_of, write
from tranship.plans import Plan, PlanError, load, source_endpoint, target_endpoint
from tranship.plans.addresses import AddressError

SECRET = "p@ss/w:rd%"
LEAK = {**ENV, "PW": "hunter2"}


def with_source(uri: str) -> str:
    return HEAD.replace('"${env:SOURCE_URI}"', f'"{uri}"') + STREAMS


def source_uri(folder: Path, uri: str, env: dict[str, str]) -> str:
    return source_endpoint(plan_of(folder, with_source(uri), {**ENV, **env})).address


def test_a_reference_that_is_the_whole_uri_is_taken_as_it_is(tmp_path: Path) -> None:
    uri = "mongodb://app:p%40ss@db:27017/?replicaSet=rs"
    assert source_uri(tmp_path, "${env:U}", {"U": uri}) == uri


def test_a_reference_in_the_user_part_is_encoded(tmp_path: Path) -> None:
    uri = source_uri(tmp_path, "mongodb://app:${env:PW}@${env:HOST}/", {"PW": SECRET, "HOST": "db:27017"})
    assert uri == "mongodb://app:p%40ss%2Fw%3Ard%25@db:27017/"


def test_a_secret_from_a_file_beside_the_plan(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("hunter2\n")
    assert source_uri(tmp_path, "mongodb://app:${file:pw}@db", {}) == "mongodb://app:hunter2@db"


def test_a_secret_from_a_file_by_its_whole_path(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "uri"
    path.parent.mkdir()
    path.write_text("mongodb://db")
    assert source_uri(tmp_path, f"${{file:{path}}}", {}) == "mongodb://db"


def test_secrets_of_options(tmp_path: Path) -> None:
    uri = source_uri(tmp_path, "mongodb://db/?tls=true&tlsCertificateKeyFilePassword=${env:PW}", {"PW": "x"})
    assert uri == "mongodb://db/?tls=true&tlsCertificateKeyFilePassword=x"


def test_endpoints(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, HEAD + STREAMS)
    source, target = source_endpoint(plan), target_endpoint(plan)
    assert (source.kind, source.address, source.database) == ("mongodb", ENV["SOURCE_URI"], "shop")
    assert (target.kind, target.address) == ("postgresql", ENV["TARGET_URI"])
    assert (target.schema, target.state_schema) == ("shop", "tranship")


LITERAL = "a literal password in the URI: write ${env:NAME} or ${file:PATH} in its place"

REFUSED = {
    "mongodb://app:hunter2@db": LITERAL,
    "mongodb://app:hunter2${env:PW}@db": LITERAL,
    "mongodb://app:hun/ter2@db": LITERAL,
    "mongodb://db/?tlsCertificateKeyFilePassword=hunter2": (
        "a literal secret in the URI's option tlsCertificateKeyFilePassword: write ${env:NAME} or "
        "${file:PATH} in its place"
    ),
    "${env:MISSING}": "the environment variable MISSING is not set or empty",
    "mongodb://a:${env:EMPTY}@db": "the environment variable EMPTY is not set or empty",
    "${vault:x}": "${vault:…} is not known: write ${env:NAME} or ${file:PATH} in its place",
    "${env:PW}": "the URI must start with mongodb:// or mongodb+srv://",
    "postgresql://db": "the URI must start with mongodb:// or mongodb+srv://",
    "host=db user=app": "the URI must start with mongodb:// or mongodb+srv://",
}


@pytest.mark.parametrize("uri", REFUSED)
def test_refused(uri: str, tmp_path: Path) -> None:
    env = {**ENV, "PW": "hunter2", "EMPTY": ""}
    assert problems_of(tmp_path, with_source(uri), env) == [f"3:10: P008 source.mongodb: {REFUSED[uri]}"]


def test_refused_files(tmp_path: Path) -> None:
    (tmp_path / "two").write_text("one\ntwo\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, reason in {
        "none": "cannot be read: No such file or directory",
        "two": "must hold one line, the secret",
        "empty": "must hold one line, the secret",
        "binary": "is not UTF-8 text",
    }.items():
        (message,) = problems_of(tmp_path, with_source(f"mongodb://a:${{file:{name}}}@db"))
        assert message == f"3:10: P008 source.mongodb: the file {tmp_path / name} {reason}"


def test_references_stand_nowhere_else(tmp_path: Path) -> None:
    text = HEAD.replace("database: shop", 'database: "${env:DB}"') + STREAMS.replace("text", '"${file:x}"')
    assert [message.split(": ", 2)[1] for message in problems_of(tmp_path, text)] == [
        "P008 source.database",
        "P006 streams.orders.columns.status.type",
        "P008 streams.orders.columns.status",
    ]


@pytest.mark.parametrize(
    "text",
    [
        with_source("mongodb://app:hunter2@db"),
        HEAD.replace('{mongodb: "${env:SOURCE_URI}", database: shop}', '"mongodb://app:hunter2@db"') + STREAMS,
        HEAD.replace('{mongodb: "${env:SOURCE_URI}", database: shop}', '{"mongodb://app:hunter2@db": 1}') + STREAMS,
        HEAD.replace("mongodb:", "mongo:").replace("${env:SOURCE_URI}", "mongodb://app:hunter2@db") + STREAMS,
        HEAD.replace("database: shop", "database: shop, password: hunter2") + STREAMS,
        HEAD.replace('"${env:SOURCE_URI}"', "[hunter2]") + STREAMS,
        HEAD.replace('"${env:SOURCE_URI}"', "{user: app, password: hunter2}") + STREAMS,
        HEAD.replace("plan: shop", 'plan: "host=db password=hunter2"') + STREAMS,
        with_source("${env:PW}"),
    ],
)
def test_no_error_shows_a_secret(text: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        load(write(tmp_path, text), LEAK)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "hunter2" not in shown
    assert caught.value.__context__ is None  # pydantic's error would hold the input


def test_no_representation_shows_a_secret(tmp_path: Path) -> None:
    plan: Plan = plan_of(tmp_path, with_source("mongodb://app:${env:PW}@db"), LEAK)
    shown = [repr(plan), str(plan), repr(source_endpoint(plan)), str(plan.model_dump())]
    assert "hunter2" not in "".join(shown)
    assert "hunter2" in source_endpoint(plan).address


def test_errors_and_endpoints_travel_between_processes(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        load(write(tmp_path, HEAD), ENV)
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems
    endpoint = source_endpoint(plan_of(tmp_path, HEAD + STREAMS))
    assert pickle.loads(pickle.dumps(endpoint)) == endpoint


def test_a_secret_in_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    secret = tmp_path / "pw"
    secret.write_text("first\n")
    endpoint = source_endpoint(plan_of(tmp_path, with_source("mongodb://app:${file:pw}@db"), ENV))
    carried = pickle.loads(pickle.dumps(endpoint))  # to a worker process
    for password in ("first", "p@ss"):
        secret.write_text(password)
        assert endpoint.address == carried.address == f"mongodb://app:{password.replace('@', '%40')}@db"
    assert endpoint == carried
    secret.unlink()
    with pytest.raises(AddressError, match="cannot be read") as caught:
        _ = endpoint.address
    assert "p@ss" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://db/?appName=@acct@",
        "mongodb://db:27017,other:27018/shop?appName=@acct@",
        "mongodb://[::1]:27017/?appName=@acct@",
        "mongodb://db?appName=a:b@c",
        "mongodb://app:${env:PW}@db/?appName=@acct@",
        "mongodb://db/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:${env:PW},SERVICE_NAME:x",
    ],
)
def test_an_at_in_an_option_is_no_password(tmp_path: Path, uri: str) -> None:
    assert source_uri(tmp_path, uri, {"PW": "hunter2"}) == uri.replace("${env:PW}", "hunter2")


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://db/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:hunter2",
        "mongodb://db/?authMechanismProperties=SERVICE_NAME:x,AWS_SESSION_TOKEN:hunter2&tls=true",
        "mongodb://db/?authMechanismProperties=AWS_SESSION_TOKEN%3Ahunter2",
        "mongodb://app:hunter2@db/?appName=@acct@",
        "mongodb://app:hunt?er2@db/",
        "mongodb://app:${env:PW}hunter2@db/?appName=@acct@",
    ],
)
def test_a_literal_secret_inside_of_an_option_or_before_one_is_refused(tmp_path: Path, uri: str) -> None:
    text = write(tmp_path, with_source(uri))
    with pytest.raises(PlanError, match="literal") as caught:
        load(text, LEAK)
    assert "hunter2" not in str(caught.value)


def test_a_reference_behind_an_at_of_an_option_is_not_encoded_as_a_user_is(tmp_path: Path) -> None:
    uri = source_uri(tmp_path, "mongodb://${env:HOST}/?appName=@acct@", {"HOST": "db:27017,other:27018"})
    assert uri == "mongodb://db:27017,other:27018/?appName=@acct@"

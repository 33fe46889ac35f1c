"""Databases of their own for a test or a demo, on servers that others use at the same time."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

import psycopg
import pymongo
from psycopg import sql

from tranship.orchestrator.sandbox.servers import Servers


class SourceDatabase(NamedTuple):
    """A MongoDB server and the name of a database on it."""

    uri: str
    name: str


@contextmanager
def fresh_source(servers: Servers) -> Iterator[SourceDatabase]:
    """The name of a MongoDB database that nobody else uses; whatever was made in it is dropped at the end."""
    name = _fresh_name()
    try:
        yield SourceDatabase(servers.source_uri, name)
    finally:
        with pymongo.MongoClient[dict[str, object]](servers.source_uri) as client:
            client.drop_database(name)


@contextmanager
def fresh_target(servers: Servers) -> Iterator[str]:
    """The URI of a new, empty PostgreSQL database; it is dropped at the end, with whoever is still connected."""
    name = _fresh_name()
    with psycopg.connect(servers.target_uri, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            yield urlsplit(servers.target_uri)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _fresh_name() -> str:
    return f"tranship_{secrets.token_hex(6)}"

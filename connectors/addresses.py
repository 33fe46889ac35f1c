"""Addresses of servers, read for each connection: their secrets may change while a run works."""

from __future__ import annotations

from tranship.connectors.errors import TransientError
from tranship.plans.addresses import AddressError
from tranship.plans.streams import Endpoint


def address_of(endpoint: Endpoint) -> str:
    """The endpoint's URI as of now. Raises `TransientError`: a file that is just being replaced will be there again."""
    try:
        return endpoint.address
    except AddressError as error:
        raise TransientError(f"the address cannot be read: {error}") from None


def is_unambiguous(uri: str) -> bool:
    """Whether what stands for hosts in a URI are hosts: a password ends at an @ or / that is not written %40 or %2F,
    and its rest is read as a host or a path."""
    authority, _, path = uri.partition("://")[2].partition("?")[0].partition("/")
    return authority.count("@") <= 1 and "@" not in path

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

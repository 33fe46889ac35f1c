"""The URI of an endpoint: a template in the plan, with secrets put in from the environment or from files.

`${env:NAME}` and `${file:PATH}` (relative to the plan's folder, one line) are the only ways for a secret into a plan. A
reference that is the whole text is taken as it is; one in the user part is percent-encoded, because a password may hold
characters that a URI gives another meaning.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

_REFERENCE = re.compile(r"\$\{(\w+):([^}]*)\}")
_SECRET_OPTION = re.compile(r"[?&]([^=&]*(?:password|secret|token)[^=&]*)=([^&]*)", re.IGNORECASE)
_HOW = "write ${env:NAME} or ${file:PATH} in its place"


class AddressError(ValueError):
    """The URI cannot be used; the message holds no part of it."""


@dataclass(frozen=True)
class Surroundings:
    """Where references lead: an environment, and the folder that relative paths start from."""

    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    folder: Path = field(default_factory=Path)


class Address:
    """A URI that shows itself to nobody who does not ask for `uri`: neither `repr` nor a dump of the plan holds it.

    No dataclass: pydantic and `dataclasses.asdict` would take one apart.
    """

    __slots__ = ("uri",)

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __repr__(self) -> str:
        return "Address(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self.uri == other.uri

    def __hash__(self) -> int:
        return hash(self.uri)


def read_address(template: str, schemes: tuple[str, ...], surroundings: Surroundings) -> Address:
    """Put the secrets into a template; AddressError for literal secrets, broken references and other schemes."""
    _refuse_literal_secrets(template)
    whole = _REFERENCE.fullmatch(template)
    if whole:
        uri = _look_up(whole, surroundings)
    else:
        user_part_end = template.rfind("@")

        def put_in(reference: re.Match[str]) -> str:
            value = _look_up(reference, surroundings)
            return quote(value, safe="") if reference.start() < user_part_end else value

        uri = _REFERENCE.sub(put_in, template)
    if not uri.startswith(schemes):
        raise AddressError(f"the URI must start with {' or '.join(schemes)}")
    return Address(uri)


def _refuse_literal_secrets(template: str) -> None:
    authority = template.partition("://")[2].rpartition("@")[0]
    if _REFERENCE.sub("", _password(authority)):
        raise AddressError(f"a literal password in the URI: {_HOW}")
    for option, value in _SECRET_OPTION.findall(template):
        if _REFERENCE.sub("", value):
            raise AddressError(f"a literal secret in the URI's option {option}: {_HOW}")


def _password(user_part: str) -> str:
    """What follows the first colon that is not inside a reference."""
    hidden = _REFERENCE.sub(lambda reference: "x" * len(reference[0]), user_part)
    colon = hidden.find(":")
    return user_part[colon + 1 :] if colon >= 0 else ""


def _look_up(reference: re.Match[str], surroundings: Surroundings) -> str:
    kind, name = reference[1], reference[2]
    if kind == "env":
        value = surroundings.env.get(name, "")
        if not value:
            raise AddressError(f"the environment variable {name} is not set or empty")
        return value
    if kind == "file":
        return _read_secret(surroundings.folder / name)
    raise AddressError(f"${{{kind}:…}} is not known: {_HOW}")


def _read_secret(path: Path) -> str:
    try:
        value = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as exc:
        raise AddressError(f"the file {path} cannot be read: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise AddressError(f"the file {path} is not UTF-8 text") from None
    if not value or "\n" in value:
        raise AddressError(f"the file {path} must hold one line, the secret")
    return value

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
from itertools import zip_longest
from pathlib import Path
from urllib.parse import quote, unquote

_REFERENCE = re.compile(r"\$\{(\w+):([^}]*)\}")
_SECRET_OPTION = re.compile(r"[?&]([^=&]*(?:password|secret|token)[^=&]*)=([^&]*)", re.IGNORECASE)
_SECRET_PROPERTY = re.compile(r"[=,]([^=&,:]*(?:password|secret|token)[^=&,:]*):([^&,]*)", re.IGNORECASE)
"""One of several in an option: authMechanismProperties=AWS_SESSION_TOKEN:…,SERVICE_NAME:…"""
_HOW = "write ${env:NAME} or ${file:PATH} in its place"


class AddressError(ValueError):
    """The URI cannot be used; the message holds no part of it."""


@dataclass(frozen=True)
class Surroundings:
    """Where references lead: an environment, and the folder that relative paths start from."""

    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    folder: Path = field(default_factory=Path)


@dataclass(frozen=True)
class _SecretFile:
    """A part of a URI that stands in a file. `quoted`: percent-encoded, because it is in the user part."""

    path: Path
    quoted: bool

    def read(self) -> str:
        value = _read_secret(self.path)
        return quote(value, safe="") if self.quoted else value


class Address:
    """A URI that shows itself to nobody who does not ask for `uri`: neither `repr` nor a dump of the plan holds it.

    What stands in files is read anew each time it is asked for, so that a secret may be changed while a run works.
    No dataclass: pydantic and `dataclasses.asdict` would take one apart.
    """

    __slots__ = ("_parts",)

    def __init__(self, *parts: str | _SecretFile) -> None:
        self._parts = parts

    @property
    def uri(self) -> str:
        """The URI as of now. Raises `AddressError` when a file cannot be read."""
        return "".join(part if isinstance(part, str) else part.read() for part in self._parts)

    def __repr__(self) -> str:
        return "Address(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)


def read_address(template: str, schemes: tuple[str, ...], surroundings: Surroundings) -> Address:
    """Put the secrets into a template; AddressError for literal secrets, broken references and other schemes."""
    _refuse_literal_secrets(template)
    user_part_end = _user_part_end(template) if not _REFERENCE.fullmatch(template) else -1
    parts: list[str | _SecretFile] = []
    end = 0
    for reference in _REFERENCE.finditer(template):
        parts += [
            template[end : reference.start()],
            _look_up(reference, surroundings, reference.start() < user_part_end),
        ]
        end = reference.end()
    address = Address(*parts, template[end:])
    if not address.uri.startswith(schemes):
        raise AddressError(f"the URI must start with {' or '.join(schemes)}")
    return address


def _refuse_literal_secrets(template: str) -> None:
    user_part = template[: max(_user_part_end(template), 0)].partition("://")[2]
    if _REFERENCE.sub("", _password(user_part)):
        raise AddressError(f"a literal password in the URI: {_HOW}")
    options = _decoded(template)
    for option, value in _SECRET_OPTION.findall(options) + _SECRET_PROPERTY.findall(options):
        if _REFERENCE.sub("", value):
            raise AddressError(f"a literal secret in the URI's option {option}: {_HOW}")


def _user_part_end(template: str) -> int:
    """Where the user part of a URI ends: at the last @ before its options, in which an @ is one. -1 without any.

    A password that holds a ? as it is, which no URI may, ends at an @ behind that: the host before it has no port then.
    """
    hidden = _hidden(template)
    before = hidden.partition("?")[0]
    host = before.partition("://")[2].partition("/")[0]
    if "@" not in before and not re.fullmatch(r"[^:]*(:\d*)?(,[^:]*(:\d*)?)*|\[.*", host):
        before = hidden
    return before.rfind("@")


def _decoded(template: str) -> str:
    """The URI with its options as their reader sees them, references as they are written."""
    parts = _REFERENCE.split(template)
    texts = [unquote(part) for part in parts[::3]]
    references = [f"${{{kind}:{name}}}" for kind, name in zip(parts[1::3], parts[2::3], strict=True)]
    return "".join(part for pair in zip_longest(texts, references, fillvalue="") for part in pair)


def _hidden(text: str) -> str:
    """The text with its references as so many x: what they hold means nothing for the URI."""
    return _REFERENCE.sub(lambda reference: "x" * len(reference[0]), text)


def _password(user_part: str) -> str:
    """What follows the first colon that is not inside a reference."""
    hidden = _hidden(user_part)
    colon = hidden.find(":")
    return user_part[colon + 1 :] if colon >= 0 else ""


def _look_up(reference: re.Match[str], surroundings: Surroundings, quoted: bool) -> str | _SecretFile:
    kind, name = reference[1], reference[2]
    if kind == "env":
        value = surroundings.env.get(name, "")
        if not value:
            raise AddressError(f"the environment variable {name} is not set or empty")
        return quote(value, safe="") if quoted else value
    if kind == "file":
        return _SecretFile((surroundings.folder / name).absolute(), quoted)
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

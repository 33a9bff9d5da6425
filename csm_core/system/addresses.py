"""Validates addresses in the configuration and in variables. No message contains a user, a password or a path."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

SCHEMES = ("http", "https")
MAX_PORT = 65_535
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?\Z")
_ADDRESS_IN_BRACKETS = re.compile(r"\[[0-9A-Fa-f:.]+(%[0-9A-Za-z]+)?\]\Z")
_MAX_LABEL = 63
_MAIL_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+\Z")
_MAX_MAIL_ADDRESS = 254


def checked_address(value: str, *, user_allowed: bool = False) -> str:
    """Return ``value``, an http(s) address, without surrounding blanks.

    Raises ValueError with the reason, which quotes only the scheme or the port. ``user_allowed`` accepts
    ``user:password@``.
    """
    address = value.strip()
    if not address.isascii() or not address.isprintable() or " " in address:
        message = "the address contains a blank, a control character or a character outside ASCII; encode it as %20"
        raise ValueError(message)
    scheme, separator, _ = address.partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        message = "the address does not begin with http:// or https://"
        raise ValueError(message)
    try:
        parts = urlsplit(address)
        user, at, place = parts.netloc.rpartition("@")
        host = parts.hostname or ""
    except ValueError:
        message = "the host of the address is not valid"
        raise ValueError(message) from None
    if at and not user_allowed:
        message = "the address contains a user name or a password; remove them"
        raise ValueError(message)
    if at and not user:
        message = "the user name before @ is missing"
        raise ValueError(message)
    name, _, port = place.rpartition(":") if re.search(r":[^\]]*\Z", place) else (place, "", None)
    checked_host(name)
    if port is not None:
        checked_port(port)
    if host.startswith("xn--"):
        _require_punycode(host)
    return address


def require_encrypted(address: str) -> str:
    """Return a checked address that may receive a secret: https, or http on this machine, without query and fragment.

    Raises ValueError with the reason otherwise.
    """
    parts = urlsplit(address)
    if parts.query or parts.fragment or "?" in address or "#" in address:
        message = "the address contains a query or a fragment; remove it"
        raise ValueError(message)
    if parts.scheme.lower() != "https" and not is_loopback(parts.hostname or ""):
        message = "the address begins with http://; use https://, since a secret is sent to it"
        raise ValueError(message)
    return address


def checked_host(host: str) -> str:
    """Return ``host``, a name or an address. Raises ValueError for anything else."""
    if not host:
        message = "the host is missing"
        raise ValueError(message)
    labels = host.rstrip(".").split(".")
    is_name = bool(_HOST.match(host)) and all(0 < len(label) <= _MAX_LABEL for label in labels)
    if not is_name and not _is_ipv6(host):
        message = "the host is not valid: expected a name such as example.com, or an IP address"
        raise ValueError(message)
    return host


def checked_port(port: str | int) -> int:
    """Return ``port`` as a number. Raises ValueError unless it is an integer from 1 to 65535."""
    text = str(port)
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= MAX_PORT):
        message = f"the port is {text[:20]!r}; expected a number from 1 to {MAX_PORT}"
        raise ValueError(message)
    return int(text)


def is_loopback(host: str) -> bool:
    """Whether a checked host is this machine: ``localhost``, or an address of loopback."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


def is_mail_address(text: str) -> bool:
    """Whether ``text`` is the address of one mailbox, without a name and without characters that need quotes."""
    return len(text) <= _MAX_MAIL_ADDRESS and bool(_MAIL_ADDRESS.match(text))


def _is_ipv6(host: str) -> bool:
    if not _ADDRESS_IN_BRACKETS.match(host):
        return False
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


def _require_punycode(host: str) -> None:
    try:
        host.encode("ascii").decode("idna")
    except (UnicodeError, ValueError):
        message = "the host is not valid: a name that begins with xn-- must be an international domain name"
        raise ValueError(message) from None

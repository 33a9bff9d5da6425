"""Normalises domains in website addresses, e-mail addresses and hosts with ports.

``write_domain_forms`` parses each text with the macro ``domain_host`` and returns its domain: lower case, ASCII
(punycode for other characters), without scheme, user, port, path, final dot and leading ``www.``. A domain has at least
two labels of letters, digits and hyphens, and is not an IP address; other text has no domain.
"""

from __future__ import annotations

import unicodedata

import duckdb

from csm_core.warehouse.models import literal
from csm_core.warehouse.text_macros import BLANKS

DOMAIN_FORMS = "temp.domain_forms"
"""Texts with their domains: ``written`` and ``domain``, which is null for text that is not a domain."""

MAX_LENGTH, MAX_LABEL_LENGTH = 253, 63
# Other Unicode full stops that separate labels.
_FULL_STOPS = "[。．｡]"
_SCHEME = "^(mailto:|[a-z][a-z0-9+.-]*://|//)"
_ASCII_LABEL = f"[a-z0-9]([a-z0-9-]{{0,{MAX_LABEL_LENGTH - 2}}}[a-z0-9])?"
_ASCII_DOMAIN = rf"^({_ASCII_LABEL}\.)+{_ASCII_LABEL}$"
_ASCII = r"^[\x00-\x7F]*$"
_ACE = "xn--"
# Joiners are part of words in some scripts.
_JOINERS = "\u200c\u200d"
_MACRO = f"""
create or replace temp macro domain_host(t) as (
    with cleaned as (
        select regexp_replace(lower(trim(t, {literal(BLANKS)})), {literal(_FULL_STOPS)}, '.', 'g') as url
    ),
    located as (
        select case
            -- In an e-mail address everything before the last @ is the mailbox, with any characters.
            when contains(url, '@') and not contains(url, '/') then regexp_extract(url, '@([^@>?]*)([>?][^@]*)?$', 1)
            else regexp_extract(regexp_replace(url, {literal(_SCHEME)}, ''), '^(?:[^/?#]*@)?([^/?#]*)', 1)
        end as place
        from cleaned
    )
    select regexp_replace(
        regexp_replace(trim(place), '[.]?(:[0-9]*)?$', ''), '^www[.](.*[.])', '\\1'
    ) as host
    from located
)
"""


def write_domain_forms(connection: duckdb.DuckDBPyConnection, texts: str) -> None:
    """Fill ``DOMAIN_FORMS`` from a SELECT of one column of texts."""
    connection.execute(_MACRO)
    connection.execute(
        f"""
        create or replace temp table {DOMAIN_FORMS.removeprefix("temp.")} as
        with hosts as (
            select written, domain_host(written) as host
            from (select distinct cast(written as varchar) as written from ({texts}) as texts(written))
            where written is not null
        )
        select written, host, case when regexp_matches(host, {literal(_ASCII_DOMAIN)}) and length(host) <= {MAX_LENGTH}
            and not regexp_matches(host, '[.][0-9]+$') then host end as domain
        from hosts
        """
    )
    international = connection.execute(
        f"select distinct host from {DOMAIN_FORMS} where contains(host, {literal(_ACE)}) "
        f"or not regexp_matches(host, {literal(_ASCII)})"
    ).fetchall()
    for (host,) in international:
        connection.execute(f"update {DOMAIN_FORMS} set domain = ? where host = ?", [ascii_domain(host), host])


def ascii_domain(host: str) -> str | None:
    """Return an internationalised host in ASCII, from Unicode or punycode; None if it is not a domain name."""
    labels = [_ascii_label(label) for label in unicodedata.normalize("NFKC", host).lower().split(".")]
    if len(labels) < 2 or not all(labels) or labels[-1].isdigit():
        return None
    domain = ".".join(labels)
    return domain if len(domain) <= MAX_LENGTH else None


def _ascii_label(label: str) -> str:
    """Return a label in ASCII; empty if it is not allowed in a domain name."""
    if label.startswith(_ACE):
        try:
            label = label.removeprefix(_ACE).encode("ascii").decode("punycode")
        except UnicodeError:
            return ""
        if label.isascii():
            return ""
    label = unicodedata.normalize("NFKC", label).lower()
    allowed = all(letter in "-" + _JOINERS or unicodedata.category(letter)[0] in "LMN" for letter in label)
    if not label or not allowed or label.startswith("-") or label.endswith("-"):
        return ""
    if not label.isascii():
        label = _ACE + label.encode("punycode").decode("ascii")
    return label if len(label) <= MAX_LABEL_LENGTH else ""

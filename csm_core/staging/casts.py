"""SQL expressions that cast the values of staging models to the types of the contract, and reject records.

Text is parsed with the macros of ``csm_core.warehouse.text_macros``; columns that already have a suitable type are cast
without patterns. Cast rules:

- text is stripped of blanks (including no-break spaces and byte-order marks); empty text is null; an identifier that is
  a floating point number without a fraction (``7.0``) becomes the integer;
- times are full ISO 8601: a date, or a date and a time, with an optional fraction and offset; without an offset they
  are UTC; fractions are truncated to six digits; times before 1900 or after 9999 are rejected;
- integers are digits with an optional sign (``12.0`` is 12), decimals may have a fraction (rounded to cents); a
  thousands separator, an exponent, a fraction in an integer column, NaN and infinities are rejected;
- levels and currencies are compared without regard to case and stored as the contract writes them.

A value that does not parse never counts as missing: the record is rejected, even in optional columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from csm_core.contract import (
    ACCOUNT_COLUMN,
    BOOKKEEPING,
    EXTERNAL_ACCOUNT,
    IGNORED,
    UPDATED,
    VERSION,
    Column,
    Entity,
    Kind,
    Reason,
)
from csm_core.staging.erased_accounts import is_erased_customer_sql, is_erased_sql
from csm_core.warehouse.models import literal
from csm_core.warehouse.text_macros import BLANKS, FIRST_TIME, LAST_TIME, in_time, utc_time

_INTEGER = r"^[+-]?[0-9]+(\.0+)?$"
_DECIMAL = r"^[+-]?[0-9]+(\.[0-9]+)?$"
_CURRENCY = r"^[A-Z]{3}$"
_WHOLE_IDENTIFIER = r"^([+-]?[0-9]+)\.0+$"
_INTEGER_TYPES = frozenset(
    ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
)
_SMALL_INTEGER_TYPES = _INTEGER_TYPES - {"HUGEINT", "UBIGINT", "UHUGEINT"}
_FLOAT_TYPES = frozenset(("FLOAT", "DOUBLE"))
_TIME_TYPES = frozenset(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "DATE"))
_NANOSECOND_TYPES = frozenset(("TIMESTAMP_NS", "TIMESTAMPTZ_NS"))
_ZONED_TYPES = frozenset(("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ"))
_EXACT_FLOATS, _EXACT_SINGLES = 2**53, 2**24
_KEPT_OF_VALUE = 1000
_MISSING_REASONS = frozenset((Reason.MISSING_REQUIRED, Reason.UNKNOWN_ACCOUNT, Reason.UNMATCHED))
_VERSION_COLUMN = Column(VERSION, Kind.TIMESTAMP)


@dataclass(frozen=True)
class ValidatedSelect:
    """A SELECT that casts and validates: the columns of the contract, bookkeeping, ``_version``, and the outcome.

    ``_ignored`` is the name of the setting or rule that excludes the record. ``_problem`` is null for a valid or
    ignored record, else the position (from 1) of field and reason in ``problems``; ``_value`` is the text that does not
    parse.
    """

    sql: str
    problems: tuple[tuple[str, Reason], ...]


@dataclass(frozen=True)
class _Cast:
    clean: str
    value: str
    problems: tuple[tuple[str, Reason], ...]


def validate(
    entity: Entity,
    model: str,
    types: Mapping[str, str],
    system: str,
    bookkeeping: Iterable[str] = BOOKKEEPING,
    *,
    erased: Sequence[str] = (),
    erased_customers: Sequence[str] = (),
) -> ValidatedSelect:
    """Wrap a staging model (a SELECT without ``order by``) whose columns have the given DuckDB types.

    A contract column that the model does not have is null for every record. A record without an account but with an
    ``external_account_id`` is unmatched. ``bookkeeping`` are columns of the model that are returned unchanged.
    ``erased`` are the hashes of erased accounts and ``erased_customers`` those of their ids at the vendor: such records
    are rejected before anything else is checked, also those that would be ignored.
    """
    has_external_ids = EXTERNAL_ACCOUNT in types
    columns = (*entity.columns, _VERSION_COLUMN)
    casts = {column.name: _cast(column, types.get(column.name, "")) for column in columns}
    problems: list[tuple[str, Reason]] = []
    branches: list[tuple[Reason, str]] = []
    texts: list[str] = []
    is_counted = "_excluded is null"
    ignored_by = "coalesce(_excluded, case when _problem is null then {} end)"
    if erased and ACCOUNT_COLUMN in casts:
        condition = is_erased_sql(f"v_{ACCOUNT_COLUMN}", erased)
        if has_external_ids and erased_customers:
            condition += f" or {is_erased_customer_sql(system, f'c_{EXTERNAL_ACCOUNT}', erased_customers)}"
        if entity.refers_to_accounts:
            # An erased account is not staged, so only the ids of unknown accounts are hashed.
            condition = f"case when _known_account is null then {condition} else false end"
        problems.append((ACCOUNT_COLUMN, Reason.ERASED))
        branches.append((Reason.ERASED, f"when {condition} then {len(problems)}"))
        is_counted = f"_excluded is null or ({condition})"
        ignored_by = "case when _problem is null then coalesce(_excluded, {}) end"
    for column in columns:
        checks = list(casts[column.name].problems)
        if entity.refers_to_accounts and column.name == ACCOUNT_COLUMN:
            checks.append(("_known_account is null", Reason.UNKNOWN_ACCOUNT))
        if has_external_ids and column.name == ACCOUNT_COLUMN:
            unmatched = f"c_{ACCOUNT_COLUMN} is null and c_{EXTERNAL_ACCOUNT} is not null"
            checks.insert(0, (unmatched, Reason.UNMATCHED))
        for condition, reason in checks:
            problems.append((UPDATED if column.name == VERSION else column.name, reason))
            branches.append((reason, f"when {condition} then {len(problems)}"))
            invalid = EXTERNAL_ACCOUNT if reason is Reason.UNMATCHED else column.name
            texts.append(f"when {len(problems)} then left(cast(c_{invalid} as varchar), {_KEPT_OF_VALUE})")
    problem = f"case {' '.join(branch for _, branch in branches)} end"
    ignored = [
        f"when v_{column.name} = {column.ignored_at} then {literal(f'{column.name} {column.ignored_at}')}"
        for column in entity.columns
        if column.ignored_at is not None
    ]
    by_rule = f"case {' '.join(ignored)} end" if ignored else "null::varchar"
    if ignored:
        # A record that is ignored by value may lack required values, but its values must parse.
        unparsed = " ".join(branch for reason, branch in branches if reason not in _MISSING_REASONS)
        problem = f"case when {by_rule} is not null then case {unparsed} end else {problem} end"
    kept = ", ".join(bookkeeping)
    cleaned = ", ".join(f"{cast.clean} as c_{name}" for name, cast in casts.items())
    valued = ", ".join(f"c_{name}, {cast.value} as v_{name}" for name, cast in casts.items())
    named = ", ".join(f"v_{name} as {name}" for name in casts)
    carried = ", ".join(f"v_{name}, c_{name}" for name in casts)
    cleaned += f", {IGNORED if IGNORED in types else 'null::varchar'} as _excluded"
    if has_external_ids:
        cleaned += f", nullif(trim(cast({EXTERNAL_ACCOUNT} as varchar)), '') as c_{EXTERNAL_ACCOUNT}"
        valued += f", c_{EXTERNAL_ACCOUNT}"
        carried += f", c_{EXTERNAL_ACCOUNT}"
    accounts = (
        "left join (select account_id as _known_account from staging.stg_accounts) "
        f"on _known_account = v_{ACCOUNT_COLUMN}"
        if entity.refers_to_accounts
        else ""
    )
    sql = (
        f"select {literal(system)} as _system, {named}, {kept}, _problem, "
        f"case _problem {' '.join(texts)} end as _value, "
        f"{ignored_by.format(by_rule)} as {IGNORED} "
        f"from (select {carried}, {kept}, _excluded, case when {is_counted} then {problem} end as _problem "
        f"from (select {valued}, {kept}, _excluded from (select {cleaned}, {kept} from ({model}) as model) as cleaned) "
        f"as valued {accounts}) as validated"
    )
    return ValidatedSelect(sql, tuple(problems))


@dataclass(frozen=True)
class PassthroughCast:
    """Expressions that pass through records with suitable column types, without validating every value.

    ``values`` are the contract's columns and ``_version``. ``needs_validation`` is true for a record that may have to
    be cleaned, rejected or ignored; it is never null for such a record.
    """

    values: str
    needs_validation: str


def passthrough_cast(entity: Entity, types: Mapping[str, str]) -> PassthroughCast | None:
    """Return the fast path for typed sources, or None if a column must be cast. Does not check that accounts exist.

    Text needs no cleaning if it begins and ends with a printable ASCII character: DuckDB answers these comparisons from
    statistics and dictionaries, while stripping would copy every value.
    """
    values: list[str] = []
    needs_validation: list[str] = []
    for column in entity.columns:
        name, kind = column.name, types.get(column.name, "").upper()
        if column.kind is Kind.TEXT and kind == "VARCHAR" and not column.levels and not column.currency:
            needs_validation.append(f"{name} < '!' or {name} >= chr(127) or {name}[-1] not between '!' and '~'")
            needs_validation += [f"ends_with({name}, '.0')"] if column.identifier else []
            values.append(name if column.default is None else f"coalesce({name}, {literal(column.default)}) as {name}")
        elif column.kind is Kind.INTEGER and kind in _SMALL_INTEGER_TYPES:
            needs_validation += [f"{name} < {column.minimum}"] if column.minimum is not None else []
            needs_validation += [f"{name} > {column.maximum}"] if column.maximum is not None else []
            needs_validation += [f"{name} = {column.ignored_at}"] if column.ignored_at is not None else []
            value = f"cast({name} as {column.kind})"
            values.append(f"{value if column.default is None else f'coalesce({value}, {column.default})'} as {name}")
        elif column.kind is Kind.TIMESTAMP and kind == "TIMESTAMP":
            needs_validation.append(_beyond(name))
            values.append(name)
        else:
            return None
        if column.required:
            needs_validation.append(f"{name} is null")
    if IGNORED in types:
        needs_validation.append(f"{IGNORED} is not null")
    if VERSION not in types:
        values.append(f"null::timestamp as {VERSION}")
    elif types[VERSION].upper() == "TIMESTAMP":
        needs_validation.append(_beyond(VERSION))
        values.append(VERSION)
    else:
        needs_validation.append(f"{VERSION} is not null")
        values.append(f"null::timestamp as {VERSION}")
    return PassthroughCast(", ".join(values), f"({' or '.join(needs_validation)})")


def _cast(column: Column, type_name: str) -> _Cast:
    kind = type_name.upper()
    if not kind:
        cast = _Cast(f"cast(null as {column.kind})", f"c_{column.name}", ())
    elif column.kind is Kind.TIMESTAMP:
        cast = _timestamp(column, kind)
    elif column.kind is Kind.TEXT:
        cast = _text(column, kind)
    else:
        cast = _number(column, kind)
    clean, value = f"c_{column.name}", f"v_{column.name}"
    problems = list(cast.problems)
    if column.required:
        problems.insert(0, (f"{clean} is null", Reason.MISSING_REQUIRED))
    if column.minimum is not None:
        problems.append((f"{value} < {column.minimum}", Reason.OUT_OF_RANGE))
    if column.maximum is not None:
        problems.append((f"{value} > {column.maximum}", Reason.OUT_OF_RANGE))
    expression = cast.value
    if column.default is not None:
        default = literal(column.default) if isinstance(column.default, str) else str(column.default)
        # Not coalesce: a value that did not parse must stay null, so that the record is rejected.
        expression = f"case when {clean} is null then cast({default} as {column.kind}) else {expression} end"
    return _Cast(cast.clean, expression, tuple(problems))


def _text(column: Column, kind: str) -> _Cast:
    clean, value = f"c_{column.name}", f"v_{column.name}"
    if column.levels:
        matches = " ".join(f"when {literal(level.lower())} then {literal(level)}" for level in column.levels)
        levels = f"case lower({clean}) {matches} end"
        return _Cast(_clean(column, kind), levels, ((_unparsed(clean, value), Reason.INVALID_LEVEL),))
    if column.currency:
        code = f"case when regexp_matches(upper({clean}), '{_CURRENCY}') then upper({clean}) end"
        return _Cast(_clean(column, kind), code, ((_unparsed(clean, value), Reason.INVALID_CURRENCY),))
    if kind in _FLOAT_TYPES:
        # Larger floating point numbers are not exact, so the identifier is already lost.
        exact = _EXACT_FLOATS if kind == "DOUBLE" else _EXACT_SINGLES
        whole = f"isfinite({clean}) and {clean} = floor({clean}) and abs({clean}) < {exact}"
        text = f"case when {whole} then cast(cast({clean} as bigint) as varchar) end"
        return _Cast(column.name, text, ((_unparsed(clean, value), Reason.INVALID_NUMBER),))
    if column.identifier:
        name = (
            f"case when ends_with({clean}, '0') then regexp_replace({clean}, '{_WHOLE_IDENTIFIER}', '\\1') "
            f"else {clean} end"
        )
        return _Cast(_clean(column, kind), name, ())
    return _Cast(_clean(column, kind), clean, ())


def _timestamp(column: Column, kind: str) -> _Cast:
    clean, value = f"c_{column.name}", f"v_{column.name}"
    unparsed = (_unparsed(clean, value), Reason.INVALID_TIMESTAMP)
    if kind in _TIME_TYPES:
        return _Cast(column.name, in_time(f"cast({clean} as timestamp)"), (unparsed,))
    if kind in _ZONED_TYPES:
        return _Cast(column.name, in_time(f"cast({clean} at time zone 'UTC' as timestamp)"), (unparsed,))
    if kind in _NANOSECOND_TYPES:
        # A cast would round the last nanoseconds of a day to the next day.
        nanoseconds = f"epoch_ns({clean})"
        whole = f"({nanoseconds} - (({nanoseconds} % 1000) + 1000) % 1000) // 1000"
        coarser = "timestamptz" if kind.startswith("TIMESTAMPTZ") else "timestamp"
        cut = in_time(f"case when isfinite(cast({clean} as {coarser})) then make_timestamp({whole}) end")
        return _Cast(column.name, cut, (unparsed,))
    return _Cast(_clean(column, kind), utc_time(clean), (unparsed,))


def _number(column: Column, kind: str) -> _Cast:
    clean, value = f"c_{column.name}", f"v_{column.name}"
    too_large = (_unparsed(clean, value), Reason.OUT_OF_RANGE)
    if kind in _INTEGER_TYPES:
        return _Cast(column.name, f"try_cast({clean} as {column.kind})", (too_large,))
    if kind in _FLOAT_TYPES or kind.startswith("DECIMAL"):
        finite = f"isfinite(cast({clean} as double))"
        whole = f" and {clean} = floor({clean})" if column.kind is Kind.INTEGER else ""
        return _Cast(
            column.name,
            f"case when {finite}{whole} then try_cast({clean} as {column.kind}) end",
            ((f"not ({finite}{whole})", Reason.INVALID_NUMBER), too_large),
        )
    pattern = _INTEGER if column.kind is Kind.INTEGER else _DECIMAL
    return _Cast(
        _clean(column, kind),
        f"case when regexp_matches({clean}, '{pattern}') then try_cast({clean} as {column.kind}) end",
        ((f"not regexp_matches({clean}, '{pattern}')", Reason.INVALID_NUMBER), too_large),
    )


def _clean(column: Column, kind: str) -> str:
    text = column.name if kind == "VARCHAR" else f"cast({column.name} as varchar)"
    # Stripping copies every value, which is slow; few values need it.
    bare = f"{text} >= '!' and {text} < chr(127) and ({text})[-1] between '!' and '~'"
    return f"case when {bare} then {text} else nullif(trim({text}, {literal(BLANKS)}), '') end"


def _beyond(name: str) -> str:
    return f"{name} not between timestamp '{FIRST_TIME}' and timestamp '{LAST_TIME}'"


def _unparsed(clean: str, value: str) -> str:
    return f"{value} is null and {clean} is not null"

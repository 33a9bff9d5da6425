"""Functions that sqlglot leaves as they are in DuckDB's dialect, or that mean something else on Spark.

The gate's SELECT casts and validates text with them; ``as_spark`` writes them so that Spark returns the same values.
Regular expressions are RE2's in DuckDB and Java's in Spark: in Java, ``$`` also matches before a final line break, and
``.`` matches fewer characters.
"""

from __future__ import annotations

import sqlglot
from sqlglot import exp

# All letters that one of A to Z is the upper case of.
_LOWER = "abcdefghijklmnopqrstuvwxyzıſ"
_INTEGER = exp.DataType.Type.BIGINT
# Text that the gate has found to be ISO 8601 with an offset, as UTC. Spark's own offsets end at 18 hours.
_ZONED = r"""
    try_cast(regexp_extract({text}, '^([0-9-]+[T ][0-9:.]+)', 1) as timestamp_ntz) - make_dt_interval(
        0,
        coalesce(try_cast(regexp_extract({text}, '([+-][0-9]{{2}}):?([0-9]{{2}})?\\z', 1) as int), 0),
        coalesce(try_cast(regexp_extract({text}, '([+-])[0-9]{{2}}:?([0-9]{{2}})\\z', 1)
            || regexp_extract({text}, '([+-])[0-9]{{2}}:?([0-9]{{2}})\\z', 2) as int), 0)
    )
"""


def as_spark(tree: exp.Expr) -> exp.Expr:
    """Return a tree in which the functions mean the same on Spark; the tree is changed."""
    # Inner expressions first, so that a replaced expression contains replaced ones.
    for node in reversed(list(tree.walk(bfs=True))):
        replaced = _replaced(node)
        if replaced is node:
            continue
        if node is tree:
            return replaced
        node.replace(replaced)
    return tree


def java_pattern(pattern: str) -> str:
    """Return a regular expression of RE2 for Java's syntax."""
    translated: list[str] = []
    in_class = is_escaped = False
    for character in pattern:
        if is_escaped or in_class:
            translated.append(character)
        else:
            translated.append({"$": r"\z", ".": r"[^\n]"}.get(character, character))
        if is_escaped:
            is_escaped = False
        elif character == "\\":
            is_escaped = True
        elif character == "[":
            in_class = True
        elif character == "]":
            in_class = False
    return "".join(translated)


def _replaced(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.RegexpLike):
        return _with_java_pattern(node)
    if isinstance(node, exp.RegexpReplace):
        return _regexp_replace(node)
    if isinstance(node, exp.Bracket) and [one.sql() for one in node.expressions] in (["-1"], ["-2"]):
        # [-1] is the last character of a text. sqlglot counts from 0, unless it knows that it is a text.
        return exp.func("right", node.this.copy(), exp.Literal.number(1))
    if isinstance(node, exp.EQ) and isinstance(node.expression, exp.Floor):
        # Spark's floor is an integer, which a large number does not fit.
        return exp.EQ(this=exp.Mod(this=node.this.copy(), expression=exp.Literal.number(1)), expression=_number(0))
    if isinstance(node, exp.If) and isinstance(node.this, exp.RegexpLike):
        return _currency(node) if isinstance(node.this.this, exp.Upper) else _whole_number(node)
    if isinstance(node, exp.AtTimeZone) and isinstance(node.this, exp.TryCast):
        return _zoned_time(node)
    if isinstance(node, exp.AtTimeZone):
        # The time zone of the session is UTC.
        return exp.cast(node.this.copy(), "timestamp_ntz")
    if isinstance(node, exp.DataType) and node.is_type(exp.DataType.Type.TIMESTAMPTZ):
        return exp.DataType.build("TIMESTAMPLTZ")
    return _function(node)


def _function(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Anonymous) and node.name.lower() == "isfinite":
        # Not a number is greater than every number on Spark.
        value = exp.Abs(this=exp.cast(node.expressions[0].copy(), "double"))
        return exp.Paren(this=exp.LT(this=value, expression=exp.cast(exp.Literal.string("Infinity"), "double")))
    return node


def _number(value: int) -> exp.Expr:
    return exp.Literal.number(value)


def _with_java_pattern(node: exp.RegexpLike) -> exp.Expr:
    pattern = node.expression
    if not isinstance(pattern, exp.Literal):
        return node
    changed = node.copy()
    changed.set("expression", exp.Literal.string(java_pattern(pattern.name)))
    return changed


def _regexp_replace(node: exp.RegexpReplace) -> exp.Expr:
    pattern, text = node.expression, node.args.get("replacement")
    if not isinstance(pattern, exp.Literal) or not isinstance(text, exp.Literal):
        return node
    changed = node.copy()
    changed.set("expression", exp.Literal.string(java_pattern(pattern.name)))
    changed.set("replacement", exp.Literal.string(text.name.replace("$", r"\$").replace("\\1", "$1")))
    return changed


def _whole_number(node: exp.If) -> exp.Expr:
    """Text such as ``12.0`` is an integer in DuckDB, after its pattern was checked; Spark casts digits only."""
    value = node.args.get("true")
    if not isinstance(value, exp.TryCast) or not value.is_type(_INTEGER):
        return node
    changed = node.copy()
    digits = exp.func("substring_index", value.this.copy(), exp.Literal.string("."), _number(1), dialect="spark")
    cut = value.copy()
    cut.set("this", digits)
    changed.set("true", cut)
    return changed


def _currency(node: exp.If) -> exp.Expr:
    """On Spark, some single letters have two upper-case letters, so that ``ßx`` would be a code."""
    changed = node.copy()
    for upper in list(changed.find_all(exp.Upper)):
        letters = [exp.Literal.string(one) for one in (_LOWER, _LOWER.upper())]
        upper.replace(exp.func("translate", upper.this.copy(), *letters))
    return changed


def _zoned_time(node: exp.AtTimeZone) -> exp.Expr:
    replace = node.find(exp.Replace)
    if replace is None:
        return node
    text = replace.this.sql(dialect="spark")
    return exp.Paren(this=sqlglot.parse_one(_ZONED.format(text=text), read="spark"))

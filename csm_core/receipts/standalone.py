"""Verifies receipts of csm-health without csm-health: one file, standard library only.

    python standalone.py --root ROOT FILE…

A file has one receipt per line. The exit status is 0 if every receipt is right, 1 if one is not, and 2 if a file cannot
be read. ``ROOT`` is the root of the day from a source that you trust, such as an e-mail of that day or
``marts.csm_day_roots``; give ``--root`` once for each day.

A receipt is one line of canonical JSON: sorted keys, no spaces, UTF-8, and numbers in their shortest form. It has:

- ``statement``: the inputs, thresholds, points and score of an account and day. Its hash is the receipt hash, a leaf of
  the tree of the day.
- ``records``: the hash of each record that the signals read; ``records_hash`` in the statement is their common hash.
- ``rubric``: weights, points and rules; ``rubric_hash`` in the statement is its hash.
- ``proof``: the hashes that lead from the leaf to the root.
- ``checksums``: a CRC-32 of each value, which only serves to name the value that was altered.

The tree: the leaves are in the order of ``account_id``. A node is the hash of two neighbours; the last node of a level
with an odd number of nodes has no neighbour and moves to the next level unchanged. Leaves, nodes and roots are hashed
with different prefixes, so that none can be presented as another. The root is the hash of the top node with the tenant,
the day and the number of accounts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

FORMAT = "csm-health receipt 1"
LEAF, NODE, ROOT = "csm-health leaf 1\n", "csm-health node 1\n", "csm-health root 1\n"
CRC_DIGITS = 8

# Longer than a value without its last quotation mark and the next name.
_LONGEST_RUN = 300
_PARTS = ("checksums", "format", "proof", "records", "rubric", "statement")
_ESCAPE = re.compile(r"(\\\\)|\\u([0-9a-f]{4})")
_KEY = re.compile(r'"((?:[^"\\]|\\.)*)":')


def canonical(value: Any) -> str:
    """Return canonical JSON: sorted keys, no spaces, numbers in their shortest form, escapes with upper-case digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if "\\u" not in text:
        return text
    return _ESCAPE.sub(lambda found: found[0] if found[1] else f"\\u{found[2].upper()}", text)


def sha256(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def hex_float(number: float) -> str:
    """Return the bits of a double in hexadecimal, without trailing zeros."""
    mantissa, _, exponent = float(number).hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}"


def leaf_hash(statement: Mapping[str, Any]) -> str:
    """Return the receipt hash of a statement, a leaf of the tree of the day."""
    return sha256(LEAF + canonical(statement))


def root_hash(tenant_id: str, as_of_date: str, accounts: int, top: str) -> str:
    """Return the root of a day from the top node of its tree."""
    header = {"accounts": accounts, "as_of_date": as_of_date, "tenant_id": tenant_id, "top": top}
    return sha256(ROOT + canonical(header))


def next_level(nodes: Sequence[str]) -> list[str]:
    """Return the level above: the hash of each two neighbours; a last node without a neighbour moves up unchanged."""
    pairs = [sha256(f"{NODE}{nodes[at]}{nodes[at + 1]}") for at in range(0, len(nodes) - 1, 2)]
    return [*pairs, nodes[-1]] if len(nodes) % 2 else pairs


def top_of(leaves: Sequence[str]) -> str:
    """Return the top node of a tree."""
    nodes = list(leaves)
    while len(nodes) > 1:
        nodes = next_level(nodes)
    return nodes[0]


def top_from_path(leaf: str, index: int, accounts: int, path: Sequence[str]) -> str | None:
    """Return the top node that a path leads to from a leaf; None if the path has another length than the tree."""
    node, position, width, rest = leaf, index, accounts, list(path)
    while width > 1:
        if position ^ 1 < width:
            if not rest:
                return None
            sibling = rest.pop(0)
            node = sha256(f"{NODE}{sibling}{node}" if position & 1 else f"{NODE}{node}{sibling}")
        position, width = position // 2, (width + 1) // 2
    return None if rest or position else node


def checksums_of(receipt: Mapping[str, Any]) -> str:
    """Return the CRC-32 of each value of a receipt, in order, and a last one of this text itself."""
    values = "".join(crc for _, crc in _value_checksums(receipt))
    return values + _crc(values)


def _value_checksums(receipt: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part in _PARTS[1:]:
        for path, value in _values(part, receipt.get(part)):
            yield path, _crc(f"{path}={canonical(value)}")


def _values(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _values(f"{path}.{key}", value[key])
    elif isinstance(value, list) and value:
        for at, item in enumerate(value):
            yield from _values(f"{path}[{at}]", item)
    else:
        yield path, value


def _crc(text: str) -> str:
    return f"{zlib.crc32(text.encode()):0{CRC_DIGITS}x}"


def problems_of(line: str, roots: Collection[str]) -> list[str]:
    """Return what is wrong with a receipt, the altered values first; empty if it is right and leads to a root."""
    try:
        receipt: Any = json.loads(line, parse_constant=_no_number)
        text = canonical(receipt)
        text.encode()
    except json.JSONDecodeError as error:
        near = _near(line, _altered_quote(line, error.pos))
        return [f"{near} was altered: not JSON at character {error.pos + 1} ({error.msg})"]
    except (ValueError, RecursionError) as error:
        return [f"not canonical JSON: {error}"]
    if text != line:
        at = next((at for at, (one, other) in enumerate(zip(text, line, strict=False)) if one != other), len(text))
        return [f"{_near(line, at)} was altered: not canonical JSON at character {at + 1}"]
    if not isinstance(receipt, dict) or tuple(sorted(receipt)) != _PARTS:
        names = ", ".join(sorted(receipt)) if isinstance(receipt, dict) else "no object"
        return [f"not a receipt: expected the keys {', '.join(_PARTS)}; found {names}"]
    if receipt["format"] != FORMAT:
        return [f"format was altered, or is of another version: expected {FORMAT!r}, found {receipt['format']!r}"]
    try:
        found = list(_wrong(receipt, roots))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        found = [f"a value is missing or has another type: {error!r}"]
    return [*_altered(receipt, is_proven=not found), *found]


def _no_number(name: str) -> float:
    message = f"{name} is not a number"
    raise ValueError(message)


def _altered_quote(line: str, position: int) -> int:
    """Return where a quotation mark makes the line JSON: text of which it was the end runs into the next value.

    ``position`` is the place of the error, and returned if there is no such place.
    """
    for at in range(max(position - _LONGEST_RUN, 0), min(position, len(line))):
        if line[at + 1 : at + 2] not in (",", ":", "}", "]"):
            continue
        try:
            json.loads(line[:at] + '"' + line[at + 1 :])
        except (ValueError, RecursionError):
            continue
        return at
    return position


def _near(text: str, position: int) -> str:
    """Return the last key that begins at or before a position."""
    keys = [found[1] for found in _KEY.finditer(text) if found.start() <= position]
    return f"the value or name of {keys[-1]!r}" if keys else "the beginning"


def _altered(receipt: Mapping[str, Any], *, is_proven: bool) -> Iterator[str]:
    """Name the values that do not match their checksums; the checksums themselves, if all values are proven."""
    stated = receipt["checksums"]
    if not isinstance(stated, str) or _crc(stated[:-CRC_DIGITS]) != stated[-CRC_DIGITS:]:
        yield "checksums was altered: it does not match its own checksum"
        return
    if is_proven:
        return
    actual = list(_value_checksums(receipt))
    size = len(stated) // CRC_DIGITS - 1
    parts = [stated[at * CRC_DIGITS : (at + 1) * CRC_DIGITS] for at in range(size)]
    for (path, crc), part in zip(actual, parts, strict=False):
        if crc != part:
            yield f"{path} was altered: it does not match its checksum"
    if len(actual) != size:
        yield f"a value was added or removed: {len(actual)} values, {size} checksums"


def _wrong(receipt: Mapping[str, Any], roots: Collection[str]) -> Iterator[str]:
    """Check the hashes, the points and the result of a receipt, and its path to one of the roots."""
    statement, rubric, records, proof = (receipt[part] for part in ("statement", "rubric", "records", "proof"))
    if sha256(canonical(rubric)) != statement["rubric_hash"]:
        yield "rubric does not match statement.rubric_hash"
    if records is not None and sha256(canonical(records)) != statement["records_hash"]:
        yield "records do not match statement.records_hash"
    yield from _wrong_points(statement, rubric)
    top = top_from_path(leaf_hash(statement), proof["index"], proof["accounts"], proof["path"])
    root = top and root_hash(statement["tenant_id"], statement["as_of_date"], proof["accounts"], top)
    if root != proof["root"]:
        yield "the statement and proof.path do not lead to proof.root"
    elif root not in roots:
        yield f"proof.root {root} is not the given root"


def _wrong_points(statement: Mapping[str, Any], rubric: Mapping[str, Any]) -> Iterator[str]:
    inputs, points, result = statement["inputs"], statement["points"], statement["result"]
    for signal in rubric["signals"]:
        expected = points_of(signal, inputs)
        if points[signal["name"]] != expected:
            yield f"statement.points.{signal['name']} is {points[signal['name']]}; the rubric gives {expected}"
    expected_result = result_of(points, inputs, statement["thresholds"], rubric)
    for name, value in expected_result.items():
        if result[name] != value:
            yield f"statement.result.{name} is {result[name]}; the points and thresholds give {value}"


def points_of(signal: Mapping[str, Any], inputs: Mapping[str, Any]) -> float | None:
    """Return the points of a signal by its rule in the rubric; None for an input outside the rule."""
    value, rule = inputs[signal["name"]], signal["rule"]
    points: Any
    if rule["kind"] == "rate":
        points = float(signal["weight"]) * value
    elif rule["kind"] == "levels":
        points = rule["points"].get(value)
    elif value is None:
        points = rule["unknown"]
    else:
        bands = (given for compare, edge, given in rule["bands"] if _holds(value, compare, edge))
        points = next(bands, rule["otherwise"])
    if points is None:
        return None
    deduction = signal["deduction"]
    if deduction:
        return float(max(points - min(inputs[deduction["field"]], deduction["maximum"]), 0))
    return float(points)


def _holds(value: float, compare: str, edge: float) -> bool:
    return value <= edge if compare == "<=" else value >= edge if compare == ">=" else value > edge


def result_of(
    points: Mapping[str, float], inputs: Mapping[str, Any], thresholds: Mapping[str, Any], rubric: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the result from the points: sum, cap, band, churn risk and alert."""
    # Only the points of the rate have a fraction, so the sum of the others is exact and one addition rounds.
    rated = [one["name"] for one in rubric["signals"] if one["rule"]["kind"] == "rate"]
    raw_score = sum(points[name] for name in rated) + sum(points[name] for name in points if name not in rated)
    score = raw_score * rubric["caps"].get(inputs["tam_health_rag"], 1)
    best, middle, worst = rubric["rags"]
    rag = best if score >= thresholds["green_threshold"] else worst
    if rag == worst and score >= thresholds["amber_threshold"]:
        rag = middle
    renewal, logins = inputs["days_to_renewal"], inputs["login_frequency_days"]
    contract = rag in rubric["contract_rags"] and renewal is not None and renewal <= thresholds["churn_window_days"]
    behavioural = inputs["usage_trend"] in rubric["behavioural_trends"] and (
        logins is None or logins > rubric["behavioural_login_days"]
    )
    rule = next(
        one for one in rubric["churn_rules"] if (one["contract"], one["behavioural"]) == (contract, behavioural)
    )
    risk = rule["risks"][rag]
    return {
        "churn_risk_level": risk,
        "churn_triggered_by": rule["trigger"],
        "rag": rag,
        "raw_score": raw_score,
        "raw_score_hex": hex_float(raw_score),
        "score": score,
        "score_hex": hex_float(score),
        "should_alert": rag in rubric["alert_rags"] or risk in rubric["alert_risks"],
    }


def lines_of(path: Path) -> list[str]:
    """Return the receipts of a file, one per line. Raises OSError, or ValueError for a file that is not UTF-8."""
    # Not splitlines, which also splits at characters that JSON does not escape.
    lines = path.read_bytes().decode("utf-8").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the files of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Verify receipts of csm-health against the roots of their days.")
    parser.add_argument("--root", action="append", required=True, help="the root of a day; may be repeated")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a file with one receipt per line")
    options = parser.parse_args(arguments)
    roots = {root.lower() for root in options.root}
    status = verified = 0
    for path in options.files:
        try:
            lines = lines_of(path)
        except OSError as error:
            sys.stderr.write(f"{path}: cannot be read: {error.strerror or error}\n")
            status = 2
            continue
        except UnicodeDecodeError as error:
            near = _near(error.object[: error.start].decode("utf-8", "replace"), error.start)
            sys.stdout.write(f"{path}: {near} was altered: not UTF-8 at byte {error.start + 1}\n")
            status = max(status, 1)
            continue
        if not lines:
            sys.stderr.write(f"{path}: the file has no receipt\n")
            status = 2
        for number, line in enumerate(lines, 1):
            problems = problems_of(line, roots)
            verified += not problems
            status = max(status, 1 if problems else 0)
            for problem in problems:
                sys.stdout.write(f"{path}, line {number}: {problem}\n")
    sys.stdout.write(f"{verified} {'receipt' if verified == 1 else 'receipts'} verified\n")
    return status


if __name__ == "__main__":
    sys.exit(main())

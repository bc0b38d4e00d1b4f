"""Inputs that are almost right: valid samples, mutated as bytes, as JSON, as protobuf, as DER, as words of settings."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

PEM = re.compile(rb"(-----BEGIN [A-Z ]+-----\n)([^-]*)(-----END [A-Z ]+-----\n)")
Mutate = Callable[[Random, Sequence[bytes]], bytes]

LONGEST = 2**17
"""Characters of a mutated text: more than any decoder takes at once."""
TEXTS = (
    "",
    " ",
    "x" * 300,
    "\x1b]0;owned\x07",
    "\n",
    "\u202e",
    "a" + "\u0301" * 50,
    "\ud800",
    "\u0663",
    "../../x",
    "-1",
    "NaN",
    "9" * 5000,
    "[/]",
    "%00",
    "\0",
)
BOUNDS = (2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400)
NUMBERS = (0, -1, 1, *BOUNDS, 1e308, 1e18, -1e300, 0.5)
WORDS = (
    *(
        "task=digits",
        "task=../../../etc/passwd",
        "+x=1",
        "~client",
        "client.lr=0.5",
        "client.lr=nan",
        "client.lr=1e999",
    ),
    *(
        "client={lr:0.1}",
        "task=./x.py:Y",
        "private=[a,b]",
        "private=[[[[",
        "private=x",
        "seed=-1",
        "rounds=0",
        "=",
        "a",
    ),
    *("seed=99999999999999999999", "hydra.run.dir=x", "strategy=[fedavg]", "strategy=fedavg", "strategy@x=fedavg"),
    *(
        "/strategy=fedavg",
        "strategy=null",
        "'target=a: 1'",
        "target={a:b}",
        "pipeline.bound.clip={a:1}",
        "task.parts=3",
    ),
    *("cohort.size=${seed}", "cohort.size=\\${x}", "cohort.min=null", "client.epochs=1,2", "client.epochs=glob(*)"),
    *("client.batch='", "start_with=x", "evaluation.every=true", "strategy.lr={a:{b:{c:1}}}", "cohort=asynchronous"),
    *("selection=oort", "selection.x=1"),
)


def damaged(random: Random, samples: Sequence[bytes]) -> bytes:
    """Change bytes: flip, set, lose, double, cut, insert, splice with another sample; or nothing but noise."""
    raw = random.choice(samples)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        at, many = random.randrange(len(raw) + 1), random.choice((1, 1, 2, 4, 30))
        match random.randrange(9):
            case 0 if at < len(raw):
                raw = raw[:at] + bytes((raw[at] ^ 1 << random.randrange(8),)) + raw[at + 1 :]
            case 1 | 2 if at < len(raw):
                raw = raw[:at] + bytes((random.choice((0, 1, 127, 128, 255, random.randrange(256))),)) + raw[at + 1 :]
            case 3:
                raw = raw[:at] + raw[at + many :]
            case 4:
                raw = raw[: at + many] + raw[at:]
            case 5:
                raw = raw[:at]
            case 6:
                raw = raw[:at] + random.randbytes(many) + raw[at:]
            case 7:
                other = random.choice(samples)
                raw = raw[:at] + other[random.randrange(len(other) + 1) :]
            case _:
                raw = raw if random.random() < 0.8 else random.randbytes(random.randrange(200))
    return raw


class Raw(str):
    """Text that stands in JSON as it is."""


def json_value(random: Random) -> Any:
    """Anything that JSON, or what Python takes for JSON, can hold."""
    match random.randrange(8):
        case 0 | 1:
            return random.choice(NUMBERS)
        case 2 | 3:
            return random.choice(TEXTS)
        case 4:
            return random.choice((None, True, False, [], {}, [[]], {"": ""}))
        case 5:
            return Raw(random.choice(("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "-0", "01", "1_000", "'x'")))
        case 6:
            deep = random.choice((3, 50, 2000, 20_000))
            return Raw("[" * deep + "]" * random.choice((deep, deep - 1)))
        case _:
            return [random.choice((0, "", None, [], 0.5, "\n"))] * random.choice((1, 2, 50, 1001))


def json_text(value: Any, random: Random) -> str:
    """Write JSON, now and then with a field twice."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, dict):
        items = [f"{json.dumps(name)}:{json_text(part, random)}" for name, part in value.items()]
        if items and random.random() < 0.03:
            items.append(f"{items[0].partition(':')[0]}:{json_text(json_value(random), random)}")
        return "{" + ",".join(items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(json_text(part, random) for part in value) + "]"
    return (
        str(value)
        if type(value) is int and abs(value) >= 10**300
        else json.dumps(value, ensure_ascii=random.random() < 0.7)
    )


def _places(value: Any) -> list[tuple[Any, Any]]:
    """All places of a tree: a container, and a key or index of it."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def odd_json(random: Random, samples: Sequence[bytes]) -> bytes:
    """Change a value, a name or the number of fields of a JSON text; sometimes its bytes."""
    if random.random() < 0.2:
        return damaged(random, samples)
    value = json.loads(random.choice(samples))
    for _ in range(random.choice((1, 1, 2, 3))):
        if not (places := _places(value)):
            break
        inside, key = random.choice(places)
        match random.randrange(6):
            case 0 if isinstance(inside, dict):
                inside[random.choice(TEXTS)] = inside.pop(key)
            case 1:
                del inside[key]
            case 2 if isinstance(inside, list) and len(inside) < 50:
                inside.extend([inside[key]] * random.choice((1, 40, 1001)))
            case 3 if isinstance(inside, dict):
                inside[random.choice(TEXTS)] = json_value(random)
            case _:
                inside[key] = json_value(random)
    text = json_text(value if random.random() < 0.97 else json_value(random), random)
    return text[:LONGEST].encode("utf-8", "surrogatepass")


SCALARS = {
    Field.TYPE_STRING: [text for text in TEXTS if text != "\ud800"],
    Field.TYPE_BYTES: [b"", b"\xff", bytes(33), bytes(17_000)],
    Field.TYPE_BOOL: [True, False],
    Field.TYPE_DOUBLE: [float("nan"), float("inf"), -1e300, 0.0, 0.5],
    Field.TYPE_FLOAT: [float("nan"), 0.5],
}
BITS = {Field.CPPTYPE_INT32: (31, 31), Field.CPPTYPE_ENUM: (31, 31), Field.CPPTYPE_UINT32: (0, 32)}
"""Of what integers are below and above 0; of the others 63, or 64 where they have no sign."""


def _scalar(random: Random, field: Any) -> Any:
    if field.type in SCALARS:
        return random.choice(SCALARS[field.type])
    below, above = BITS.get(field.cpp_type, (63, 63) if field.cpp_type == Field.CPPTYPE_INT64 else (0, 64))
    low, high = -(2**below) if below else 0, 2**above - 1
    return random.choice((low, high, 0, 1, high // 2, random.randint(low, high), random.randrange(100)))


def _change(random: Random, message: Message) -> None:
    """Change one field somewhere in a message."""
    fields = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    there = [field for field, _ in message.ListFields()]
    field = random.choice(there if there and random.random() < 0.7 else fields)
    if random.random() < 0.1:
        message.ClearField(field.name)
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        _change_map(random, getattr(message, field.name), field.message_type)
    elif field.is_repeated:
        _change_list(random, getattr(message, field.name), field)
    elif field.message_type is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        _change(random, inner)
    else:
        setattr(message, field.name, _scalar(random, field))


def _change_map(random: Random, entries: Any, kind: Any) -> None:
    key = (
        random.choice(list(entries))
        if entries and random.random() < 0.7
        else _scalar(random, kind.fields_by_name["key"])
    )
    if random.random() < 0.2:
        entries.pop(key, None)
    elif kind.fields_by_name["value"].message_type is not None:
        _change(random, entries[key])
    else:
        entries[key] = _scalar(random, kind.fields_by_name["value"])


def _change_list(random: Random, parts: Any, field: Any) -> None:
    if parts and random.random() < 0.3:
        del parts[random.randrange(len(parts)) :]
    elif field.message_type is not None:
        _change(random, random.choice(parts) if parts and random.random() < 0.6 else parts.add())
    else:
        parts.extend(
            [_scalar(random, field)] * random.choice((1, 1, 2, 65, 65 if field.type == Field.TYPE_BYTES else 1001))
        )


def odd_message(kind: type[Message]) -> Mutate:
    """Change fields of a protobuf message; sometimes its bytes."""

    def mutate(random: Random, samples: Sequence[bytes]) -> bytes:
        if random.random() < 0.3:
            return damaged(random, samples)
        message = kind.FromString(random.choice(samples))
        for _ in range(random.choice((1, 1, 2, 3))):
            _change(random, message)
        return message.SerializeToString()

    return mutate


def odd_der(random: Random, samples: Sequence[bytes]) -> bytes:
    """Change a value of DER, and the lengths around it with it; sometimes its bytes. PEM stays PEM."""
    raw = random.choice(samples)
    if random.random() < 0.3:
        return damaged(random, samples)
    if (block := PEM.match(raw)) is None:
        return _odd_value(random, raw)
    der = base64.encodebytes(_odd_value(random, base64.b64decode(block[2])))
    return block[1] + der + block[3] + raw[block.end() :]


def _odd_value(random: Random, raw: bytes) -> bytes:
    if (parts := _values(raw)) is None:
        return damaged(random, [raw or b"\0"])
    at = random.randrange(len(parts))
    tag, inside = parts[at]
    match random.randrange(8):
        case 0:
            tag = random.choice((2, 3, 4, 5, 6, 12, 19, 23, 24, 48, 49, 160, random.randrange(256)))
        case 1:
            del parts[at]
            return b"".join(_value(*part) for part in parts)
        case 2:
            parts.insert(at, (tag, inside))
            return b"".join(_value(*part) for part in parts)
        case _:
            inside = _odd_value(random, inside)
    parts[at] = tag, inside
    return b"".join(_value(*part) for part in parts)


def _values(raw: bytes) -> list[tuple[int, bytes]] | None:
    """Take DER apart, one level of it; None where it is none."""
    parts, at = [], 0
    while at + 2 <= len(raw):
        tag, size = raw[at], raw[at + 1]
        at += 2
        if size > 127:
            more = size - 128
            size, at = int.from_bytes(raw[at : at + more], "big"), at + more
        if at + size > len(raw):
            return None
        parts.append((tag, raw[at : at + size]))
        at += size
    return parts if at == len(raw) and parts else None


def _value(tag: int, inside: bytes) -> bytes:
    size = len(inside)
    length = (
        bytes((size,))
        if size < 128
        else bytes((128 + (size.bit_length() + 7) // 8,)) + size.to_bytes((size.bit_length() + 7) // 8, "big")
    )
    return bytes((tag,)) + length + inside


def odd_words(random: Random, samples: Sequence[bytes]) -> bytes:
    """A line of settings: some that could be meant, some odd ones, changed as text."""
    words = [random.choice(WORDS) for _ in range(random.randrange(1, 4))]
    line = " ".join([random.choice(samples).decode(), *words]).encode()
    return damaged(random, [line]) if random.random() < 0.5 else line

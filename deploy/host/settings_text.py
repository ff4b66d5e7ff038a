"""Settings back to the text of a hafen.toml: what `shared.settings.load` reads.

Pure. Only what Settings can hold: tables, strings, numbers, booleans and lists of them.
"""

import json
from collections.abc import Mapping

import msgspec

from shared.settings import Settings

Scalar = str | int | float | bool


def toml(settings: Settings) -> str:
    """Return the settings as TOML, defaults written out: a person sees what is in force."""
    tree = msgspec.to_builtins(settings, enc_hook=str)
    return _table(tree, ())


def _table(tree: Mapping[str, object], path: tuple[str, ...]) -> str:
    plain = {key: value for key, value in tree.items() if not isinstance(value, Mapping | None)}
    tables = {key: value for key, value in tree.items() if isinstance(value, Mapping)}
    lines = [f"[{'.'.join(map(_key, path))}]"] if path and (plain or not tables) else []
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    parts = ["\n".join(lines) + "\n"] if lines else []
    parts += [_table(value, (*path, key)) for key, value in tables.items()]
    return "\n".join(parts)


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else _text(key)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case _:
            raise TypeError(f"a setting cannot be a {type(value).__name__}")


def _text(text: str) -> str:
    # A JSON string is a TOML string, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")

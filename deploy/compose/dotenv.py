r"""Reads the `.env` file beside a Compose file: names and values for its variables.

Pure. One NAME=value a line, `export` in front allowed. Single quotes keep everything; double quotes
know \n, \t, \r, \", \\ and \$. Double-quoted and bare values may name variables that are known by
then. Quoted values may span lines. What the environment sets, the file does not change. Messages
never repeat a value: it may be a password.
"""

import re
from collections import ChainMap
from collections.abc import Mapping
from typing import Final

from deploy.compose.errors import Problems
from deploy.compose.interpolate import ExpandError, expand
from deploy.compose.tree import Mark

_SKIPPED: Final = re.compile(r"(?:[ \t]*(?:#[^\n]*)?(?:\n|\Z))")
_NAME: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*")
_SINGLE: Final = re.compile(r"'([^']*)'")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE: Final = re.compile(r"[^\n]*")
_COMMENT: Final = re.compile(r"(?:^|[ \t]+)#.*")
_REST: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$$"}


def parse(
    text: str, file: str, environment: Mapping[str, str], problems: Problems
) -> dict[str, str]:
    """Return all variables: the file's, and over them the environment's.

    Args:
        text: the content of the file.
        file: its name for messages.
        environment: wins over the file.
        problems: receives the lines that cannot be read.
    """
    return _Reader(text.replace("\r\n", "\n"), file, environment, problems).variables()


def own(text: str, file: str, environment: Mapping[str, str], problems: Problems) -> dict[str, str]:
    """Return what an `env_file` sets, for a container: the environment changes none of it.

    A name that stands alone has the environment's value, if it has one there.
    """
    reader = _Reader(text.replace("\r\n", "\n"), file, environment, problems)
    reader.variables()
    bare = {name: environment[name] for name in reader.bare if name in environment}
    return {**bare, **reader.found}


def raw(text: str, file: str, environment: Mapping[str, str], problems: Problems) -> dict[str, str]:
    """Return what an `env_file` with `format: raw` sets: no quotes, no variables, no escapes."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if not name or "\0" in line:
            problems.add(Mark(-1, number, file), (), "expected NAME=value")
        elif equals:
            found[name] = value
        elif name in environment:
            found[name] = environment[name]
    return found


class _Reader:
    """Goes through one text; one use."""

    def __init__(
        self, text: str, file: str, environment: Mapping[str, str], problems: Problems
    ) -> None:
        self._text, self._file = text, file
        self._problems = problems
        self.found: dict[str, str] = {}
        self.bare: list[str] = []
        # Looked up from left to right: the environment wins.
        self._known = ChainMap(dict(environment), self.found)
        self._at = 0

    def variables(self) -> dict[str, str]:
        """Return everything that the file and the environment set."""
        while self._at < len(self._text):
            skipped = _SKIPPED.match(self._text, self._at)
            if skipped is not None:
                self._at = skipped.end()
                continue
            start = self._at
            if not self._assignment():
                self._at = self._line_end(start)
        return dict(self._known)

    def _assignment(self) -> bool:
        """Read one NAME=value; write down a problem and return False where there is none."""
        start = self._at
        name = _NAME.match(self._text, start)
        if name is None:
            return self._refuse(start, "expected NAME=value")
        self._at = name.end()
        if _REST.match(self._text, self._at):  # a name alone: the environment's, if it has it
            self._at = self._line_end(self._at)
            self.bare.append(name.group(1))
            return True
        if not self._text.startswith("=", self._at):
            return self._refuse(start, "expected NAME=value")
        self._at += 1
        while self._text[self._at : self._at + 1] in {" ", "\t"}:
            self._at += 1
        return self._value(name.group(1), start)

    def _value(self, name: str, start: int) -> bool:
        quote = self._text[self._at : self._at + 1]
        if quote not in {"'", '"'}:
            bare = _BARE.match(self._text, self._at)
            assert bare is not None, "matches the empty string at least"
            self._at = self._line_end(bare.end())
            return self._set(name, _COMMENT.sub("", bare.group(), count=1).strip(), start)
        value = (_SINGLE if quote == "'" else _DOUBLE).match(self._text, self._at)
        if value is None:
            return self._refuse(start, f"the quote after {name}= is not closed")
        rest = _REST.match(self._text, value.end())
        if rest is None:
            return self._refuse(start, f"only a comment may follow the value of {name}")
        self._at = rest.end()
        if quote == "'":
            self.found[name] = value.group(1)
            return True
        return self._set(name, _ESCAPE.sub(_unescaped, value.group(1)), start)

    def _set(self, name: str, value: str, start: int) -> bool:
        try:
            self.found[name] = expand(value, self._known)
        except ExpandError as error:
            self._problems.add(self._mark(start), (name,), str(error))
        return True

    def _refuse(self, start: int, what: str) -> bool:
        self._problems.add(self._mark(start), (), what)
        return False

    def _mark(self, at: int) -> Mark:
        # Before every Compose file: what is wrong here is often the cause of what is wrong there.
        return Mark(-1, self._text.count("\n", 0, at) + 1, self._file)

    def _line_end(self, at: int) -> int:
        end = self._text.find("\n", at)
        return len(self._text) if end < 0 else end + 1


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPED.get(match.group(1), match.group())

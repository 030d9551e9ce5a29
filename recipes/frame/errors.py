"""Errors on the command line: one line that says what to do, and the nearest right name."""

import difflib
import re
import traceback
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ("zoo", "callbacks", "datamodules", "recipes")


class UsageError(Exception):
    """A wrong name or value on the command line."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """For a wrong name: the nearest right ones, or all of them if none is near."""
    known = list(known)
    near = nearest(name, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or 'none'}"
    return UsageError(f"no {kind} {name!r}; {hint}")


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """At most three of `known`, upper and lower case being the same."""
    lower = {k.lower(): k for k in known}
    return [lower[k] for k in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]


def one_line(message: str, known: Iterable[str] = ()) -> str:
    """What jsonargparse says on many lines, as key and reason; `known` are the right names for a misspelt one."""
    lines = [line.strip() for line in message.splitlines()]
    reasons = dict.fromkeys(line[2:] for line in lines if line.startswith("- ") and "NoneType" not in line)
    text = f"{lines[0].split(': Does not')[0].rstrip(':')}: {'; '.join(reasons)}" if reasons else " ".join(lines)
    wrong = re.search(r"(?:Option '|import path string: )(\w+)", text)
    near = nearest(wrong[1], known) if wrong else []
    return f"{text}; did you mean {' or '.join(near)}?" if near and "did you mean" not in text else text


def meant_for_the_user(error: BaseException) -> BaseException | None:
    """The first error of the chain, if a `raise` of our own made it: its message says what to do, and a traceback would
    hide it. None for all others: they are faults."""
    while error.__cause__ or (error.__context__ and not error.__suppress_context__):
        error = error.__cause__ or error.__context__
    frame = traceback.extract_tb(error.__traceback__)[-1]
    ours = any(Path(frame.filename).is_relative_to(ROOT / package) for package in OURS)
    return error if ours and frame.line.startswith("raise ") else None

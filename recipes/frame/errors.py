"""Errors on the command line: one line that says what to do, with the nearest valid name."""

import argparse
import difflib
import re
import traceback
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
OURS = ("zoo", "callbacks", "datamodules", "recipes")


class UsageError(Exception):
    """A wrong name or value on the command line."""


class PlainParser(argparse.ArgumentParser):
    """An `argparse` parser whose errors are a `UsageError` in one line, with the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as a `UsageError`."""
        raise UsageError(f"{message}; usage: {self.usage}")


def refuse_other_packages() -> None:
    """Raise a `UsageError` if a folder of the user's comes before one of our packages of the same name."""
    for name in OURS:
        spec = find_spec(name)
        places = list(spec.submodule_search_locations or [spec.origin or ""]) if spec else []
        if places and Path(places[0]).resolve().parent != ROOT:
            raise UsageError(
                f"{places[0]} hides the package {name!r} of Lightning Zoo: rename it, or work in another folder"
            )


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Make the error for a wrong name, with the nearest valid ones, or all of them if none is near."""
    known = list(known)
    near = nearest(name, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or 'none'}"
    return UsageError(f"no {kind} {name!r}; {hint}")


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return at most three of `known` that are near `name`, ignoring case."""
    lower = {k.lower(): k for k in known}
    return [lower[k] for k in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]


def one_line(message: str, known: Iterable[str] = ()) -> str:
    """Shorten jsonargparse's message to one line; `known` are the valid names for a misspelt one."""
    lines = [line.strip() for line in message.splitlines()]
    reasons = dict.fromkeys(line[2:] for line in lines if line.startswith("- ") and "NoneType" not in line)
    text = f"{lines[0].split(': Does not')[0].rstrip(':')}: {'; '.join(reasons)}" if reasons else " ".join(lines)
    wrong = re.search(r"(?:Option '|import path string: )(\w+)", text)
    near = nearest(wrong[1], known) if wrong else []
    return f"{text}; did you mean {' or '.join(near)}?" if near and "did you mean" not in text else text


def meant_for_the_user(error: BaseException) -> BaseException | None:
    """Return the error of the chain whose message says what to do, because a `raise` of ours wrote it; else None.

    It is the first of the chain, or one that we raised from another error. All others are faults, and a fault keeps
    its traceback.
    """
    chain = [error]
    while earlier := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = earlier
        chain.append(error)
    first = chain[-1]
    return next((e for e in reversed(chain) if _is_ours(e) and (e is first or e.__suppress_context__)), None)


def _is_ours(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    ours = any(Path(frames[-1].filename).is_relative_to(ROOT / package) for package in OURS)
    return ours and (frames[-1].line or "").startswith("raise ")

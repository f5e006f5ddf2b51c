"""What callers give, checked before it is sent. TypeError and ValueError name the value and what it may be."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import TypeVar

Number = TypeVar("Number", int, float)


def number(name: str, value: object, low: float, high: float) -> float:
    """Those of NumPy are numbers too."""
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {value!r}; it must be a number")
    return _within(name, value, float(value), low, high)


def whole(name: str, value: object, low: int, high: int) -> int:
    if not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {value!r}; it must be a whole number")
    return _within(name, value, int(value), low, high)


def text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; it must be str")
    return value


def flag(name: str, value: object) -> bool:
    if value not in (True, False):
        raise TypeError(f"{name} is {value!r}; it must be True or False")
    return bool(value)


def labels(given: Mapping[str, str] | None) -> Mapping[str, str]:
    for key, value in (given or {}).items():
        text(f"the label {key!r}", value)
        text(f"the name of the label {value!r}", key)
    return given or {}


def _within(name: str, given: object, found: Number, low: Number, high: Number) -> Number:
    if not low <= found <= high:
        raise ValueError(f"{name} is {given}; it must be {low} to {high}")
    return found

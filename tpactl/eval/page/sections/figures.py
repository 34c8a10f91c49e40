"""Figures as the page's sections write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tpactl.eval.page import axes
from tpactl.eval.page.subject import Subject
from tpactl.eval.page.words import Words
from tpactl.formats.report import Rate, SystemRates, rate_of


def with_interval(rate: Rate, t: Words) -> str:
    """Return a rate in percent with its interval, where there is one."""
    shown = t.percent(rate.rate)
    if rate.low is None or rate.high is None:
        return shown
    return t(
        "rate_interval", rate=shown, low=f"{100 * rate.low:.1f}", high=f"{100 * rate.high:.1f}"
    )


def rate_named(results: Sequence[SystemRates], name: str, subject: Subject) -> Rate:
    """Return the rate of the system called ``name``, of the report's metric."""
    found = next(result for result in results if result.system == name)
    return rate_of(found, subject.report.metric)


def rate_axis(rates: Iterable[Rate], t: Words) -> axes.Axis:
    """Return an axis that holds rates and their intervals."""
    values = [
        value for rate in rates for value in (rate.rate, rate.low, rate.high) if value is not None
    ]
    return axes.linear(values, lambda value: t.percent(value, 0))


def with_sign(value: float, low: float | None, high: float | None, t: Words) -> str:
    """Return a difference of rates in points, with its interval where there is one."""
    shown = t.points(value)
    if low is None or high is None:
        return shown
    return t(
        "signed_interval",
        value=shown,
        low=true_minus(f"{100 * low:+.1f}"),
        high=true_minus(f"{100 * high:+.1f}"),
    )


def true_minus(number: str) -> str:
    """Return a number with a minus sign in the place of a hyphen."""
    return number.replace("-", "−")


def plain_points(value: float) -> str:
    """Return a difference in points, without a unit."""
    return true_minus(f"{100 * value:+.3g}") if value else "0"


def times_real_time(real_time_factor: float | None, t: Words) -> str:
    """Return how many times faster than speech it is."""
    if not real_time_factor:
        return t("not_available")
    return t("times_real_time", factor=f"{1 / real_time_factor:.3g}")


def shown_or_not(value: float | None, show: Callable[[float], str], t: Words) -> str:
    """Return ``value`` as ``show`` writes it, where there is one."""
    return t("not_available") if value is None else show(value)


def formatted(value: float | None, form: str, t: Words) -> str:
    """Return ``value`` in a format, where there is one."""
    return shown_or_not(value, form.format, t)


def joined(parts: Iterable[str], t: Words) -> str:
    """Return a list as a sentence has it."""
    return t("and").join(parts)

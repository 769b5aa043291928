"""What a document claims beside what is measured, with a verdict that follows from the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t

from tabcohort.reproduce.findings import Spread, plain_cell, spread

HOLDS, IN_DIRECTION, FAILS, CANNOT = "holds", "holds in direction", "does not hold", "can't hold"
UNDECIDED = "not decided"
LEVEL = 0.95  # of the ranges that verdicts are based on
BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Measured:
    """A measured quantity: its name, its spread over seeds, and the format of its numbers."""

    name: str
    value: Spread
    style: str = ".3f"

    @property
    def text(self) -> str:
        """The quantity as it is shown."""
        return self.value.show(self.style)


def measured_once(name: str, value: float, style: str) -> Measured:
    """Return a quantity that is computed or counted, so that it has no spread."""
    return Measured(name, Spread(float(value), None, 1), style)


@dataclass(frozen=True)
class Claim:
    """Something that a document says and that was measured.

    Args:
        text: what it says.
        where: the place in the document.
        claimed: its figures, as text; empty where it gives none.
        measured: the quantities beside them.
        verdict: one of `HOLDS`, `IN_DIRECTION`, `FAILS`, `CANNOT` and `UNDECIDED`.
        reason: for the verdict; empty where the figures say it.
        agreement: how many runs agree, in words; empty for what is computed or counted once.
    """

    text: str
    where: str
    claimed: str
    measured: tuple[Measured, ...]
    verdict: str
    reason: str
    agreement: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "text": self.text,
            "where": self.where,
            "claimed": self.claimed,
            "measured": [
                {"name": quantity.name, **plain_cell(quantity.value), "text": quantity.text}
                for quantity in self.measured
            ],
            "verdict": self.verdict,
            "reason": self.reason,
            "agreement": self.agreement,
        }


def value_claim(text: str, where: str, claimed: float, measured: Measured) -> Claim:
    """Return a claim of one figure; it holds if a single run with another seed often has such a value.

    Args:
        text, where: see `Claim`.
        claimed: the document's figure.
        measured: the same quantity over seeds.
    """
    style, value = measured.style, measured.value
    if value.deviation is None:
        verdict, reason = UNDECIDED, "one seed has no spread to compare with"
    else:
        half = quantile(value.n) * value.deviation * (1 + 1 / value.n) ** 0.5
        verdict = HOLDS if abs(claimed - value.mean) <= half else FAILS
        reason = f"{LEVEL:.0%} of single runs are within {half:{style}} of the mean"
    n_below = sum(run <= claimed for run in value.values)
    agreement = f"{n_below} of {value.n} runs are at or below the document's figure" if value.values else ""
    return Claim(text, where, f"{claimed:{style}}", (measured,), verdict, reason, agreement)


@dataclass(frozen=True)
class Compared:
    """One side of a comparison: its name, the document's figure, and the measured one by seed."""

    name: str
    claimed: float | None
    by_seed: BySeed


def order_claim(text: str, where: str, first: Compared, second: Compared, style: str = ".3f") -> Claim:
    """Return a claim that one figure is above the other, by the differences of equal seeds.

    It holds in direction if the mean difference is beyond chance and has the document's sign, and it holds if a single
    pair of runs often differs by as much as in the document. It is not decided if the interval of the mean difference
    excludes neither zero nor the document's difference. Where the document gives no figures, the second is said to be
    the lower one.

    Args:
        text, where: see `Claim`.
        first, second: the sides.
        style: format of the numbers.
    """
    seeds = sorted(first.by_seed.keys() & second.by_seed.keys())
    has_figures = first.claimed is not None and second.claimed is not None
    claimed = f"{first.claimed:{style}} and {second.claimed:{style}}" if has_figures else ""
    if not seeds:
        return Claim(text, where, claimed, (), UNDECIDED, "not measured")
    sides = [Measured(side.name, spread(side.by_seed[seed] for seed in seeds), style) for side in (first, second)]
    difference = spread(second.by_seed[seed] - first.by_seed[seed] for seed in seeds)
    signed = f"+{style}"
    measured = (*sides, Measured("difference", difference, signed))
    if difference.deviation is None:
        return Claim(text, where, claimed, measured, UNDECIDED, "one seed has no spread to compare with")
    says = second.claimed - first.claimed if has_figures else -1.0  # type: ignore[operator]
    n_agree = sum(value * says > 0 for value in difference.values)
    agreement = f"{n_agree} of {difference.n} pairs of runs agree"
    margin = quantile(difference.n) * difference.error
    pair = quantile(difference.n) * difference.deviation * (1 + 1 / difference.n) ** 0.5
    if not difference.deviation and not difference.mean:
        verdict, reason = FAILS, "there is no difference"
    elif abs(difference.mean) <= margin and (not has_figures or abs(difference.mean - says) <= margin):
        neither = "exclude neither zero nor the document's difference" if has_figures else "do not exclude zero"
        verdict, reason = UNDECIDED, f"{difference.n} seeds {neither}"
    elif abs(difference.mean) <= margin:
        verdict, reason = FAILS, "no difference beyond chance, and the document's is excluded"
    elif difference.mean * says < 0:
        verdict, reason = FAILS, "it is the other way round"
    elif not has_figures or abs(difference.mean - says) <= pair:
        verdict, reason = HOLDS, "the difference is beyond chance"
    else:
        verdict, reason = IN_DIRECTION, f"the difference is {difference.mean:{signed}}, not {says:{signed}}"
    return Claim(text, where, claimed, measured, verdict, reason, agreement)


def machine_time(text: str, where: str, claimed: float, measured: Measured) -> Claim:
    """Return a claim of seconds, which another machine can't confirm or refute.

    Args:
        text, where: see `Claim`.
        claimed: the document's seconds.
        measured: seconds here.
    """
    here = max(measured.value.mean, 1e-9)
    ratio = f"{claimed / here:,.0f} times less" if here < claimed else f"{here / claimed:,.1f} times as long"
    reason = f"seconds depend on the machine; here it takes {here:.2g} s, {ratio}"
    return Claim(text, where, f"{claimed:g} s", (measured,), CANNOT, reason)


def counted_claim(text: str, where: str, claimed: int, counted: int, reason: str = "") -> Claim:
    """Return a claim of a number that can be counted, whatever is trained.

    Args:
        text, where: see `Claim`.
        claimed: the document's number.
        counted: the right one.
        reason: why the document's can't be right, if it is not.
    """
    measured = (measured_once("counted", counted, ",.0f"),)
    is_right = claimed == counted
    reason = "" if is_right else reason or f"there are {counted:,}, whatever is trained"
    return Claim(text, where, f"{claimed:,}", measured, HOLDS if is_right else CANNOT, reason)


def computed_claim(
    text: str, where: str, claimed: Sequence[float], computed: Sequence[float], style: str, reason: str = "computed"
) -> Claim:
    """Return a claim of figures that follow from others that the document gives; it holds if they agree as printed.

    Args:
        text, where: see `Claim`.
        claimed: the document's figures.
        computed: the same figures, computed.
        style: of the document's figures.
        reason: why they differ, if they do.
    """
    texts = [[f"{value:{style}}" for value in values] for values in (claimed, computed)]
    is_right = texts[0] == texts[1]
    names = [f"figure {place + 1}" for place in range(len(computed))] if len(computed) > 1 else ["computed"]
    measured = tuple(measured_once(name, value, style) for name, value in zip(names, computed, strict=True))
    return Claim(text, where, ", ".join(texts[0]), measured, HOLDS if is_right else FAILS, "" if is_right else reason)


def quantile(n: int) -> float:
    """Return how many standard errors the 95 % interval of a mean of `n` seeds reaches to each side."""
    return float(t.ppf((1 + LEVEL) / 2, n - 1))

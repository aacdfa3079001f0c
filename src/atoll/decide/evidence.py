"""Evidence that may be looked at after every request: e-values, and how fast they grow.

An e-value is a non-negative statistic whose mean is at most 1 when the null hypothesis holds. The product of e-values of
successive blocks of time is a supermartingale then, so the chance that it *ever* reaches 1/alpha is at most alpha (Ville
1939): looking each second costs nothing, and no number of looks has to be planned. `decide.verdict` says what is counted.

Two kinds of counts are used:

- **Two arms in the same block** (`log_e_two_arms`): of `n` requests `m` were bad; how many of these did the candidate have
  among its own? When both arms are alike, each bad one is the candidate's by chance (Cochran-Mantel-Haenszel's null, one
  stratum per block and edge, so what disturbs both arms alike disturbs nothing here). The e-value is the likelihood
  ratio of an odds ratio theta against 1, with the null's moment bounded by the binomial's (Hoeffding 1963, theorem 4), which
  is conservative. Turner and Grünwald, "Safe sequential testing and effect sizes in stratified count data" (2023).
- **One arm against a fixed share** (`log_e_share`): Wald's sequential likelihood ratio (1945).

Alternatives are mixed with equal weights: the average of e-values is one, so nobody has to guess the effect's size.
"""

from collections.abc import Callable, Iterable, Sequence
from math import exp, inf, log, log1p

from atoll.model.analysis import Evidence

WORSE = (1.5, 3.0, 8.0, 32.0)  # odds ratios that are looked for: a half more often, up to broken altogether
FINE = (2 / 3, 1 / 3, 1 / 8)  # and those that show that a regression is not there
STAKES = (0.5, 0.9)  # of a bet that it is not there: slow to grow, but what one bad block takes from it is bounded
SHARES = (0.0, 0.25, 0.5)  # of the share in question: what "clearly below it" may mean
NEARLY_ALL = 0.999  # the largest share that is looked for
FACTORS = (1.5, 3.0, 10.0)  # of the share in question: what "clearly above it" may mean


def add(evidence: Evidence, logs: Sequence[float], most: float = inf) -> Evidence:
    """`evidence` with one more block. `most` bounds what one block may tell: a smaller e-value is still one, and a single
    bad second (a pause of one replica) then convicts nobody.
    """
    old = evidence.logs or (0.0,) * len(logs)
    after = tuple(gathered + min(more, most) for gathered, more in zip(old, logs, strict=True))
    return Evidence(after, max(evidence.peak, log_mean(after)))


def reached(evidence: Evidence, alpha: float) -> bool:
    """Whether the null hypothesis is refuted at level `alpha` (0..1), by any look so far."""
    return evidence.peak >= -log(alpha)


def chance(evidence: Evidence) -> float:
    """How often at most such evidence comes up at any look although the null hypothesis holds (0..1)."""
    return exp(-max(0.0, evidence.peak))


def log_e_two_arms(bad: int, total: int, all_bad: int, all_total: int, theta: float) -> float:
    """The log e-value of one block for "the candidate's odds of a bad one are `theta` times the other's", against alike.

    `bad` of `total` are the candidate's, `all_bad` of `all_total` both arms' together. 0 where the block tells nothing.
    """
    if not all_bad or all_bad == all_total or not total or total == all_total:
        return 0.0
    more = theta - 1.0
    by_bad = all_bad * log1p(more * total / all_total)
    by_arm = total * log1p(more * all_bad / all_total)
    return bad * log(theta) - min(by_bad, by_arm)


def log_e_share(bad: int, total: int, share: float, alternative: float) -> float:
    """The log e-value of `bad` in `total` for the share `alternative` (0..1) against `share` and all beyond it."""
    good = total - bad
    found = good * (log1p(-alternative) - log1p(-share)) if good else 0.0
    if bad:
        found += bad * (log(alternative) - log(share)) if alternative > 0 else -inf
    return found


def two_arms(bad: int, total: int, all_bad: int, all_total: int, thetas: Sequence[float]) -> tuple[float, ...]:
    """`log_e_two_arms` for each of `thetas`."""
    return tuple(log_e_two_arms(bad, total, all_bad, all_total, theta) for theta in thetas)


def bets(bad: int, total: int, all_bad: int, all_total: int, stakes: Sequence[float] = STAKES) -> tuple[float, ...]:
    """The log of what each stake makes of one block, bet on the candidate having fewer bad ones than its share.

    Its share of them is the bad ones' share of all when both arms are alike, so the bet is fair then (Shafer, "Testing by
    betting", 2021); and since a share is between 0 and 1, no block takes more than the stake.
    """
    if not total or not all_total:
        return (0.0,) * len(stakes)
    gain = all_bad / all_total - bad / total
    return tuple(log1p(stake * gain) for stake in stakes)


def below(bad: int, total: int, share: float) -> tuple[float, ...]:
    """Evidence that the true share of bad ones is below `share`, for each of `SHARES`."""
    return tuple(max(-1e6, log_e_share(bad, total, share, share * part)) for part in SHARES)


def above(bad: int, total: int, share: float) -> tuple[float, ...]:
    """Evidence that the true share of bad ones is above `share`, for each of `FACTORS`; none where nothing is above it."""
    alternatives = (min(NEARLY_ALL, share * factor) for factor in FACTORS)
    return tuple(log_e_share(bad, total, share, other) if other > share else 0.0 for other in alternatives)


def together(strata: Iterable[Sequence[float]]) -> tuple[float, ...]:
    """The evidence of parts of one block of time that do not depend on each other: the sum, alternative by alternative."""
    return tuple(sum(logs) for logs in zip(*strata, strict=True))


def requests_until(growth: Callable[[int], Sequence[float]], alpha: float, most: int = 10**9) -> int | None:
    """After how many requests the *expected* evidence reaches `alpha`, for a plan; None when never within `most`.

    `growth(n)` gives the expected log e-values of each alternative after n requests; the best of them decides.
    """
    need = -log(alpha)
    if max(growth(most)) - log(len(growth(1))) < need:
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        logs = growth(middle)
        if log_mean(logs) >= need:
            high = middle
        else:
            low = middle
    return high


def log_mean(logs: Sequence[float]) -> float:
    """The logarithm of the mean of what `logs` are logarithms of: the mixture of these e-values."""
    top = max(logs)
    return top + log(sum(exp(one - top) for one in logs) / len(logs)) if top > -inf else -inf

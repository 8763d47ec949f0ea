"""What part of this worker's share each shard proves to take, learnt from throttled entries. Pure numbers.

Additive increase, multiplicative decrease by a fixed part (Chiu and Jain 1989): producers that do not know
each other see the same refusals, cut as often, and end at equal parts.
"""

# Throttling that does not depend on the rate would drive that to a standstill: each cut buys nothing. So what
# follows a cut is measured. Overload vanishes, since all who feed the shard cut in the same seconds; where as
# much is refused as before, though the rate is little more than half of it, that share is the *baseline* of
# the stream: the cuts are undone, and only what exceeds it counts from then on.

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Shards = NDArray[np.float64]  # [shards]

JUDGE_S = 1.0
SILENCE_S = 2.0  # a longer pause between answers, an outage for one, counts as this much time
SAMPLE_ENTRIES, WINDOW_S = 20, 4.0  # a shard is looked at when it has had so many, or for so long
FACTOR_MIN = 0.02  # fifty hosts at it fill a shard; it keeps a worker sending, or it would learn nothing more
GROWTH_PER_S = 0.02  # of the share, also while an experiment lasts
CUT = 0.65  # deep enough that overload vanishes for seconds, in which the service's bucket fills again
CUT_OF_ACCEPTED = 0.8  # where so many were refused that this is less
PEAK_DECAY_PER_S, OVER_PEAK = 0.05, 1.3  # what exceeds the recent peak of the rate is no use to cut from
TOLERANCE = 0.01  # of the entries refused, and one, is not worth going slower
SIGMAS = 3.5  # above a baseline: so far chance goes
SAME = 0.4  # of the refusals expected at an unchanged share: more than this means that the cut did nothing
EVIDENCE = 4.0  # refusals to expect; with fewer, as many as before say nothing yet
CUTS_MIN, DEPTH = 2, 0.6  # cuts, and the part of the rate before, that a shard needs to prove a baseline
BASELINE_MAX = 0.3  # more is overload, whatever else it looks like
BASELINE_REFUSALS, BASELINE_SIGMAS = 12.0, 3.0  # to expect, before clearly fewer mean that the baseline fell

# Phases. SETTLING: what is answered now was sent before the cut, or beside others who have not cut yet.
FREE, SETTLING, MEASURING = range(3)


class Capacity:
    """The learnt factors of shards 0 to count-1, all 1 in the beginning."""

    def __init__(self, count: int, now_s: float) -> None:
        self.factors: Shards = np.ones(count)
        self._judged_s = now_s
        # The window by which a shard is judged: entries, and seconds of the share spent in seconds passed.
        self._sent: Shards = np.zeros(count)
        self._throttled: Shards = np.zeros(count)
        self._spent_s: Shards = np.zeros(count)
        self._span_s: Shards = np.zeros(count)
        self._peak: Shards = np.zeros(count)  # of the share that was sent
        # The experiment that a shard is in: how it was before, and what was measured after its last cut.
        self._phase = np.zeros(count, np.int8)
        self._cuts = np.zeros(count, np.int64)
        self._factor_before: Shards = np.ones(count)
        self._factor_cut: Shards = np.ones(count)  # right after the last cut
        self._excess_before: Shards = np.zeros(count)  # throttled share above the baseline
        self._measured_sent: Shards = np.zeros(count)
        self._measured_throttled: Shards = np.zeros(count)
        # The throttled share that does not depend on the rate, and by what it is seen to fall.
        self._baseline = 0.0
        self._recent_sent: Shards = np.zeros(count)
        self._recent_throttled: Shards = np.zeros(count)
        self._calm_sent = self._calm_throttled = 0.0

    def count(self, sent: NDArray[np.int64], throttled: NDArray[np.int64]) -> None:
        """Take in one answered call: [shards] its entries and those of them that were throttled."""
        self._sent += sent
        self._throttled += throttled
        self._recent_sent += sent
        self._recent_throttled += throttled

    def due(self, now_s: float) -> bool:
        """Whether it is time to judge."""
        return now_s - self._judged_s >= JUDGE_S

    def inherit(
        self, old: "Capacity", kept: Sequence[tuple[int, int]], born: Sequence[tuple[int, int]]
    ) -> None:
        """Go on with what `old` knows: pairs of a shard here and the same shard, or its parent, there."""
        for name, theirs in vars(old).items():
            if isinstance(theirs, np.ndarray):
                for here, there in kept:
                    getattr(self, name)[here] = theirs[there]
            else:
                setattr(self, name, theirs)
        for here, there in born:
            self.factors[here] = old.factors[there]

    def judge(self, spent_s: Shards, now_s: float) -> None:
        """Set the factors by what was counted; `spent_s`: [shards] seconds of the share sent since then."""
        passed_s = min(now_s - self._judged_s, SILENCE_S)
        self._judged_s = now_s
        self._spent_s += spent_s
        self._span_s += passed_s
        full = (self._sent >= SAMPLE_ENTRIES) | ((self._sent > 0) & (self._span_s >= WINDOW_S))
        rate = self._spent_s / np.maximum(self._span_s, 0.01)
        peak = np.maximum(rate, self._peak * (1 - PEAK_DECAY_PER_S * self._span_s))
        self._peak[full] = peak[full]
        share = self._share(full)
        excess = self._excess(full)
        # One that is measured is cut again by what was measured alone: chance would cut it before that.
        cut = full & (excess > 0) & (self._phase == FREE) & (self.factors > FACTOR_MIN)
        before = self.factors.copy()
        self.factors += GROWTH_PER_S * passed_s
        cut = self._conclude(full & (self._phase == MEASURING), cut)
        self._phase[full & (self._phase == SETTLING)] = MEASURING
        self._fall()
        if cut.any():
            self._cut(cut, before, share, excess)
        for counted in (self._sent, self._throttled, self._spent_s, self._span_s):
            counted[full] = 0
        np.clip(self.factors, FACTOR_MIN, 1.0, out=self.factors)

    def _share(self, full: NDArray[np.bool_]) -> Shards:
        """[shards] throttled share; to few entries the mean is lent: chance chose those that look bad."""
        mean = float(self._throttled[full].sum() / max(self._sent[full].sum(), 1))
        share: Shards = (self._throttled + SAMPLE_ENTRIES * mean) / (self._sent + SAMPLE_ENTRIES)
        return share

    def _excess(self, full: NDArray[np.bool_]) -> Shards:
        """[shards] throttled share above the baseline; 0 where that may be chance."""
        sent, throttled = self._sent, self._throttled
        many = _clearly_more(throttled, sent, self._baseline)
        share = throttled / np.maximum(sent, 1)
        # Shards with few entries, each of which proves nothing, may do so together.
        if _clearly_more(throttled[full].sum(keepdims=True), sent[full].sum(keepdims=True), self._baseline):
            many |= share > self._baseline + TOLERANCE
        excess: Shards = many * (share - self._baseline) / (1 - self._baseline)
        return np.maximum(excess, 0.0)

    def _cut(self, shards: NDArray[np.bool_], before: Shards, share: Shards, excess: Shards) -> None:
        """Slow `shards` down, from factors `before`, as the first or the next step of an experiment."""
        first = shards & (self._phase == FREE)
        self._factor_before[first] = before[first]
        self._excess_before[first] = np.maximum(share - self._baseline, 0.0)[first]
        self._cuts[first] = 0
        # From what was sent, where that is less than what was allowed: else nothing would become slower.
        used = np.minimum(before, OVER_PEAK * self._peak)
        self.factors[shards] = (used * np.minimum(CUT, CUT_OF_ACCEPTED * (1 - excess)))[shards]
        self._factor_cut[shards] = self.factors[shards]
        self._cuts[shards] += 1
        self._phase[shards] = SETTLING
        self._measured_sent[shards] = self._measured_throttled[shards] = 0
        self._calm_sent = self._calm_throttled = 0.0

    def _conclude(self, shards: NDArray[np.bool_], cut: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """See what the cuts of `shards` did; return which to cut now, when `cut` are too fast."""
        if not shards.any():
            return cut
        self._measured_sent[shards] += self._sent[shards]
        self._measured_throttled[shards] += self._throttled[shards]
        sent, throttled = self._measured_sent[shards], float(self._measured_throttled[shards].sum())
        expected = float((sent * self._excess_before[shards]).sum())
        same = throttled > (self._baseline + TOLERANCE) * float(sent.sum()) + SAME * expected
        if same and expected <= EVIDENCE:
            return cut
        slow = (self._cuts >= CUTS_MIN) & (self._factor_cut <= DEPTH * self._factor_before)
        proof = shards & slow & same
        share = throttled / float(sent.sum())
        if proof.any() and share < BASELINE_MAX:
            self._baseline = max(self._baseline, share)
            self._calm_sent = self._calm_throttled = 0.0
            self.factors[proof] = np.maximum(self.factors, self._factor_before)[proof]
            cut = cut & ~proof
        further = shards & same & ~proof & (self.factors > FACTOR_MIN)
        self._phase[shards & ~further] = FREE
        return cut | further

    def _fall(self) -> None:
        """Let the baseline fall to what is seen, when that clearly is less."""
        told = self._phase != SETTLING
        self._calm_sent += float(self._recent_sent[told].sum())
        self._calm_throttled += float(self._recent_throttled[told].sum())
        self._recent_sent[:] = self._recent_throttled[:] = 0
        usual = self._calm_sent * self._baseline
        if usual < BASELINE_REFUSALS:
            return
        if self._calm_throttled < usual - BASELINE_SIGMAS * usual**0.5:
            self._baseline = self._calm_throttled / self._calm_sent
        self._calm_sent = self._calm_throttled = 0.0


def _clearly_more(throttled: Shards, sent: Shards, baseline: float) -> NDArray[np.bool_]:
    """Whether more were throttled than a baseline explains."""
    usual = sent * baseline
    chance = np.sqrt(usual * (1 - baseline))
    more: NDArray[np.bool_] = np.asarray(throttled > usual + SIGMAS * chance + TOLERANCE * sent + 1)
    return more

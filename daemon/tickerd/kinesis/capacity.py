"""What part of this worker's share each shard proves to take, learnt from throttled entries. Pure numbers.

Additive increase, multiplicative decrease (Chiu and Jain 1989: producers that do not know each other end at
equal parts), by the throttled share (as DCTCP, Alizadeh et al. 2010).
"""

# Throttling that does not depend on the rate would drive that to a standstill: each cut buys nothing. So a
# cut is an experiment. It goes below what was accepted; everyone who feeds the shard sees the same refusals
# and cuts in the same seconds, so what was overload must all but vanish. Where it stays, it is cut again, to
# seven tenths of the rate; where it still is neither less nor more, it is the shard's *baseline*: the cuts
# are undone and only what exceeds the baseline counts from then on. Refusals that grow meanwhile are the load
# of others, not a baseline.

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Shards = NDArray[np.float64]  # [shards]

JUDGE_S = 1.0
SILENCE_S = 2.0  # a longer pause between answers, an outage for one, counts as this much time
WINDOW_S = 6.0  # the longest that a shard with few entries is looked at as one
FACTOR_MIN = 0.02  # fifty hosts at it fill a shard; it keeps a worker sending, or it would learn nothing more
GROWTH_PER_S = 0.02  # of the share
GROWTH_ENTRIES = 100.0  # judged at once for the full growth: who sees little must be slower than what it sees
GROWTH_PART_MIN = 0.5  # of it, however few entries there are
CUT = 0.88  # below what was accepted: deep enough that overload vanishes, and for parts to become equal soon
PEAK_KEPT_PER_S = 0.8  # of the highest rate: a second that begins late or sends little is not the rate
SAMPLE_ENTRIES = 60  # to judge a shard by; what it lacks is lent by the others, at their mean
REFUSALS_MIN = 3.0  # more tell something: what an experiment expects is only as good as what it began with
LUCK = 1.0  # refusal too many at the first sight of an excess: who waits for a number sees it come by chance
TOLERANCE = 0.01  # of the entries refused is not worth going slower
SIGMAS = 3.0  # above a baseline: so far chance goes
EVIDENCE = 10.0  # signal over noise, squared, of an experiment: 10 refusals expected, or more on a baseline
EVIDENCE_OF_NONE = 4.0  # the same where hardly any refusal is seen
EXPERIMENT_MAX_S, FALLEN_MAX_S = 30.0, 20.0  # without evidence until then, the cut stands
FALLEN, RISEN = 0.5, 1.6  # less, more than this part of the refusals expected at an unchanged share
CUTS_MIN, DEPTH = 2, 0.71  # an experiment's cuts, and the part of the rate it must reach, to prove a baseline
BASELINE_MAX = 1 / 3  # more is overload, whatever else it looks like
BASELINE_DRIFT_PER_S = 0.01  # of itself, at which a baseline follows what is seen
BASELINE_S = 120.0  # then it is forgotten and must be proven anew: a wrong one makes a producer greedy
BASELINE_REFUSALS = 10.0  # to expect, before fewer mean that the baseline fell

# Phases. SETTLING: what is answered now was sent before the cut, or beside others who have not cut yet.
FREE, SETTLING, MEASURING = range(3)


class Capacity:
    """The learnt factors of shards 0 to count-1, all 1 in the beginning."""

    def __init__(self, count: int, now_s: float) -> None:
        self.factors: Shards = np.ones(count)
        self._baseline: Shards = np.zeros(count)  # throttled share that does not depend on the rate
        # The window by which a shard is judged: entries, and seconds of the share spent in seconds passed.
        self._sent: Shards = np.zeros(count)
        self._throttled: Shards = np.zeros(count)
        self._spent_s: Shards = np.zeros(count)
        self._span_s: Shards = np.zeros(count)
        self._peak: Shards = np.ones(count)  # the highest rate of late, part of the share
        self._learnt_s: Shards = np.full(count, now_s)  # when the baseline was
        # Since the baseline was last confirmed.
        self._calm_sent: Shards = np.zeros(count)
        self._calm_throttled: Shards = np.zeros(count)
        # The experiment that a shard is in.
        self._phase = np.zeros(count, np.int8)
        self._measuring_since_s: Shards = np.zeros(count)
        self._cuts = np.zeros(count, np.int64)
        self._factor_before: Shards = np.ones(count)
        self._rate_before: Shards = np.ones(count)  # of the share, really sent
        self._excess_before: Shards = np.zeros(count)  # throttled share above the baseline
        self._judged_s = now_s

    def count(self, sent: NDArray[np.int64], throttled: NDArray[np.int64]) -> None:
        """Take in one answered call: [shards] its entries and those of them that were throttled."""
        self._sent += sent
        self._throttled += throttled

    def due(self, now_s: float) -> bool:
        """Whether it is time to judge."""
        return now_s - self._judged_s >= JUDGE_S

    def inherit(
        self, old: "Capacity", kept: Sequence[tuple[int, int]], born: Sequence[tuple[int, int]]
    ) -> None:
        """Go on with what `old` knows: pairs of a shard here and the same shard, or its parent, there."""
        self._judged_s = old._judged_s
        for name, mine in vars(self).items():
            if isinstance(mine, np.ndarray):
                theirs = getattr(old, name)
                for here, there in kept:
                    mine[here] = theirs[there]
        for here, there in born:
            self.factors[here] = old.factors[there]
            self._baseline[here] = old._baseline[there]

    def judge(self, spent_s: Shards, now_s: float) -> None:
        """Set the factors by what was counted; `spent_s`: [shards] seconds of the share sent since then."""
        passed_s = min(now_s - self._judged_s, SILENCE_S)
        self._judged_s = now_s
        self._spent_s += spent_s
        self._span_s += passed_s
        self._peak = np.maximum(self._peak * PEAK_KEPT_PER_S**passed_s, self._rate())
        settled = self._phase == SETTLING
        self._conclude(now_s)
        free = self._phase == FREE
        self._baseline[free & (now_s - self._learnt_s > BASELINE_S)] = 0
        total = float(self._sent[free].sum())
        others = np.maximum(0.0, total - free * self._sent)
        others_throttled = float(self._throttled[free].sum()) - free * self._throttled
        lent = np.clip(SAMPLE_ENTRIES - self._sent, 0.0, others)
        sent = self._sent + lent
        throttled = self._throttled + lent * others_throttled / np.maximum(others, 1.0)
        share = throttled / np.maximum(sent, 1.0)
        usual = sent * self._baseline
        chance = np.sqrt(usual)
        excess = free & (throttled > usual + SIGMAS * chance + TOLERANCE * sent + REFUSALS_MIN)
        calm = free & ~excess
        rising = calm & (throttled <= usual + 2 * chance + (TOLERANCE * sent + REFUSALS_MIN) / 2)
        part = min(1.0, max(GROWTH_PART_MIN, total / GROWTH_ENTRIES))
        self.factors += rising * GROWTH_PER_S * passed_s * part
        self._phase[settled] = MEASURING
        self._measuring_since_s[settled] = now_s
        slowest = self.factors <= FACTOR_MIN  # cannot be cut, so an experiment would show nothing
        told = np.maximum(throttled - LUCK, 0.0) / np.maximum(sent, 1.0) - self._baseline
        self._begin(excess & ~slowest, np.maximum(told, 0.0) / (1 - self._baseline))
        self._follow(calm, share, passed_s)
        whole = (self._sent >= SAMPLE_ENTRIES) | (self._span_s > WINDOW_S)
        self._clear((calm & whole) | settled | excess)
        np.clip(self.factors, FACTOR_MIN, 1.0, out=self.factors)

    def _begin(self, shards: NDArray[np.bool_], excess: Shards) -> None:
        """Begin an experiment on `shards`, whose throttled share above the baseline is `excess`."""
        self._factor_before[shards] = self.factors[shards]
        self._rate_before[shards] = np.minimum(self.factors, self._peak)[shards]
        self._excess_before[shards] = excess[shards]
        self._cut(shards, excess)

    def _cut(self, shards: NDArray[np.bool_], excess: Shards | float) -> None:
        # From what was sent, where that is less than what was allowed: else nothing would become slower.
        rate = np.minimum(self.factors, self._peak)
        self.factors[shards] = (rate * (1 - excess) * CUT)[shards]
        self._phase[shards] = SETTLING
        self._cuts[shards] += 1

    def _rate(self) -> Shards:
        """[shards] part of the share that was sent in the window, rounded up where few entries tell."""
        rate: Shards = (
            self._spent_s / np.maximum(self._span_s, 0.01) * (1 + 1 / np.sqrt(np.maximum(self._sent, 1)))
        )
        return rate

    def _conclude(self, now_s: float) -> None:
        """End the experiments, or cut once more, when it can be seen what the last cut did."""
        shards = self._phase == MEASURING
        sent = float(self._sent[shards].sum())
        if not sent:
            return
        usual = float((self._sent * self._baseline)[shards].sum())
        expected = float((self._sent * (1 - self._baseline) * self._excess_before)[shards].sum())
        seen = float(self._throttled[shards].sum()) - usual
        evidence = expected**2 / max(expected + usual, 1e-9)
        fallen = seen < FALLEN * expected
        if evidence < (EVIDENCE if seen > 0.1 * expected else EVIDENCE_OF_NONE):
            waited_s = now_s - float(self._measuring_since_s[shards].min())
            if waited_s < (FALLEN_MAX_S if fallen else EXPERIMENT_MAX_S):
                return
            fallen = True
        if not fallen:
            risen = seen > RISEN * expected + SIGMAS * expected**0.5
            deep = (self._cuts >= CUTS_MIN) & (self.factors <= DEPTH * self._rate_before)
            slower = shards & (self.factors > FACTOR_MIN) & (~deep | risen)
            if slower.any():
                self._cut_again(shards, slower, seen / (sent - usual), risen=risen)
                return
            if not risen and (seen + usual) / sent < BASELINE_MAX:
                self._learn(shards & deep, (seen + usual) / sent)
        self._phase[shards] = FREE
        self._cuts[shards] = 0

    def _cut_again(
        self, shards: NDArray[np.bool_], slower: NDArray[np.bool_], excess: float, *, risen: bool
    ) -> None:
        """Cut those of the shards that are not slow enough for a proof, and measure all of them anew."""
        if risen:  # Others came or grew: the experiment begins anew.
            self._cuts[shards] = 0
            self._excess_before[shards] = excess
            self._factor_before[shards] = self._rate_before[shards] = self.factors[shards]
        self._cut(slower, excess)
        self._clear(shards)

    def _learn(self, shards: NDArray[np.bool_], share: float) -> None:
        """Make `share` the baseline, of other shards as far as their own entries allow, and undo the cuts."""
        own = (self._throttled + SAMPLE_ENTRIES * share) / (self._sent + SAMPLE_ENTRIES)
        self._baseline[shards] = own[shards]
        others = self._phase == FREE
        self._baseline[others] = np.maximum(self._baseline, np.minimum(share, own))[others]
        self._learnt_s[shards | others] = self._judged_s
        self.factors[shards] = np.maximum(self.factors, self._factor_before)[shards]
        self._calm_sent[:] = self._calm_throttled[:] = 0

    def _follow(self, calm: NDArray[np.bool_], share: Shards, passed_s: float) -> None:
        """Let baselines drift towards the share seen, and fall to it at once when it clearly is less."""
        drift = self._baseline * BASELINE_DRIFT_PER_S * passed_s
        self._baseline += calm * np.clip(share - self._baseline, -drift, drift)
        self._calm_sent[calm] += self._sent[calm]
        self._calm_throttled[calm] += self._throttled[calm]
        usual = self._calm_sent * self._baseline
        ripe = usual >= BASELINE_REFUSALS
        fallen = ripe & (self._calm_throttled < usual - 2 * np.sqrt(usual))
        self._baseline[fallen] = self._calm_throttled[fallen] / self._calm_sent[fallen]
        self._calm_sent[ripe] = self._calm_throttled[ripe] = 0

    def _clear(self, shards: NDArray[np.bool_]) -> None:
        for counted in (self._sent, self._throttled, self._spent_s, self._span_s):
            counted[shards] = 0

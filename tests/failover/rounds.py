"""The rounds of the experiment. Each causes one fault under load and checks every response against the model."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from loss import LossyStorm, NodeStorm
from model import Broken, Unseen
from stale import StaleLeader

# In seconds.
BEFORE = 2
# How many seconds after the promotion all requests must succeed again.
MAX_RECOVERY = 5
# How long the storm goes on after the promotion.
AFTER = 8
# How long a leader stays stopped at least.
MIN_STOPPED = 20
# How long a leader or standby stays disconnected if nothing is promoted.
CUT = 30
# How many seconds etcd is down: shorter and longer than Patroni waits before it demotes the leader.
ETCD_DOWN = [1, 15]
# In seconds. The limit only stops a run that hangs.
PROMOTION_TIMEOUT = 90
# How many of the latest keys of a user are checked after each round. The end of the experiment checks all.
RECENT = 100


@dataclass
class Outcome:
    """The observations of one round."""

    fault: str
    # Seconds from the fault to the promotion; `None` if no member was promoted.
    promoted_after: float = None
    # Seconds from the promotion to the last request that was sent and did not succeed, for each node.
    recoveries: list = field(default_factory=list)
    responses: Counter = field(default_factory=Counter)
    slowest: float = 0.0
    # Further observations.
    figures: dict = field(default_factory=dict)
    # Those that need a healthy cluster.
    stale: StaleLeader = None

    def __str__(self):
        text = self.fault
        if self.promoted_after is None:
            text += ": no promotion"
        else:
            recoveries = ", ".join(f"{seconds:.2f}" for seconds in self.recoveries)
            text += f": promotion after {self.promoted_after:.1f} s, service back {recoveries} s later"
        text += f"; slowest response {self.slowest:.1f} s; responses {dict(sorted(self.responses.items(), key=str))}"
        return text + "".join(f"; {name} {figure}" for name, figure in self.figures.items())


class Rounds:
    def __init__(self, cluster, nodes, options):
        self.cluster, self.nodes, self.program = cluster, nodes, options.program
        self.is_lossy, self.seed = options.asynchronous, options.seed
        self.storm = None if self.is_lossy else NodeStorm(nodes, self.seed)
        self.outcomes, self.losses, self.counts = [], Counter(), Counter()

    async def play(self, number):
        """Plays the round with this number. The faults take turns, and so do the variants of each."""
        faults = [self.kill, self.stop, self.switchover, self.cut, self.restart_etcd]
        fault, variant = faults[number % len(faults)], number // len(faults)
        await asyncio.to_thread(self.cluster.wait_until_healthy)
        if self.is_lossy:
            # Users whose changes were lost would break promises in later rounds.
            self.storm = LossyStorm(self.nodes, f"{self.seed} {number}", f"round {number} user")
        self.storm.clear()
        self.storm.start()
        await self.storm.wait(BEFORE)
        outcome = await fault(variant)
        await self.storm.stop()
        outcome.slowest = max(end - start for start, end, _ in self.storm.requests)
        self.outcomes.append(outcome)
        await asyncio.to_thread(self.cluster.wait_until_healthy)
        if outcome.stale:
            outcome.figures |= await outcome.stale.losses(self.nodes)
        await self.check(outcome)
        return outcome

    async def check(self, outcome):
        """Checks that everything acknowledged holds, or counts what does not."""
        if self.is_lossy:
            losses = await self.storm.losses()
            outcome.figures |= losses
            self.losses += losses
            self.counts += Counter(self.storm.counts())
        else:
            await self.storm.check(RECENT)
        late = max(outcome.recoveries, default=0.0)
        if late > MAX_RECOVERY:
            raise Broken(f"{outcome}: requests still failed {late:.2f} s after the promotion")

    async def summary(self):
        """Checks all keys of all rounds, and returns the figures of the whole run."""
        if not self.is_lossy:
            await self.storm.check()
            self.counts = Counter(self.storm.counts())
        recoveries = sorted(seconds for outcome in self.outcomes for seconds in outcome.recoveries)
        distribution = ", ".join(f"{seconds:.2f}" for seconds in recoveries)
        return f"{dict(self.counts)}; losses {dict(self.losses)}; seconds from promotion to service: {distribution}"

    async def kill(self, _):
        """Kills all processes of the leader, and starts them again after the promotion."""
        leader = self.cluster.leader()
        start = time.monotonic()
        await asyncio.to_thread(leader.kill)
        outcome = await self.observe("leader killed", start, must_promote=True)
        leader.run()
        return outcome

    async def stop(self, _):
        """Stops all processes of the leader, and resumes them after the promotion: a split brain."""
        leader = self.cluster.leader()
        stale = StaleLeader(self.cluster, leader, self.program)
        await asyncio.to_thread(stale.start)
        try:
            await stale.use()
            start = time.monotonic()
            await asyncio.to_thread(leader.stop)
            outcome = await self.observe("leader stopped", start, must_promote=True)
            await self.storm.wait(max(0, start + MIN_STOPPED - time.monotonic()))
            await stale.revoke(self.nodes)
            # The storm continues, so the nodes must not go back to the resumed leader.
            outcome.figures, outcome.stale = await stale.measure(), stale
        finally:
            stale.stop()
        return outcome

    async def switchover(self, _):
        leader, standby = self.cluster.leader(), await asyncio.to_thread(self.cluster.candidate)
        start = time.monotonic()
        option = ["--leader", leader.name, "--candidate", standby.name, "--force"]
        request = asyncio.to_thread(self.cluster.patronictl, "switchover", *option)
        _, outcome = await asyncio.gather(request, self.observe("switchover", start, must_promote=True))
        return outcome

    async def cut(self, variant):
        """Disconnects the leader from everything, from the other members and etcd only, or disconnects a standby."""
        leader = self.cluster.leader()
        if variant % 4 == 2:
            standby = await asyncio.to_thread(self.cluster.candidate)
            start = time.monotonic()
            standby.cut()
            outcome = await self.observe("standby disconnected", start)
            standby.reconnect()
            return outcome
        start = time.monotonic()
        if variant % 2:
            others = [member.address for member in self.cluster.members if member is not leader]
            leader.partition([*others, self.cluster.etcd.address])
            outcome = await self.observe("leader separated from the members and etcd", start, must_promote=True)
        else:
            leader.cut()
            outcome = await self.observe("leader disconnected", start, must_promote=True)
        leader.reconnect()
        await self.storm.wait(5)
        return outcome

    async def restart_etcd(self, variant):
        seconds = ETCD_DOWN[variant % len(ETCD_DOWN)]
        start = time.monotonic()
        await asyncio.to_thread(self.cluster.etcd.kill)
        await self.storm.wait(seconds)
        self.cluster.etcd.run()
        return await self.observe(f"etcd down for {seconds} s", start)

    async def observe(self, fault, start, must_promote=False):
        """Waits for a promotion and the recovery of the service, or for `CUT` seconds if no member is promoted."""
        timeout = PROMOTION_TIMEOUT if must_promote else CUT
        await self.storm.wait(timeout, until=lambda: self.cluster.promotion(start))
        promotion = self.cluster.promotion(start)
        if promotion is None:
            if must_promote and not any(task.done() for task in self.storm.tasks):
                raise Unseen(f"{fault}: no member was promoted within {PROMOTION_TIMEOUT} s")
            return Outcome(fault, responses=self.storm.statuses(after=start))
        at, _ = promotion
        await self.storm.wait(max(0, at + AFTER - time.monotonic()))
        recoveries = [self.storm.recovery(node, at) for node in self.nodes]
        return Outcome(fault, at - start, recoveries, self.storm.statuses(after=start))

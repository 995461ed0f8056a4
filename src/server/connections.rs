//! Decides which connections the server keeps when connections are scarce.
//!
//! A single client could otherwise hold every connection and shut all other clients out. While at most half of the
//! slots are taken, nothing is limited, because a container platform can make many clients look like one address.
//! Beyond that, each network may hold a tenth of the slots. The /56 around an IPv6 network may hold two tenths and the
//! /48 three tenths, because one party often controls that many networks. A further connection of a network that holds
//! its share replaces the network's longest-idle one, or is rejected if none is idle. If all slots are taken, the
//! longest-idle connections are closed, first those of networks that hold more than their share, so a new client finds
//! room. Loopback and trusted proxies have no share, because their connections belong to many clients.
//!
//! The lock is taken only when a connection is opened or closed. A request changes one atomic number of its connection.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::iter::once;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use crate::model::Network;
use crate::web::address::TrustedProxies;

/// The shares of the networks around an address, from narrow to wide, in tenths of the slots.
const SHARES: [usize; 3] = [1, 2, 3];
/// If all slots are taken, the slots divided by this number are freed at once. The search for idle connections, which
/// looks at all of them, is then needed less often.
const BATCHES: usize = 100;
/// How long the server waits before it searches again if no connection was idle.
const SEARCH_PAUSE: Duration = Duration::from_millis(10);
/// The shortest time between two log lines about scarce connections.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The state of a connection whose request is in progress.
const BUSY: u64 = u64::MAX;
/// The state of a connection that must be closed.
const CLOSING: u64 = u64::MAX - 1;

/// All connections of the process.
pub struct Connections {
    slots: usize,
    proxies: Arc<TrustedProxies>,
    start: Instant,
    table: Mutex<Table>,
}

/// A connection's place among the connections. Dropping it frees the place.
pub struct Slot {
    connections: Arc<Connections>,
    id: u64,
    activity: Arc<Activity>,
}

/// The state of a connection, which other threads can read and change.
struct Activity {
    /// `BUSY`, `CLOSING`, or the time since which the connection is idle, in milliseconds after the start.
    state: AtomicU64,
    /// Wakes the connection's task so that it closes the connection.
    waker: AtomicWaker,
}

#[derive(Default)]
struct Table {
    /// The connections without those that are closing.
    members: HashMap<u64, Member>,
    /// The members of each network and of each wider network.
    networks: HashMap<Network, HashMap<u64, Arc<Activity>>>,
    next_id: u64,
    /// No search for idle connections is worthwhile before this time.
    next_search: Option<Instant>,
    report: Report,
}

struct Member {
    /// `None` if the client is exempt from shares.
    network: Option<Network>,
    activity: Arc<Activity>,
}

/// The numbers of closed and rejected connections since the last log line.
#[derive(Default)]
struct Report {
    closed: u64,
    rejected: u64,
    next: Option<Instant>,
}

/// An idle connection, in the order in which connections are closed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: Rank,
    idle_since: u64,
    id: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    OverShare,
    WithinShare,
    Exempt,
}

impl Connections {
    pub fn new(slots: usize, proxies: Arc<TrustedProxies>) -> Arc<Self> {
        Arc::new(Self {
            slots,
            proxies,
            start: Instant::now(),
            table: Mutex::default(),
        })
    }

    /// Takes a slot for a new connection from `address`, which counts as idle. Closes idle connections if necessary.
    /// Returns `None` if the new connection must be rejected.
    pub fn open(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Slot> {
        let network = self.network(address);
        let mut table = self.lock();
        let is_accepted = self.make_room(&mut table, network, now);
        let slot = is_accepted.then(|| self.take_slot(&mut table, network, now));
        table.report.rejected += u64::from(!is_accepted);
        let taken = table.members.len();
        let report = table.report.take(now);
        drop(table);
        if let Some((closed, rejected)) = report {
            log::warn!(
                closed_idle = closed, rejected, connections = taken, limit = self.slots;
                "connections are scarce"
            );
        }
        slot
    }

    /// Returns the network whose share a connection from `address` counts against.
    fn network(&self, address: IpAddr) -> Option<Network> {
        let address = address.to_canonical();
        let is_exempt = address.is_loopback() || self.proxies.contains(address);
        (!is_exempt).then(|| Network::of(address))
    }

    /// Returns the networks of a client and how many slots each may hold, from narrow to wide.
    fn shares(&self, network: Option<Network>) -> impl Iterator<Item = (Network, usize)> {
        let slots = self.slots;
        let networks = network
            .into_iter()
            .flat_map(|network| once(network).chain(network.wider()));
        networks
            .zip(SHARES)
            .map(move |(network, tenths)| (network, (slots * tenths / 10).max(1)))
    }

    /// Returns whether there is room for one more connection of `network`, after closing idle connections if necessary.
    fn make_room(&self, table: &mut Table, network: Option<Network>, now: Instant) -> bool {
        let is_scarce = (table.members.len() + 1) * 2 > self.slots;
        // A connection that is closed in a narrow network also leaves the wider ones.
        let mut shares = self.shares(network).filter(|_| is_scarce);
        if let Some((full, _)) = shares.find(|(network, share)| table.count(*network) >= *share) {
            let own = table.idle_of(full);
            return table.close(own, 1) > 0;
        }
        if table.members.len() < self.slots {
            return true;
        }
        // Exempt connections are closed only to make room for other exempt ones. A failed search for a stranger does
        // not delay the search for an exempt client.
        let is_exempt = network.is_none();
        if !is_exempt && table.next_search.is_some_and(|next| now < next) {
            return false;
        }
        let idle = table.idle(is_exempt, |network| {
            let mut shares = self.shares(Some(network));
            shares.any(|(network, share)| table.count(network) > share)
        });
        let found = table.close(idle, (self.slots / BATCHES).max(1)) > 0;
        table.next_search = (!found).then(|| now + SEARCH_PAUSE);
        found
    }

    fn take_slot(self: &Arc<Self>, table: &mut Table, network: Option<Network>, now: Instant) -> Slot {
        let id = table.next_id;
        table.next_id += 1;
        let activity = Arc::new(Activity {
            state: AtomicU64::new(self.milliseconds(now)),
            waker: AtomicWaker::new(),
        });
        for (network, _) in self.shares(network) {
            let members = table.networks.entry(network).or_default();
            members.insert(id, activity.clone());
        }
        let member = Member {
            network,
            activity: activity.clone(),
        };
        table.members.insert(id, member);
        Slot {
            connections: self.clone(),
            id,
            activity,
        }
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_millis();
        u64::try_from(elapsed).unwrap_or(CLOSING - 1)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No code that holds the lock can panic and leave the table in an inconsistent state.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn count(&self, network: Network) -> usize {
        self.networks.get(&network).map_or(0, HashMap::len)
    }

    /// Returns the idle connections of `network`, all with the same rank.
    fn idle_of(&self, network: Network) -> BinaryHeap<Reverse<Candidate>> {
        let members = self.networks.get(&network).into_iter().flatten();
        let candidates = members.filter_map(|(id, activity)| Candidate::new(*id, activity, || Rank::OverShare));
        candidates.map(Reverse).collect()
    }

    /// Returns the idle connections of strangers, and on request those of exempt clients.
    fn idle(&self, with_exempt: bool, is_over_share: impl Fn(Network) -> bool) -> BinaryHeap<Reverse<Candidate>> {
        let chosen = self.members.iter();
        let chosen = chosen.filter(|(_, member)| with_exempt || member.network.is_some());
        let candidates = chosen.filter_map(|(id, member)| {
            Candidate::new(*id, &member.activity, || match member.network {
                None => Rank::Exempt,
                Some(network) if is_over_share(network) => Rank::OverShare,
                Some(_) => Rank::WithinShare,
            })
        });
        candidates.map(Reverse).collect()
    }

    /// Closes up to `number` of these connections, all of the same rank, and returns how many it has closed.
    fn close(&mut self, mut idle: BinaryHeap<Reverse<Candidate>>, number: usize) -> usize {
        let (mut closed, mut rank) = (0, None);
        while closed < number
            && let Some(Reverse(candidate)) = idle.pop()
            && rank.is_none_or(|rank| rank == candidate.rank)
        {
            let member = self.members.get(&candidate.id);
            if member.is_some_and(|member| member.activity.close(candidate.idle_since)) {
                self.remove(candidate.id);
                rank = Some(candidate.rank);
                closed += 1;
            }
        }
        self.report.closed += closed as u64;
        closed
    }

    fn remove(&mut self, id: u64) {
        let Some(Member {
            network: Some(network), ..
        }) = self.members.remove(&id)
        else {
            return;
        };
        for network in once(network).chain(network.wider()) {
            if let Some(members) = self.networks.get_mut(&network) {
                members.remove(&id);
                if members.is_empty() {
                    self.networks.remove(&network);
                }
            }
        }
    }
}

impl Candidate {
    /// Returns a candidate if the connection is idle.
    fn new(id: u64, activity: &Activity, rank: impl FnOnce() -> Rank) -> Option<Self> {
        let idle_since = activity.idle_since()?;
        Some(Self {
            rank: rank(),
            idle_since,
            id,
        })
    }
}

impl Report {
    /// Returns the numbers of closed and rejected connections, at most once in `REPORT_INTERVAL`, and starts anew.
    fn take(&mut self, now: Instant) -> Option<(u64, u64)> {
        let is_due = self.closed + self.rejected > 0 && self.next.is_none_or(|next| now >= next);
        is_due.then(|| {
            let counts = (self.closed, self.rejected);
            *self = Self {
                next: Some(now + REPORT_INTERVAL),
                ..Self::default()
            };
            counts
        })
    }
}

impl Activity {
    fn idle_since(&self) -> Option<u64> {
        let state = self.state.load(Ordering::Relaxed);
        (state < CLOSING).then_some(state)
    }

    /// Marks the connection to be closed, unless it has become busy, so that no request that has begun is lost. Returns
    /// whether the connection will close.
    fn close(&self, idle_since: u64) -> bool {
        let order = Ordering::Relaxed;
        let closes = self.state.compare_exchange(idle_since, CLOSING, order, order).is_ok();
        if closes {
            self.waker.wake();
        }
        closes
    }
}

impl Slot {
    /// Marks the connection as busy. Returns false if it must be closed instead.
    pub fn begin_request(&self) -> bool {
        self.activity.state.swap(BUSY, Ordering::Relaxed) != CLOSING
    }

    /// Marks the connection as idle, from now on. The connection must be busy.
    pub fn end_request(&self, now: Instant) {
        self.activity
            .state
            .store(self.connections.milliseconds(now), Ordering::Relaxed);
    }

    /// Returns `Ready` once the connection must be closed, and wakes the task at that time.
    pub fn poll_closing(&self, cx: &Context<'_>) -> Poll<()> {
        // The waker is registered first, so that a change after the check wakes the task.
        self.activity.waker.register(cx.waker());
        match self.activity.state.load(Ordering::Relaxed) {
            CLOSING => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.lock().remove(self.id);
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;

//! The queue of the hashing pool, as plain data without threads.
//!
//! The queue is fair: networks take turns, and within a network its accounts take turns. A client that sends many
//! requests therefore delays mainly its own. IPv6 /48s take turns with each other and with IPv4 addresses. Within a
//! /48, its /56s take turns, and within a /56, its /64s: a client with many networks gets no more turns than others.

use std::collections::HashMap;

use crate::model::{Actor, Name, Network, RequestContext, normalize};

/// The maximum number of slots, however fast the machine is.
pub const MAX_SLOTS: usize = 256;
/// The maximum number of slots of one network, however wide it is. The rest is left for others.
const MAX_SLOTS_OF_NETWORK: usize = MAX_SLOTS / 4 * 3;
/// The maximum number of slots of one account within the widest network of its client.
const MAX_SLOTS_OF_ACCOUNT: usize = MAX_SLOTS / 2;
/// The maximum length of a client's path: a /48, a /56, a /64 and an account.
const MAX_DEPTH: usize = 4;

/// The networks and the account whose turns and slots a request uses.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's networks, from wide to narrow, and then its account. The account is a normalized name, which may
    /// belong to no user.
    path: Vec<Party>,
}

/// A party that takes turns with its siblings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Party {
    CommandLine,
    Network(Network),
    Account(String),
}

impl Client {
    /// Returns the client of a login as `user`.
    pub fn logging_in(context: &RequestContext, user: &Name) -> Self {
        Self::new(context, user.normalized().to_owned())
    }

    /// Returns the client of a request by the user with this name.
    pub fn of_user(context: &RequestContext, user: &str) -> Self {
        Self::new(context, normalize(user))
    }

    /// Returns the client of a request by `actor`.
    pub fn of_actor(actor: Actor<'_>) -> Self {
        match actor {
            Actor::Operator => Self::new(&RequestContext::default(), String::new()),
            Actor::Caller(caller) => Self::of_user(&caller.context, &caller.holder.user),
        }
    }

    fn new(context: &RequestContext, account: String) -> Self {
        let mut path = vec![Party::Account(account)];
        if let Some(network) = context.address.map(Network::of) {
            let networks = std::iter::once(network).chain(network.wider());
            path.extend(networks.map(Party::Network));
        } else {
            path.push(Party::CommandLine);
        }
        path.reverse();
        Self { path }
    }

    /// Returns the client's widest network.
    fn widest(&self) -> &[Party] {
        self.path.get(..1).unwrap_or_default()
    }

    /// Returns the client's path in [`FairQueue::accounts`]: its widest network and its account.
    fn account_path(&self) -> Vec<Party> {
        let ends = self.path.first().into_iter().chain(self.path.last());
        ends.cloned().collect()
    }
}

/// A job that waits for a thread.
struct Waiting<J> {
    id: u64,
    client: Client,
    job: J,
}

/// The slots of a party and of the parties within it, and when it was last served. A party has a node while it has
/// slots.
#[derive(Default)]
struct Node {
    slots: usize,
    /// The number of the last job that was taken, or 0 if none was.
    served: u64,
    children: HashMap<Party, Node>,
}

impl Node {
    /// Returns how many slots the descendant at `path` has.
    fn slots_of(&self, path: &[Party]) -> usize {
        match path.split_first() {
            None => self.slots,
            Some((child, rest)) => self.children.get(child).map_or(0, |child| child.slots_of(rest)),
        }
    }

    /// Returns how many slots within this node are served before the next job of the descendant at `path`.
    fn ahead_of(&self, path: &[Party]) -> usize {
        let Some((next, rest)) = path.split_first() else {
            return self.slots;
        };
        let own = self.children.get(next).map_or(0, |child| child.ahead_of(rest));
        // When the n-th turn of a child comes, each of its siblings has had at most n turns.
        let others = self.children.iter().filter(|(party, _)| *party != next);
        own + others.map(|(_, other)| other.slots.min(own + 1)).sum::<usize>()
    }

    fn reserve(&mut self, path: &[Party]) {
        self.slots += 1;
        if let Some((child, rest)) = path.split_first() {
            self.children.entry(child.clone()).or_default().reserve(rest);
        }
    }

    /// Releases a slot that [`Self::reserve`] has reserved.
    fn release(&mut self, path: &[Party]) {
        self.slots -= 1;
        if let Some((party, rest)) = path.split_first()
            && let Some(child) = self.children.get_mut(party)
        {
            child.release(rest);
            if child.slots == 0 {
                self.children.remove(party);
            }
        }
    }

    /// Returns when each party of `path` was last served.
    fn served(&self, path: &[Party]) -> [u64; MAX_DEPTH] {
        let (mut served, mut node) = ([0; MAX_DEPTH], Some(self));
        for (served, party) in served.iter_mut().zip(path) {
            node = node.and_then(|node| node.children.get(party));
            *served = node.map_or(0, |node| node.served);
        }
        served
    }

    /// Records that the parties of `path` are served now.
    fn serve(&mut self, path: &[Party], now: u64) {
        self.served = now;
        if let Some((child, rest)) = path.split_first()
            && let Some(child) = self.children.get_mut(child)
        {
            child.serve(rest, now);
        }
    }
}

pub struct FairQueue<J> {
    /// The parties that take turns: the widest networks and, within the turns of each, narrower networks and accounts.
    turns: Node,
    /// The slots of each account within its widest network, added up over all narrower networks.
    accounts: Node,
    waiting: Vec<Waiting<J>>,
    next_id: u64,
}

impl<J> Default for FairQueue<J> {
    fn default() -> Self {
        Self {
            turns: Node::default(),
            accounts: Node::default(),
            waiting: Vec::new(),
            next_id: 0,
        }
    }
}

impl<J> FairQueue<J> {
    /// Returns how many slots are reserved.
    #[cfg(test)]
    pub fn slots(&self) -> usize {
        self.turns.slots
    }

    /// Returns how many jobs wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns how many reserved slots are served before the next job of `client`, or `None` if the client or all
    /// clients together have no slot left.
    pub fn ahead_of(&self, client: &Client) -> Option<usize> {
        let has_slot = self.turns.slots < MAX_SLOTS
            && self.turns.slots_of(client.widest()) < MAX_SLOTS_OF_NETWORK
            && self.accounts.slots_of(&client.account_path()) < MAX_SLOTS_OF_ACCOUNT;
        has_slot.then(|| self.turns.ahead_of(&client.path))
    }

    /// Reserves a slot. Call [`Self::release`] when it is no longer needed.
    pub fn reserve(&mut self, client: &Client) {
        self.turns.reserve(&client.path);
        self.accounts.reserve(&client.account_path());
    }

    pub fn release(&mut self, client: &Client) {
        self.turns.release(&client.path);
        self.accounts.release(&client.account_path());
    }

    /// Adds a job of a client that has reserved a slot, and returns the job's id.
    pub fn push(&mut self, client: Client, job: J) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push(Waiting { id, client, job });
        id
    }

    /// Takes the next job. It belongs to the widest network that has waited longest for a turn, and within it to the
    /// narrower network and the account that have waited longest. Of the account's jobs, it is the oldest.
    pub fn pop(&mut self) -> Option<J> {
        let turn = |waiting: &Waiting<J>| (self.turns.served(&waiting.client.path), waiting.id);
        let (position, _) = self
            .waiting
            .iter()
            .enumerate()
            .min_by_key(|(_, waiting)| turn(waiting))?;
        let Waiting { client, job, .. } = self.waiting.remove(position);
        self.turns.serve(&client.path, self.turns.served + 1);
        Some(job)
    }

    /// Removes the job from the queue and returns whether it was still there.
    pub fn withdraw(&mut self, id: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.id != id);
        self.waiting.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str, account: &str) -> Client {
        let context = RequestContext {
            address: Some(address.parse().unwrap()),
            ..RequestContext::default()
        };
        Client::of_user(&context, account)
    }

    /// Reserves a slot for each of these clients and queues a job that is the client's account.
    fn queue_of(clients: &[(&str, &str)]) -> FairQueue<String> {
        let mut queue = FairQueue::default();
        for (address, account) in clients {
            let client = client(address, account);
            queue.reserve(&client);
            queue.push(client, (*account).to_owned());
        }
        queue
    }

    #[test]
    fn networks_and_then_accounts_take_turns() {
        let busy = "192.0.2.1";
        let mut queue = queue_of(&[
            (busy, "eve"),
            (busy, "eve"),
            (busy, "eve"),
            (busy, "carol"),
            ("198.51.100.9", "bob"),
            ("2001:db8::1", "dora"),
            ("2001:db8::2", "emil"),
        ]);
        let order: Vec<String> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["eve", "bob", "dora", "carol", "emil", "eve", "eve"]);
    }

    #[test]
    fn wide_networks_take_turns_and_within_them_narrower_ones() {
        let mut queue = queue_of(&[
            ("2001:db8:1:1::1", "a"),
            ("2001:db8:1:2::1", "b"),
            ("2001:db8:1:3::1", "c"),
            ("2001:db8:1:100::1", "same /48"),
            ("2001:db8:1:1::1", "same /64"),
            ("2001:db8:2::1", "other /48"),
            ("192.0.2.1", "IPv4"),
            ("2001:db8:2::1", "other /48"),
        ]);
        let order: Vec<String> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(
            order,
            ["a", "other /48", "IPv4", "same /48", "other /48", "b", "c", "same /64"]
        );
    }

    #[test]
    fn a_client_with_many_networks_delays_others_by_one_turn() {
        let addresses: Vec<String> = (0..100).map(|number| format!("2001:db8:0:{number:x}::1")).collect();
        let requests: Vec<_> = addresses.iter().map(|address| (address.as_str(), "eve")).collect();
        let queue = queue_of(&requests);
        assert_eq!(queue.ahead_of(&client("192.0.2.1", "bob")), Some(1));
        assert_eq!(queue.ahead_of(&client("2001:db8:1::1", "bob")), Some(1), "another /48");
        assert_eq!(
            queue.ahead_of(&client("2001:db8:0:100::1", "bob")),
            Some(1),
            "another /56"
        );
        assert_eq!(queue.ahead_of(&client("2001:db8::1", "bob")), Some(100), "the same /64");
    }

    #[test]
    fn a_client_with_many_requests_delays_others_by_one_turn() {
        let busy = "192.0.2.1";
        let queue = queue_of(&[(busy, "eve"); 20]);
        assert_eq!(queue.ahead_of(&client(busy, "eve")), Some(20));
        assert_eq!(queue.ahead_of(&client(busy, "bob")), Some(1));
        assert_eq!(queue.ahead_of(&client("198.51.100.9", "eve")), Some(1));
    }

    #[test]
    fn no_account_and_no_network_gets_all_slots() {
        let busy = "192.0.2.1";
        let mut queue = queue_of(&[(busy, "eve"); MAX_SLOTS_OF_ACCOUNT]);
        assert_eq!(queue.ahead_of(&client(busy, "eve")), None);
        assert_eq!(queue.ahead_of(&client(busy, "bob")), Some(1));
        while queue.slots() < MAX_SLOTS_OF_NETWORK {
            queue.reserve(&client(busy, &format!("name {}", queue.slots())));
        }
        assert_eq!(queue.ahead_of(&client(busy, "bob")), None);
        assert_eq!(queue.ahead_of(&client("198.51.100.9", "bob")), Some(1));
        while queue.slots() < MAX_SLOTS {
            queue.reserve(&client(
                &format!("198.51.100.{}", queue.slots() - MAX_SLOTS_OF_NETWORK),
                "x",
            ));
        }
        assert_eq!(queue.ahead_of(&client("203.0.113.1", "bob")), None);
    }

    #[test]
    fn wide_networks_have_the_same_quotas() {
        for subnet in ["", "00"] {
            // Each request comes from another /64 or /56 of one /48.
            let eve = |number: usize| client(&format!("2001:db8:0:{number:x}{subnet}::1"), "eve");
            let bob = |number: usize| client(&format!("2001:db8:0:{number:x}{subnet}::1"), &number.to_string());
            let mut queue = FairQueue::<()>::default();
            (0..MAX_SLOTS_OF_ACCOUNT).for_each(|number| queue.reserve(&eve(number)));
            assert_eq!(queue.ahead_of(&eve(MAX_SLOTS_OF_ACCOUNT)), None);
            assert!(queue.ahead_of(&bob(MAX_SLOTS_OF_ACCOUNT)).is_some());
            (MAX_SLOTS_OF_ACCOUNT..MAX_SLOTS_OF_NETWORK).for_each(|number| queue.reserve(&bob(number)));
            assert_eq!(queue.ahead_of(&bob(MAX_SLOTS_OF_NETWORK)), None);
            assert_eq!(queue.ahead_of(&client("2001:db8:1::1", "eve")), Some(1));
        }
    }

    #[test]
    fn released_slots_and_withdrawn_jobs_leave_nothing_behind() {
        let mut queue = queue_of(&[("192.0.2.1", "eve"), ("192.0.2.1", "bob")]);
        assert!(queue.withdraw(0) && !queue.withdraw(0));
        assert_eq!(queue.pop().as_deref(), Some("bob"));
        assert!(queue.pop().is_none() && !queue.withdraw(1));
        queue.release(&client("192.0.2.1", "eve"));
        assert_eq!((queue.slots(), queue.turns.children.len()), (1, 1));
        queue.release(&client("192.0.2.1", "bob"));
        assert_eq!((queue.slots(), queue.turns.children.len()), (0, 0));
        assert!(queue.accounts.children.is_empty());
    }
}

//! The queue of the hashing pool, as plain data without threads.
//!
//! The queue is fair: networks take turns, and within a network its accounts take turns. A client that sends many
//! requests therefore delays mainly its own.

use std::collections::HashMap;

use crate::model::{Actor, Name, Network, RequestContext, normalize};

/// The maximum number of slots, however fast the machine is.
pub const MAX_SLOTS: usize = 256;
/// The maximum number of slots of one network. The rest is left for others.
const MAX_SLOTS_OF_NETWORK: usize = MAX_SLOTS / 4 * 3;
/// The maximum number of slots of one account within a network.
const MAX_SLOTS_OF_ACCOUNT: usize = MAX_SLOTS / 2;

/// The network and the account whose turns and slots a request uses.
#[derive(Clone, Debug)]
pub struct Client {
    /// `None` for the command line.
    network: Option<Network>,
    /// A normalized name, which may belong to no user.
    account: String,
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
        Self {
            network: context.address.map(Network::of),
            account,
        }
    }
}

/// A job that waits for a thread.
struct Waiting<J> {
    id: u64,
    client: Client,
    job: J,
}

/// The slots of a network or account, and when it was last served. The entry exists while it has slots.
#[derive(Default)]
struct Usage {
    slots: usize,
    /// The number of the last job that was taken, or 0 if none was.
    served: u64,
}

#[derive(Default)]
struct NetworkUsage {
    usage: Usage,
    accounts: HashMap<String, Usage>,
}

pub struct FairQueue<J> {
    networks: HashMap<Option<Network>, NetworkUsage>,
    waiting: Vec<Waiting<J>>,
    slots: usize,
    next_id: u64,
    /// How many jobs have been taken.
    served: u64,
}

impl<J> Default for FairQueue<J> {
    fn default() -> Self {
        Self {
            networks: HashMap::new(),
            waiting: Vec::new(),
            slots: 0,
            next_id: 0,
            served: 0,
        }
    }
}

impl<J> FairQueue<J> {
    /// Returns how many slots are reserved.
    #[cfg(test)]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Returns how many jobs wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns how many reserved slots are served before the next job of `client`, or `None` if the client or all
    /// clients together have no slot left.
    pub fn ahead_of(&self, client: &Client) -> Option<usize> {
        let own = self.networks.get(&client.network);
        let of_network = own.map_or(0, |network| network.usage.slots);
        let of_account = own.map_or(0, |network| slots_of(network, &client.account));
        if self.slots >= MAX_SLOTS || of_network >= MAX_SLOTS_OF_NETWORK || of_account >= MAX_SLOTS_OF_ACCOUNT {
            return None;
        }
        // When the client's turn comes for the n-th time, each other network and account has had at most n turns.
        let accounts = own.into_iter().flat_map(|network| network.accounts.values());
        let in_network: usize = accounts.map(|account| account.slots.min(of_account + 1)).sum();
        let others = self.networks.iter().filter(|(network, _)| **network != client.network);
        let in_others: usize = others.map(|(_, other)| other.usage.slots.min(in_network + 1)).sum();
        Some(in_network + in_others)
    }

    /// Reserves a slot. Call [`Self::release`] when it is no longer needed.
    pub fn reserve(&mut self, client: &Client) {
        let network = self.networks.entry(client.network).or_default();
        network.usage.slots += 1;
        network.accounts.entry(client.account.clone()).or_default().slots += 1;
        self.slots += 1;
    }

    pub fn release(&mut self, client: &Client) {
        let Some(network) = self.networks.get_mut(&client.network) else {
            return;
        };
        if let Some(account) = network.accounts.get_mut(&client.account) {
            account.slots -= 1;
            network.accounts.retain(|_, account| account.slots > 0);
        }
        network.usage.slots -= 1;
        if network.usage.slots == 0 {
            self.networks.remove(&client.network);
        }
        self.slots -= 1;
    }

    /// Adds a job of a client that has reserved a slot, and returns the job's id.
    pub fn push(&mut self, client: Client, job: J) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push(Waiting { id, client, job });
        id
    }

    /// Takes the next job: the oldest job of the account that has waited longest for a turn, in the network that has
    /// waited longest for a turn.
    pub fn pop(&mut self) -> Option<J> {
        let turn = |waiting: &Waiting<J>| {
            let network = self.networks.get(&waiting.client.network);
            let account = network.and_then(|network| network.accounts.get(&waiting.client.account));
            let served = |usage: Option<&Usage>| usage.map_or(0, |usage| usage.served);
            (
                served(network.map(|network| &network.usage)),
                served(account),
                waiting.id,
            )
        };
        let (position, _) = self
            .waiting
            .iter()
            .enumerate()
            .min_by_key(|(_, waiting)| turn(waiting))?;
        let Waiting { client, job, .. } = self.waiting.remove(position);
        self.served += 1;
        if let Some(network) = self.networks.get_mut(&client.network) {
            network.usage.served = self.served;
            if let Some(account) = network.accounts.get_mut(&client.account) {
                account.served = self.served;
            }
        }
        Some(job)
    }

    /// Removes the job from the queue and returns whether it was still there.
    pub fn withdraw(&mut self, id: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.id != id);
        self.waiting.len() < before
    }
}

fn slots_of(network: &NetworkUsage, account: &str) -> usize {
    network.accounts.get(account).map_or(0, |account| account.slots)
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
    fn released_slots_and_withdrawn_jobs_leave_nothing_behind() {
        let mut queue = queue_of(&[("192.0.2.1", "eve"), ("192.0.2.1", "bob")]);
        assert!(queue.withdraw(0) && !queue.withdraw(0));
        assert_eq!(queue.pop().as_deref(), Some("bob"));
        assert!(queue.pop().is_none() && !queue.withdraw(1));
        queue.release(&client("192.0.2.1", "eve"));
        assert_eq!((queue.slots(), queue.networks.len()), (1, 1));
        queue.release(&client("192.0.2.1", "bob"));
        assert_eq!((queue.slots(), queue.networks.len()), (0, 0));
    }
}

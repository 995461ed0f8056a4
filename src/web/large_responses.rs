//! Limits the memory of large responses that clients have not read yet.
//!
//! The content of such a response, such as a user's avatar or a list of keys, belongs to this response alone. A client
//! that requests it on many connections and does not read would otherwise occupy all memory. Files in memory are shared
//! by all responses and are not limited here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Network;

/// The maximum number of bytes of all large responses.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The maximum number of bytes of the large responses to one client network.
const MAX_BYTES_OF_NETWORK: usize = 16 * 1024 * 1024;

/// The bytes of all large responses that are being sent.
#[derive(Clone, Default)]
pub struct LargeResponses(Arc<Mutex<Bytes>>);

#[derive(Default)]
struct Bytes {
    total: usize,
    of_networks: HashMap<Network, usize>,
}

/// Memory that is reserved for a response. Dropping this value frees the memory for other responses.
pub struct ReservedMemory {
    responses: LargeResponses,
    network: Network,
    size: usize,
}

impl LargeResponses {
    /// Reserves memory for a response of `size` bytes. Returns `None` if there is no room. Each network may have one
    /// response of any size, as long as all responses together do not exceed their maximum.
    #[must_use]
    pub fn reserve(&self, network: Network, size: usize) -> Option<ReservedMemory> {
        let mut bytes = self.lock();
        let of_network = bytes.of_networks.get(&network).copied().unwrap_or(0);
        let fits = |used: usize, max: usize| used == 0 || used.saturating_add(size) <= max;
        if !fits(bytes.total, MAX_BYTES) || !fits(of_network, MAX_BYTES_OF_NETWORK) {
            return None;
        }
        bytes.total += size;
        bytes.of_networks.insert(network, of_network + size);
        let responses = self.clone();
        Some(ReservedMemory {
            responses,
            network,
            size,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Bytes> {
        // No code that holds the lock can leave the numbers in an inconsistent state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ReservedMemory {
    fn drop(&mut self) {
        let mut bytes = self.responses.lock();
        bytes.total -= self.size;
        if let Some(of_network) = bytes.of_networks.get_mut(&self.network) {
            *of_network -= self.size;
            if *of_network == 0 {
                bytes.of_networks.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(number: u8) -> Network {
        Network::of([192, 0, 2, number].into())
    }

    #[test]
    fn a_network_has_a_share_of_the_memory() {
        let responses = LargeResponses::default();
        let reserve = |number| responses.reserve(network(number), MAX_BYTES_OF_NETWORK / 2);
        let first: Vec<_> = (0..2).filter_map(|_| reserve(1)).collect();
        assert_eq!(first.len(), 2);
        assert!(reserve(1).is_none());
        let others: Vec<_> = (2..5).flat_map(|number| [reserve(number), reserve(number)]).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(reserve(9).is_none(), "all together have a maximum");
        drop(first);
        assert!(reserve(9).is_some());
        drop(others);
        assert_eq!(responses.lock().total, 0);
        assert!(responses.lock().of_networks.is_empty());
    }

    #[test]
    fn one_response_may_be_larger_than_the_share() {
        let responses = LargeResponses::default();
        let large = responses.reserve(network(1), 3 * MAX_BYTES_OF_NETWORK);
        assert!(large.is_some());
        assert!(responses.reserve(network(1), 1).is_none());
        assert!(responses.reserve(network(2), 1).is_some());
    }
}

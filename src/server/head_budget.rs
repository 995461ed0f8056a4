//! Limits the memory that the heads of requests occupy in all connections together.
//!
//! Actix buffers up to 128 KiB of a request until its head is complete, and keeps the buffer until the connection is
//! closed. Many clients that send long heads could therefore use up the memory. Each connection may use
//! [`FREE_LENGTH`] for the head of a request, which is enough for ordinary requests. What it needs beyond that, it holds
//! from a budget that all connections share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The length of a head that needs nothing from the budget, in bytes.
pub const FREE_LENGTH: usize = 8 * 1024;
/// The longest head that actix accepts, in bytes.
const MAX_LENGTH: usize = 128 * 1024;
/// The bytes that all connections may hold together. Buffers that grow occupy up to twice as much memory, because
/// actix doubles their capacity and the allocator keeps their former space.
const BUDGET: usize = 8 * 1024 * 1024;

/// The budget of the process.
#[derive(Default)]
pub struct HeadBudget {
    held: AtomicUsize,
}

/// What one connection holds from the budget. Dropping it returns the bytes.
pub struct HeadShare {
    budget: Arc<HeadBudget>,
    held: usize,
}

impl HeadBudget {
    /// Returns the share of a new connection, which holds nothing.
    pub fn share(self: &Arc<Self>) -> HeadShare {
        HeadShare {
            budget: self.clone(),
            held: 0,
        }
    }

    /// Returns how many bytes the connections hold.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl HeadShare {
    /// Raises the share to what a head of this length needs, and never lowers it, because the buffer does not shrink.
    /// Returns false if the budget is used up.
    pub fn grow(&mut self, length: usize) -> bool {
        let needed = length.min(MAX_LENGTH).saturating_sub(FREE_LENGTH);
        let Some(more) = needed.checked_sub(self.held).filter(|more| *more > 0) else {
            return true;
        };
        let add = |held: usize| Some(held + more).filter(|held| *held <= BUDGET);
        let is_free = self
            .budget
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok();
        if is_free {
            self.held = needed;
        }
        is_free
    }
}

impl Drop for HeadShare {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

//! Flags that say what a connection is doing. Requests and responses set them, and the connection reads them.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Waker;

/// The flags of one connection, shared by all requests on it.
#[derive(Clone, Default)]
pub struct Progress(Rc<Flags>);

#[derive(Default)]
struct Flags {
    handling: Cell<bool>,
    reading_body: Cell<bool>,
    sending_body: Cell<bool>,
    /// Wakes the task of the connection to read. `None` if no read has been postponed.
    postponed: Cell<Option<Waker>>,
}

impl Progress {
    /// Marks a request as being handled until the returned value is dropped: from its head to the head of its response.
    pub fn handle(&self) -> FlagGuard<'_> {
        FlagGuard::set(&self.0.handling)
    }

    /// Marks a handler as waiting for the body of its request until the returned value is dropped. Resumes a postponed
    /// read.
    pub fn read_body(&self) -> FlagGuard<'_> {
        self.resume_reading();
        FlagGuard::set(&self.0.reading_body)
    }

    /// Marks the large body of a response as being sent, or as sent and then resumes a postponed read. Small bodies need
    /// no mark, because actix passes them to the connection in one piece.
    pub fn set_sending_body(&self, sending: bool) {
        self.0.sending_body.set(sending);
        if !sending {
            self.resume_reading();
        }
    }

    /// Returns whether a handler is running.
    #[must_use]
    pub fn is_handling(&self) -> bool {
        self.0.handling.get()
    }

    /// Returns whether the current request needs no further bytes of the client: a handler is running that does not wait
    /// for them, or a large body is being sent.
    #[must_use]
    pub fn is_client_waiting(&self) -> bool {
        self.is_handling() && !self.0.reading_body.get() || self.is_sending_body()
    }

    /// Postpones a read until the next call of [`Self::resume_reading`], which wakes `task`.
    pub fn postpone_reading(&self, task: &Waker) {
        self.0.postponed.set(Some(task.clone()));
    }

    /// Wakes the task whose read has been postponed, if any.
    pub fn resume_reading(&self) {
        if let Some(task) = self.0.postponed.take() {
            task.wake();
        }
    }

    /// Returns whether a large body is being sent.
    #[must_use]
    pub fn is_sending_body(&self) -> bool {
        self.0.sending_body.get()
    }
}

/// Keeps a flag set until this value is dropped.
#[must_use]
pub struct FlagGuard<'a>(&'a Cell<bool>);

impl<'a> FlagGuard<'a> {
    fn set(flag: &'a Cell<bool>) -> Self {
        flag.set(true);
        Self(flag)
    }
}

impl Drop for FlagGuard<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

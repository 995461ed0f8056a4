//! Closes the connections of clients that are too slow.
//!
//! Without a deadline, a client that sends a byte now and then could occupy a connection forever, and many such clients
//! could occupy all connections. Therefore the response to each request must begin within [`REQUEST_DEADLINE`] of the
//! request's first byte. The client must read the response within a further deadline, which is a setting. After a
//! response, the next request must begin within [`IDLE_DEADLINE`]. This layer does not know where a request ends. It
//! sees only when bytes are received and sent, and whether a large body is still being sent.
//!
//! While a handler runs, while a large body is being sent, or while the client does not read, at most one batch of the
//! client's next requests is read. More of them would only occupy memory, and actix polls a connection without pause
//! while 128 KiB wait. A connection that is too slow is aborted, so the kernel drops its unsent bytes at once.
//!
//! The bytes that are read before a handler runs are the head of its request. Long heads need a share of a budget (see
//! `head_budget`). A connection that needs more than is left is aborted.
//!
//! This layer also reports to `connections` whether the connection is idle, and closes the connection when
//! `connections` requests it. It records that the client has disconnected or will send no more. The server can then
//! skip work whose result no client would receive.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::rt::time::{Instant, Sleep, sleep_until};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connections::Slot;
use super::head_budget::HeadShare;
use super::socket::Abort;
use crate::web::progress::Progress;

/// The longest time from the first byte of a request to the first byte of its response.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// The longest time from the last bytes of a response to the first byte of the next request. It is longer than the
/// server's keep-alive timeout, which closes idle connections cleanly and should act first.
const IDLE_DEADLINE: Duration = Duration::from_secs(90);
/// The maximum number of bytes that actix can read before it must parse them. Actix parses all requests that it has
/// read, but stops reading when many of them wait.
const READ_BATCH: usize = 4 * 1024;

/// A stream that fails when its deadline has passed or its connection must be closed.
pub struct Deadline<S> {
    stream: S,
    slot: Slot,
    head: HeadShare,
    /// The number of bytes that have been read for the next handler.
    head_length: usize,
    phase: Phase,
    phase_end: Instant,
    /// Wakes the task at the deadline or earlier. It is set to an earlier time only when the task begins to wait, so
    /// most requests do not touch it.
    timer: Pin<Box<Sleep>>,
    max_response_time: Duration,
    progress: Progress,
    client_disconnected: Arc<AtomicBool>,
    /// Whether the last write is waiting for the client to read.
    write_blocked: bool,
    /// The number of bytes that have been read without a wait, or since the client began to wait.
    batch: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next request has not begun.
    Idle,
    /// A request has begun, and its response has not.
    Request,
    /// A response has begun, and not all of it has been sent.
    Response,
}

impl<S: Abort> Deadline<S> {
    pub fn new(stream: S, slot: Slot, head: HeadShare, max_response_time: Duration) -> Self {
        let phase_end = Instant::now() + IDLE_DEADLINE;
        Self {
            stream,
            slot,
            head,
            head_length: 0,
            phase: Phase::Idle,
            phase_end,
            timer: Box::pin(sleep_until(phase_end)),
            max_response_time,
            progress: Progress::default(),
            client_disconnected: Arc::default(),
            write_blocked: false,
            batch: 0,
        }
    }

    /// Returns a flag that is set when the client has disconnected.
    pub fn client_disconnected(&self) -> Arc<AtomicBool> {
        self.client_disconnected.clone()
    }

    /// Returns the flags that the requests and responses of this connection set.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn enter(&mut self, phase: Phase) -> io::Result<()> {
        let now = Instant::now();
        match (self.phase, phase) {
            (Phase::Idle, _) if !self.slot.begin_request() => return Err(self.abort(ErrorKind::ConnectionAborted)),
            (_, Phase::Idle) => self.slot.end_request(now.into_std()),
            _ => (),
        }
        self.phase = phase;
        self.head_length = 0;
        self.phase_end = now
            + match phase {
                Phase::Idle => IDLE_DEADLINE,
                Phase::Request => REQUEST_DEADLINE,
                Phase::Response => self.max_response_time,
            };
        Ok(())
    }

    /// Counts bytes that have been read. Fails if they belong to a head for which the budget has no room.
    fn count_head(&mut self, length: usize) -> io::Result<()> {
        if self.progress.is_handling() {
            self.head_length = 0;
            return Ok(());
        }
        self.head_length += length;
        if self.head.grow(self.head_length) {
            return Ok(());
        }
        log::warn!("a connection was closed: the heads of requests use up their memory");
        Err(self.abort(ErrorKind::ConnectionAborted))
    }

    /// Returns an error once the deadline has passed or the connection must be closed, and wakes the task at that time.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.slot.poll_closing(cx).is_ready() {
            return Poll::Ready(self.abort(ErrorKind::ConnectionAborted));
        }
        loop {
            if self.timer.deadline() > self.phase_end {
                self.timer.as_mut().reset(self.phase_end);
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= self.phase_end {
                return Poll::Ready(self.abort(ErrorKind::TimedOut));
            }
            // The timer was set for an earlier phase.
            self.timer.as_mut().reset(self.phase_end);
        }
    }

    fn abort(&self, kind: ErrorKind) -> io::Error {
        self.stream.abort_on_drop();
        kind.into()
    }
}

impl<S: AsyncRead + Abort + Unpin> AsyncRead for Deadline<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.write_blocked {
            self.progress.postpone_reading(cx.waker());
            return self.poll_end(cx).map(Err);
        }
        if self.batch >= READ_BATCH {
            if self.progress.is_client_waiting() {
                // The read continues when the handler begins to read its body or when the response is written.
                self.progress.postpone_reading(cx.waker());
            } else {
                self.batch = 0;
                cx.waker().wake_by_ref();
            }
            return self.poll_end(cx).map(Err);
        }
        match poll_read_batch(Pin::new(&mut self.stream), cx, buffer) {
            Poll::Pending => {
                if !self.progress.is_client_waiting() {
                    self.batch = 0;
                }
                self.poll_end(cx).map(Err)
            }
            Poll::Ready(Ok(length)) => {
                self.batch += length;
                if length == 0 {
                    self.client_disconnected.store(true, Ordering::Relaxed);
                } else if self.phase == Phase::Idle {
                    self.enter(Phase::Request)?;
                }
                Poll::Ready(self.count_head(length))
            }
            Poll::Ready(Err(error)) => {
                self.client_disconnected.store(true, Ordering::Relaxed);
                Poll::Ready(Err(error))
            }
        }
    }
}

thread_local! {
    /// The buffer into which a worker reads a batch before it copies the batch to the caller's buffer. Without it, a
    /// part of the caller's buffer would have to be zeroed for each read, which costs more than the copy.
    static BATCH: RefCell<[u8; READ_BATCH]> = const { RefCell::new([0; READ_BATCH]) };
}

/// Reads at most `READ_BATCH` bytes, and returns how many.
fn poll_read_batch<S: AsyncRead>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<usize>> {
    let before = buffer.filled().len();
    if buffer.remaining() <= READ_BATCH {
        ready!(stream.poll_read(cx, buffer))?;
    } else {
        ready!(BATCH.with_borrow_mut(|batch| {
            let mut batch = ReadBuf::new(batch);
            ready!(stream.poll_read(cx, &mut batch))?;
            buffer.put_slice(batch.filled());
            Poll::Ready(io::Result::Ok(()))
        }))?;
    }
    Poll::Ready(Ok(buffer.filled().len() - before))
}

impl<S: AsyncWrite + Abort + Unpin> AsyncWrite for Deadline<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.phase != Phase::Response {
            self.enter(Phase::Response)?;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.write_blocked = written.is_pending();
        if self.write_blocked {
            return self.poll_end(cx).map(Err);
        }
        self.progress.resume_reading();
        written
    }

    /// Actix calls this whenever its write buffer is empty: after each response, but also during a large body.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.phase == Phase::Response && !self.progress.is_sending_body() {
            self.enter(Phase::Idle)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "deadline_tests.rs"]
mod tests;

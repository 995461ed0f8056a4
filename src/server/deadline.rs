//! A connection that ends when its client is too slow.
//!
//! Somebody who sends a byte now and then would keep a connection for ever, and with enough of them everybody else
//! out. So from its first byte on a request must be answered within [`REQUEST_DEADLINE`], and after an answer the next
//! request must begin within [`IDLE_DEADLINE`]. Nothing here knows where a request ends: what counts is that bytes
//! go out.
//!
//! It also notes when the client has gone away, or at least says that no more comes, for who works for nobody else.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::rt::time::{Instant, Sleep, sleep};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// From a request's first byte to its answer's first byte.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// From the last bytes of an answer to the first byte of the next request. Longer than the server's own keep-alive
/// timeout, which ends a connection more politely.
const IDLE_DEADLINE: Duration = Duration::from_secs(90);

/// A connection with a deadline.
pub struct Deadline<S> {
    stream: S,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer runs for a request that has begun.
    in_request: bool,
    gone: Arc<AtomicBool>,
}

impl<S> Deadline<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            timer: Box::pin(sleep(IDLE_DEADLINE)),
            in_request: false,
            gone: Arc::default(),
        }
    }

    /// Set when the client has gone away.
    pub fn gone(&self) -> Arc<AtomicBool> {
        self.gone.clone()
    }

    fn restart(&mut self, in_request: bool) {
        self.in_request = in_request;
        let time = if in_request { REQUEST_DEADLINE } else { IDLE_DEADLINE };
        self.timer.as_mut().reset(Instant::now() + time);
    }

    /// Whether time is up; wakes the task when it will be.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Deadline<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Pending => self.poll_deadline(cx).map(Err),
            read @ Poll::Ready(_) => {
                if buffer.filled().len() == before {
                    self.gone.store(true, Ordering::Relaxed);
                }
                if !self.in_request {
                    self.restart(true);
                }
                read
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deadline<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Pending => self.poll_deadline(cx).map(Err),
            written @ Poll::Ready(_) => {
                self.restart(false);
                written
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::rt::System;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::pause;

    use super::*;

    /// Runs a test in which time passes at once whenever everybody waits.
    fn in_paused_time(test: impl AsyncFnOnce(Deadline<DuplexStream>, DuplexStream)) {
        System::new().block_on(async {
            pause();
            let (server, client) = duplex(1024);
            test(Deadline::new(server), client).await;
        });
    }

    async fn read_until_error(server: &mut Deadline<DuplexStream>) -> io::ErrorKind {
        let mut buffer = [0; 64];
        loop {
            match server.read(&mut buffer).await {
                Ok(0) => panic!("the client has not closed"),
                Ok(_) => (),
                Err(error) => return error.kind(),
            }
        }
    }

    #[test]
    fn who_sends_a_byte_a_second_is_cut_off_at_the_deadline() {
        in_paused_time(async |mut server, mut client| {
            let start = Instant::now();
            actix_web::rt::spawn(async move {
                while client.write_all(b"x").await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
            });
            assert_eq!(read_until_error(&mut server).await, io::ErrorKind::TimedOut);
            assert_eq!(start.elapsed().as_secs(), REQUEST_DEADLINE.as_secs());
        });
    }

    #[test]
    fn a_second_request_has_a_deadline_of_its_own() {
        in_paused_time(async |mut server, mut client| {
            client.write_all(b"request").await.unwrap();
            server.read_exact(&mut [0; 7]).await.unwrap();
            sleep(Duration::from_secs(20)).await;
            server.write_all(b"answer").await.unwrap();
            sleep(Duration::from_secs(60)).await;
            client.write_all(b"half a req").await.unwrap();
            let start = Instant::now();
            assert_eq!(read_until_error(&mut server).await, io::ErrorKind::TimedOut);
            assert_eq!(start.elapsed().as_secs(), REQUEST_DEADLINE.as_secs());
        });
    }

    #[test]
    fn who_has_gone_away_is_known_to_have() {
        in_paused_time(async |mut server, mut client| {
            let gone = server.gone();
            client.write_all(b"request").await.unwrap();
            server.read_exact(&mut [0; 7]).await.unwrap();
            assert!(!gone.load(Ordering::Relaxed));
            drop(client);
            assert_eq!(server.read(&mut [0; 7]).await.unwrap(), 0);
            assert!(gone.load(Ordering::Relaxed));
        });
    }

    #[test]
    fn who_sends_nothing_is_cut_off_later() {
        in_paused_time(async |mut server, _client| {
            let start = Instant::now();
            assert_eq!(read_until_error(&mut server).await, io::ErrorKind::TimedOut);
            assert_eq!(start.elapsed().as_secs(), IDLE_DEADLINE.as_secs());
        });
    }
}

//! Closes the connections of clients that are too slow.
//!
//! Without a deadline, a client that sends a byte now and then could occupy a connection forever, and many such clients
//! could occupy all connections. Therefore the response to each request must begin within [`REQUEST_DEADLINE`] of the
//! request's first byte. After a response, the next request must begin within [`IDLE_DEADLINE`]. This layer does not
//! know where a request ends. It sees only when bytes are received and sent.
//!
//! This layer also records that the client has disconnected or will send no more. The server can then skip work whose
//! result no client would receive.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::rt::time::{Instant, Sleep, sleep};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest time from the first byte of a request to the first byte of its response.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// The longest time from the last bytes of a response to the first byte of the next request. It is longer than the
/// server's keep-alive timeout, which closes idle connections cleanly and should act first.
const IDLE_DEADLINE: Duration = Duration::from_secs(90);

/// A stream that fails when its deadline has passed.
pub struct Deadline<S> {
    stream: S,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer is timing a request (`REQUEST_DEADLINE`) or the idle time between requests (`IDLE_DEADLINE`).
    in_request: bool,
    client_disconnected: Arc<AtomicBool>,
}

impl<S> Deadline<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            timer: Box::pin(sleep(IDLE_DEADLINE)),
            in_request: false,
            client_disconnected: Arc::default(),
        }
    }

    /// Returns a flag that is set when the client has disconnected.
    pub fn client_disconnected(&self) -> Arc<AtomicBool> {
        self.client_disconnected.clone()
    }

    fn restart(&mut self, in_request: bool) {
        self.in_request = in_request;
        let time = if in_request { REQUEST_DEADLINE } else { IDLE_DEADLINE };
        self.timer.as_mut().reset(Instant::now() + time);
    }

    /// Returns an error once the deadline has passed, and wakes the task at that time.
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
                    self.client_disconnected.store(true, Ordering::Relaxed);
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

    /// Runs a test in which time advances whenever all tasks wait.
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
                Ok(0) => panic!("the client has closed the connection"),
                Ok(_) => (),
                Err(error) => return error.kind(),
            }
        }
    }

    #[test]
    fn a_client_that_sends_a_byte_each_second_is_disconnected_at_the_deadline() {
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
    fn the_second_request_has_its_own_deadline() {
        in_paused_time(async |mut server, mut client| {
            client.write_all(b"request").await.unwrap();
            server.read_exact(&mut [0; 7]).await.unwrap();
            sleep(Duration::from_secs(20)).await;
            server.write_all(b"response").await.unwrap();
            sleep(Duration::from_secs(60)).await;
            client.write_all(b"half a req").await.unwrap();
            let start = Instant::now();
            assert_eq!(read_until_error(&mut server).await, io::ErrorKind::TimedOut);
            assert_eq!(start.elapsed().as_secs(), REQUEST_DEADLINE.as_secs());
        });
    }

    #[test]
    fn a_disconnected_client_is_noticed() {
        in_paused_time(async |mut server, mut client| {
            let disconnected = server.client_disconnected();
            client.write_all(b"request").await.unwrap();
            server.read_exact(&mut [0; 7]).await.unwrap();
            assert!(!disconnected.load(Ordering::Relaxed));
            drop(client);
            assert_eq!(server.read(&mut [0; 7]).await.unwrap(), 0);
            assert!(disconnected.load(Ordering::Relaxed));
        });
    }

    #[test]
    fn a_client_that_sends_nothing_is_disconnected_at_the_idle_deadline() {
        in_paused_time(async |mut server, _client| {
            let start = Instant::now();
            assert_eq!(read_until_error(&mut server).await, io::ErrorKind::TimedOut);
            assert_eq!(start.elapsed().as_secs(), IDLE_DEADLINE.as_secs());
        });
    }
}

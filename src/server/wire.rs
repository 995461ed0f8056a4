//! The last layer between a connection and actix: corrects what actix would get wrong about HTTP.

use std::cell::{Ref, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::http::StatusCode;
use actix_web::rt::time::timeout;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::MAX_DISCONNECT_TIME;
use super::rejection::{self, respond};
use super::upgrade::UpgradeFilter;

/// A stream of HTTP/1.1 requests and responses. Clones are handles of the same stream.
///
/// Bytes that look like a rejection by actix (see `rejection`) are withheld, because they may also be the end of a
/// body. Actix drops a connection as soon as it has written a rejection. If it drops the stream, the owner of the last
/// handle calls [`Self::finish`], which sends a problem instead. If actix uses the stream again, the bytes were a body
/// and are sent.
pub struct Wire<S>(Rc<RefCell<Parts<S>>>);

struct Parts<S> {
    stream: S,
    upgrades: UpgradeFilter,
    /// Whether bytes have been sent.
    has_sent: bool,
    withheld: Option<Withheld>,
}

/// Bytes at the end of what actix has written that look like a rejection.
struct Withheld {
    status: StatusCode,
    bytes: Vec<u8>,
    /// How many of the bytes have been sent, because they are the end of a body.
    sent: usize,
    /// Whether actix has flushed the stream after writing the bytes.
    is_flushed: bool,
    /// Whether actix has used the stream after that, so the bytes are the end of a body.
    is_body: bool,
}

impl<S> Clone for Wire<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self(Rc::new(RefCell::new(Parts {
            stream,
            upgrades: UpgradeFilter::default(),
            has_sent: false,
            withheld: None,
        })))
    }

    pub fn get_ref(&self) -> Ref<'_, S> {
        Ref::map(self.0.borrow(), |parts| &parts.stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Sends a problem if actix has dropped the stream because it has rejected a request. Waits until the client has
    /// read it, but not longer than [`MAX_DISCONNECT_TIME`]. Does nothing if this is not the last handle.
    pub async fn finish(self) {
        let Some(parts) = Rc::into_inner(self.0).map(RefCell::into_inner) else {
            return;
        };
        if let Some(Withheld {
            status, is_body: false, ..
        }) = parts.withheld
        {
            let response = respond(parts.stream, status, parts.upgrades.is_head());
            // Boxed, because few connections need its memory. If it fails, the client has disconnected or is too slow.
            drop(timeout(MAX_DISCONNECT_TIME, Box::pin(response)).await);
        }
    }
}

impl<S: AsyncWrite + Unpin> Parts<S> {
    /// Sends the withheld bytes, because they are the end of a body.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(withheld) = &mut self.withheld {
            withheld.is_body = true;
            let rest = &withheld.bytes[withheld.sent..];
            if rest.is_empty() {
                self.withheld = None;
                break;
            }
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => withheld.sent += length,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let parts = &mut *self.0.borrow_mut();
        if let Some(withheld) = &mut parts.withheld {
            withheld.is_body = true;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut parts.stream).poll_read(cx, buffer);
        if read.is_ready() {
            parts.upgrades.filter(&mut buffer.filled_mut()[before..]);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let parts = &mut *self.0.borrow_mut();
        ready!(parts.poll_release(cx))?;
        let unsent = match rejection::find(bytes) {
            Some((0, status)) => {
                parts.withheld = Some(Withheld {
                    status,
                    bytes: bytes.to_vec(),
                    sent: 0,
                    is_flushed: false,
                    is_body: false,
                });
                return Poll::Ready(Ok(bytes.len()));
            }
            // Actix writes the rest with the next call.
            Some((start, _)) => &bytes[..start],
            None => bytes,
        };
        parts.has_sent = true;
        Pin::new(&mut parts.stream).poll_write(cx, unsent)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let parts = &mut *self.0.borrow_mut();
        match &mut parts.withheld {
            // Actix drops the stream after this call if it has rejected a request. Otherwise, it must call again.
            Some(withheld) if !withheld.is_flushed => {
                withheld.is_flushed = true;
                cx.waker().wake_by_ref();
            }
            Some(_) => ready!(parts.poll_release(cx))?,
            None => (),
        }
        Pin::new(&mut parts.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let parts = &mut *self.0.borrow_mut();
        // Only the first head has a deadline of actix, and actix shuts the stream down when that has passed. What is
        // sent first is never a body.
        if !parts.has_sent && parts.withheld.is_some() {
            return Poll::Ready(Ok(()));
        }
        ready!(parts.poll_release(cx))?;
        Pin::new(&mut parts.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use actix_web::rt::{System, spawn};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const OTHER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 108\r\n\r\n";
    const REJECTION: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\
                               date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";

    /// Returns everything that a client receives while `serve` uses the stream and after it has dropped it. Most writes
    /// have to wait, because the buffer between the two is small.
    fn received(serve: impl AsyncFnOnce(&mut Wire<DuplexStream>)) -> String {
        System::new().block_on(async {
            let (server, mut client) = duplex(7);
            let client = spawn(async move {
                let mut bytes = Vec::new();
                client.read_to_end(&mut bytes).await.unwrap();
                String::from_utf8(bytes).unwrap()
            });
            let mut wire = Wire::new(server);
            let handle = wire.clone();
            serve(&mut wire).await;
            drop(wire);
            handle.finish().await;
            client.await.unwrap()
        })
    }

    /// Flushes the stream as often as its task is woken, until no bytes are withheld.
    async fn flush_until_sent(wire: &mut Wire<DuplexStream>) {
        poll_fn(|cx| {
            ready!(Pin::new(&mut *wire).poll_flush(cx)).unwrap();
            match wire.0.borrow().withheld {
                Some(_) => Poll::Pending,
                None => Poll::Ready(()),
            }
        })
        .await;
    }

    #[test]
    fn a_body_that_looks_like_a_rejection_is_sent_unchanged() {
        let body = [OTHER, REJECTION].concat();
        let expected = String::from_utf8(body.clone()).unwrap();
        for pieces in [vec![body.as_slice()], vec![OTHER, REJECTION]] {
            let write = async |wire: &mut Wire<_>| {
                for piece in &pieces {
                    wire.write_all(piece).await.unwrap();
                    wire.flush().await.unwrap();
                }
            };
            let flushed = received(async |wire| {
                write(wire).await;
                flush_until_sent(wire).await;
            });
            assert_eq!(flushed, expected);
            let followed = received(async |wire| {
                write(wire).await;
                wire.write_all(b"next").await.unwrap();
            });
            assert_eq!(followed, expected.clone() + "next");
            let shut_down = received(async |wire| {
                write(wire).await;
                wire.shutdown().await.unwrap();
            });
            assert_eq!(shut_down, expected);
        }
    }

    #[test]
    fn a_body_is_not_replaced_if_the_connection_fails_before_it_is_sent() {
        let received = received(async |wire| {
            wire.write_all(&[OTHER, REJECTION].concat()).await.unwrap();
            wire.flush().await.unwrap();
            let read = poll_fn(|cx| {
                let mut byte = [0];
                Poll::Ready(Pin::new(&mut *wire).poll_read(cx, &mut ReadBuf::new(&mut byte)))
            });
            assert!(read.await.is_pending());
        });
        assert_eq!(received.as_bytes(), OTHER);
    }

    #[test]
    fn a_rejection_becomes_a_problem() {
        let assert_problem = |text: &str| {
            assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{text}");
            assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
            assert!(text.contains(r#""status":408"#), "{text}");
        };
        let after_another = received(async |wire| {
            wire.write_all(&[OTHER, REJECTION].concat()).await.unwrap();
            wire.flush().await.unwrap();
        });
        let (other, problem) = after_another.split_at(OTHER.len());
        assert_eq!(other.as_bytes(), OTHER);
        assert_problem(problem);
        // Actix shuts the stream down after a timeout.
        assert_problem(&received(async |wire| {
            wire.write_all(REJECTION).await.unwrap();
            wire.flush().await.unwrap();
            wire.shutdown().await.unwrap();
        }));
    }
}

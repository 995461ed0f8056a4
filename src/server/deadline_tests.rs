use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use actix_web::rt::System;
use actix_web::rt::time::sleep;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{pause, timeout};

use super::*;
use crate::server::connections::Connections;
use crate::server::head_budget::{FREE_LENGTH, HeadBudget, HeadShare};
use crate::web::address::TrustedProxies;

/// A stream in memory that records whether it was aborted.
struct Memory {
    stream: DuplexStream,
    aborted: Rc<Cell<bool>>,
}

impl Abort for Memory {
    fn abort_on_drop(&self) {
        self.aborted.set(true);
    }
}

impl AsyncRead for Memory {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Memory {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const RESPONSE_DEADLINE: Duration = Duration::from_secs(60);

/// Runs a test in which time advances whenever all tasks wait. The connection is the only slot, and its client is a
/// stranger.
fn in_paused_time(test: impl AsyncFnOnce(Deadline<Memory>, DuplexStream)) {
    System::new().block_on(async {
        pause();
        let (server, client) = connection(&one_slot());
        test(server, client).await;
    });
}

fn one_slot() -> Arc<Connections> {
    Connections::new(1, Arc::new(TrustedProxies::new(Vec::new())))
}

fn connection(connections: &Arc<Connections>) -> (Deadline<Memory>, DuplexStream) {
    let (stream, client) = duplex(1024);
    let aborted = Rc::default();
    let slot = connections.open([192, 0, 2, 1].into(), Instant::now().into_std());
    let slot = slot.expect("there is room");
    let head = Arc::<HeadBudget>::default().share();
    (
        Deadline::new(Memory { stream, aborted }, slot, head, RESPONSE_DEADLINE),
        client,
    )
}

async fn read_until_error(server: &mut Deadline<Memory>) -> ErrorKind {
    let mut buffer = [0; 64];
    loop {
        match server.read(&mut buffer).await {
            Ok(0) => panic!("the client has closed the connection"),
            Ok(_) => (),
            Err(error) => return error.kind(),
        }
    }
}

/// Receives a request and begins to send a large response.
async fn begin_large_response(server: &mut Deadline<Memory>, client: &mut DuplexStream) {
    client.write_all(b"request").await.unwrap();
    server.read_exact(&mut [0; 7]).await.unwrap();
    server.progress().set_sending_body(true);
    server.write_all(b"head").await.unwrap();
    client.read_exact(&mut [0; 4]).await.unwrap();
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
        assert_eq!(read_until_error(&mut server).await, ErrorKind::TimedOut);
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
        server.flush().await.unwrap();
        sleep(Duration::from_secs(60)).await;
        client.write_all(b"half a req").await.unwrap();
        let start = Instant::now();
        assert_eq!(read_until_error(&mut server).await, ErrorKind::TimedOut);
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
        assert_eq!(read_until_error(&mut server).await, ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), IDLE_DEADLINE.as_secs());
        assert!(server.stream.aborted.get());
    });
}

#[test]
fn the_idle_deadline_starts_when_a_response_has_been_sent() {
    in_paused_time(async |mut server, mut client| {
        begin_large_response(&mut server, &mut client).await;
        sleep(RESPONSE_DEADLINE / 2).await;
        server.progress().set_sending_body(false);
        server.flush().await.unwrap();
        let start = Instant::now();
        assert_eq!(read_until_error(&mut server).await, ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), IDLE_DEADLINE.as_secs());
    });
}

#[test]
fn a_client_that_reads_nothing_is_aborted_at_the_response_deadline() {
    in_paused_time(async |mut server, mut client| {
        begin_large_response(&mut server, &mut client).await;
        let start = Instant::now();
        let error = server.write_all(&[0; 5000]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), RESPONSE_DEADLINE.as_secs());
        assert!(server.stream.aborted.get());
    });
}

/// Actix flushes in the middle of a body, and reads while it sends.
#[test]
fn neither_slow_reading_nor_further_requests_extend_the_response_deadline() {
    in_paused_time(async |mut server, client| {
        let (mut reader, mut writer) = tokio::io::split(client);
        writer.write_all(b"request").await.unwrap();
        server.read_exact(&mut [0; 7]).await.unwrap();
        server.progress().set_sending_body(true);
        let start = Instant::now();
        actix_web::rt::spawn(async move {
            while reader.read_exact(&mut [0; 100]).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        actix_web::rt::spawn(async move {
            while writer.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let error = loop {
            assert!(start.elapsed() < 2 * RESPONSE_DEADLINE, "the deadline was extended");
            if let Err(error) = server.write_all(&[0; 100]).await {
                break error;
            }
            server.flush().await.unwrap();
            // A read that has to wait is given up at once.
            if let Ok(Err(error)) = timeout(Duration::ZERO, server.read(&mut [0; 64])).await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), RESPONSE_DEADLINE.as_secs());
    });
}

#[test]
fn nothing_is_read_while_the_client_does_not_read() {
    in_paused_time(async |mut server, mut client| {
        begin_large_response(&mut server, &mut client).await;
        let write = timeout(Duration::from_secs(1), server.write_all(&[0; 5000]));
        assert!(write.await.is_err(), "the client does not read");
        client.write_all(b"next").await.unwrap();
        let mut next = [0; 4];
        let read = timeout(Duration::from_secs(1), server.read_exact(&mut next));
        assert!(read.await.is_err(), "the next request was read");
        client.read_exact(&mut [0; 1024]).await.unwrap();
        server.write_all(b"rest").await.unwrap();
        server.read_exact(&mut next).await.unwrap();
        assert_eq!(&next, b"next");
    });
}

#[test]
fn at_most_a_batch_is_read_while_a_handler_runs() {
    in_paused_time(async |mut server, _| {
        let (stream, mut client) = duplex(4 * READ_BATCH);
        server.stream.stream = stream;
        client.write_all(b"request").await.unwrap();
        server.read_exact(&mut [0; 7]).await.unwrap();
        let progress = server.progress();
        let handling = progress.handle();
        client.write_all(&[0; 3 * READ_BATCH]).await.unwrap();
        let mut received = vec![0; 3 * READ_BATCH];
        let mut read = 0;
        while let Ok(length) = timeout(Duration::from_secs(1), server.read(&mut received)).await {
            read += length.unwrap();
        }
        assert_eq!(read, READ_BATCH);

        let (read, reading) = tokio::join!(server.read_exact(&mut received[..READ_BATCH]), async {
            sleep(Duration::from_secs(1)).await;
            progress.read_body()
        });
        assert_eq!(read.unwrap(), READ_BATCH);
        drop(reading);
        let blocked = timeout(Duration::from_secs(1), server.read(&mut received));
        assert!(blocked.await.is_err(), "the body has been read");

        drop(handling);
        server.write_all(b"response").await.unwrap();
        server.read_exact(&mut received[..READ_BATCH]).await.unwrap();
    });
}

#[test]
fn a_long_row_of_requests_is_read_in_batches() {
    in_paused_time(async |mut server, _| {
        let (stream, mut client) = duplex(3 * READ_BATCH);
        server.stream.stream = stream;
        let sent: Vec<u8> = (0..=255).cycle().take(2 * READ_BATCH + 1).collect();
        client.write_all(&sent).await.unwrap();
        let mut received = vec![0; 3 * READ_BATCH];
        for expected in [READ_BATCH, 0] {
            let length = poll_fn(|cx| {
                let mut buffer = ReadBuf::new(&mut received);
                let _ = Pin::new(&mut server).poll_read(cx, &mut buffer);
                Poll::Ready(buffer.filled().len())
            });
            assert_eq!(length.await, expected);
        }
        let start = Instant::now();
        server
            .read_exact(&mut received[READ_BATCH..=2 * READ_BATCH])
            .await
            .unwrap();
        assert_eq!(received[..=2 * READ_BATCH], sent);
        assert_eq!(start.elapsed(), Duration::ZERO, "the task was not woken");
    });
}

#[test]
fn an_idle_connection_is_aborted_when_it_must_close() {
    in_paused_time(async |_, _| {
        let connections = one_slot();
        let (mut server, mut client) = connection(&connections);
        begin_large_response(&mut server, &mut client).await;
        let now = || Instant::now().into_std();
        assert!(connections.open([192, 0, 2, 2].into(), now()).is_none(), "it is busy");
        server.progress().set_sending_body(false);
        server.flush().await.unwrap();
        let start = Instant::now();
        let opener = actix_web::rt::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            connections.open([192, 0, 2, 2].into(), now()).is_some()
        });
        assert_eq!(read_until_error(&mut server).await, ErrorKind::ConnectionAborted);
        assert_eq!(start.elapsed().as_secs(), 1);
        assert!(server.stream.aborted.get() && opener.await.unwrap());
    });
}

/// Returns a budget that is used up, and the shares that hold it.
fn used_up() -> (Arc<HeadBudget>, Vec<HeadShare>) {
    let budget = Arc::<HeadBudget>::default();
    let mut holders = Vec::new();
    // The last shares are smaller than the others.
    for length in [usize::MAX, FREE_LENGTH + 1024, FREE_LENGTH + 1] {
        let shares = std::iter::repeat_with(|| budget.share()).take(1000);
        holders.extend(shares.map_while(|mut share| share.grow(length).then_some(share)));
    }
    (budget, holders)
}

/// Sends this many bytes, and returns the error of the server if it does not read all of them.
async fn send(server: &mut Deadline<Memory>, client: &mut DuplexStream, length: usize) -> Result<(), ErrorKind> {
    let sent = vec![0; length];
    let mut received = vec![0; length];
    let (_, read) = tokio::join!(client.write_all(&sent), server.read_exact(&mut received));
    read.map(drop).map_err(|error| error.kind())
}

#[test]
fn a_long_head_is_aborted_when_the_budget_is_used_up() {
    in_paused_time(async |mut server, mut client| {
        let (budget, holders) = used_up();
        server.head = budget.share();
        send(&mut server, &mut client, FREE_LENGTH).await.unwrap();
        assert_eq!(
            send(&mut server, &mut client, 1).await,
            Err(ErrorKind::ConnectionAborted)
        );
        assert!(server.stream.aborted.get());
        drop(holders);
        let (mut server, mut client) = connection(&one_slot());
        server.head = budget.share();
        send(&mut server, &mut client, 100 * 1024).await.unwrap();
    });
}

#[test]
fn requests_of_ordinary_length_need_nothing_from_the_budget() {
    in_paused_time(async |mut server, mut client| {
        let (budget, _holders) = used_up();
        server.head = budget.share();
        for _ in 0..3 {
            send(&mut server, &mut client, FREE_LENGTH).await.unwrap();
            // A body that a handler reads is not part of the head.
            let progress = server.progress();
            let handling = progress.handle();
            let reading = progress.read_body();
            send(&mut server, &mut client, 2 * FREE_LENGTH).await.unwrap();
            drop(reading);
            drop(handling);
            server.write_all(b"response").await.unwrap();
            server.flush().await.unwrap();
        }
    });
}

#[test]
fn the_buffer_of_a_long_head_counts_until_the_connection_is_closed() {
    in_paused_time(async |mut server, mut client| {
        let budget = Arc::<HeadBudget>::default();
        server.head = budget.share();
        for length in [10, FREE_LENGTH + 1000, FREE_LENGTH + 3000, 10] {
            send(&mut server, &mut client, length).await.unwrap();
            server.write_all(b"response").await.unwrap();
            server.flush().await.unwrap();
        }
        assert_eq!(budget.held(), 3000);
        drop(server);
        assert_eq!(budget.held(), 0);
    });
}

#[test]
fn at_most_a_batch_is_read_while_a_large_body_is_sent() {
    in_paused_time(async |mut server, mut client| {
        begin_large_response(&mut server, &mut client).await;
        let sent = 3 * READ_BATCH;
        // The handle keeps the client connected.
        let _client = actix_web::rt::spawn(async move { client.write_all(&vec![0; sent]).await.map(|()| client) });
        let mut received = vec![0; sent];
        let mut read = 0;
        while let Ok(length) = timeout(Duration::from_secs(1), server.read(&mut received)).await {
            read += length.unwrap();
        }
        assert!((READ_BATCH..READ_BATCH + 1024).contains(&read), "{read}");
        let progress = server.progress();
        let (rest, ()) = tokio::join!(server.read_exact(&mut received[read..]), async {
            sleep(Duration::from_secs(1)).await;
            progress.set_sending_body(false);
        });
        rest.unwrap();
    });
}

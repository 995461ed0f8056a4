//! Large response bodies, which are sent in slices.
//!
//! Actix copies each chunk of a body into the write buffer of its connection, however large the chunk is. A client that
//! requests a large body and does not read it would occupy that much memory. In slices, the body stays in the memory
//! that all connections share, and a connection buffers only a small part of it.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;

use super::large_responses::ReservedMemory;
use super::progress::Progress;

/// The size of a slice, in bytes. Actix fills its write buffer up to 32 KiB, so a connection buffers at most 48 KiB of
/// a body.
const SLICE_SIZE: usize = 16 * 1024;

/// Returns whether the body is larger than a slice or of unknown size.
#[must_use]
pub fn is_large(body: &BoxBody) -> bool {
    match body.size() {
        BodySize::None => false,
        BodySize::Sized(size) => size > SLICE_SIZE as u64,
        BodySize::Stream => true,
    }
}

/// Marks a response whose body needs no memory of its own, because all responses share its bytes or because it is read
/// from a file while it is sent.
pub struct SharedBody;

/// Returns a body that sends the same bytes in slices. The connection counts as sending until the body is dropped.
/// `memory` is the memory that is reserved for the body, if any. It is freed at that time.
#[must_use]
pub fn in_slices(body: BoxBody, progress: Progress, memory: Option<ReservedMemory>) -> BoxBody {
    progress.set_sending_body(true);
    BoxBody::new(LargeBody {
        source: body.try_into_bytes().map_or_else(Source::Stream, Source::Memory),
        progress,
        _memory: memory,
    })
}

struct LargeBody {
    source: Source,
    progress: Progress,
    _memory: Option<ReservedMemory>,
}

enum Source {
    /// The rest of a body in memory.
    Memory(Bytes),
    /// A body whose chunks are small already, such as a file that is read while it is sent.
    Stream(BoxBody),
}

impl MessageBody for LargeBody {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        match &self.source {
            Source::Memory(rest) => rest.size(),
            Source::Stream(body) => body.size(),
        }
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        match &mut self.source {
            Source::Memory(rest) if rest.is_empty() => Poll::Ready(None),
            Source::Memory(rest) => {
                let length = rest.len().min(SLICE_SIZE);
                Poll::Ready(Some(Ok(rest.split_to(length))))
            }
            Source::Stream(body) => Pin::new(body).poll_next(cx),
        }
    }
}

impl Drop for LargeBody {
    fn drop(&mut self) {
        self.progress.set_sending_body(false);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use actix_web::rt::System;

    use super::*;

    /// Returns the chunks of a body, and whether the connection counted as sending when each arrived.
    fn chunks(mut body: BoxBody, progress: &Progress) -> Vec<(Bytes, bool)> {
        System::new().block_on(async {
            let mut chunks = Vec::new();
            while let Some(chunk) = poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await {
                chunks.push((chunk.unwrap(), progress.is_sending_body()));
            }
            chunks
        })
    }

    #[test]
    fn a_large_body_is_sent_in_slices_and_counts_as_being_sent_until_it_is_dropped() {
        let bytes: Vec<u8> = (0..=255).cycle().take(2 * SLICE_SIZE + 1).collect();
        let progress = Progress::default();
        let body = in_slices(BoxBody::new(bytes.clone()), progress.clone(), None);
        assert_eq!(body.size(), BodySize::Sized(bytes.len() as u64));
        let chunks = chunks(body, &progress);
        assert_eq!(
            chunks.iter().map(|(chunk, _)| chunk.len()).collect::<Vec<_>>(),
            [SLICE_SIZE, SLICE_SIZE, 1]
        );
        assert!(chunks.iter().all(|(_, sending)| *sending));
        let sent: Vec<u8> = chunks.into_iter().flat_map(|(chunk, _)| chunk).collect();
        assert_eq!(sent, bytes);
        assert!(!progress.is_sending_body());
    }

    #[test]
    fn a_body_of_more_than_a_slice_is_large() {
        assert!(!is_large(&BoxBody::new(vec![b'x'; SLICE_SIZE])));
        assert!(is_large(&BoxBody::new(vec![b'x'; SLICE_SIZE + 1])));
    }
}

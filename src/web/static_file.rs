//! Files in memory, which are compressed for clients that accept gzip.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use actix_web::http::header::{AcceptEncoding, ContentEncoding, Encoding, Header, VARY};
use actix_web::web::{Bytes, block};
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::response_body::SharedBody;

/// A file whose bytes all responses share.
pub struct StaticFile {
    content_type: String,
    bytes: Bytes,
    /// The compressed bytes, once a client has requested them. `None` if they are not smaller.
    gzip: OnceLock<Option<Bytes>>,
}

impl StaticFile {
    #[must_use]
    pub fn new(content_type: String, bytes: Bytes) -> Arc<Self> {
        Arc::new(Self {
            content_type,
            bytes,
            gzip: OnceLock::new(),
        })
    }

    /// Returns a response with the file, compressed if the client accepts that. The first such response compresses the
    /// file on a thread that may block.
    pub async fn respond(self: Arc<Self>, request: &HttpRequest) -> HttpResponse {
        let mut response = self.response(request).await;
        response.extensions_mut().insert(SharedBody);
        response
    }

    async fn response(self: Arc<Self>, request: &HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        response.content_type(self.content_type.as_str());
        if self.content_type.starts_with("image/") {
            return response.body(self.bytes.clone());
        }
        response.insert_header((VARY, "Accept-Encoding"));
        if accepts_gzip(request)
            && let Some(gzip) = self.clone().gzip().await
        {
            return response.insert_header(ContentEncoding::Gzip).body(gzip);
        }
        response.body(self.bytes.clone())
    }

    async fn gzip(self: Arc<Self>) -> Option<Bytes> {
        if let Some(gzip) = self.gzip.get() {
            return gzip.clone();
        }
        let compressed = block(move || self.gzip.get_or_init(|| compress(&self.bytes)).clone()).await;
        // If the compression could not run on a thread, the file is sent uncompressed.
        compressed.ok().flatten()
    }
}

fn accepts_gzip(request: &HttpRequest) -> bool {
    let supported = [Encoding::gzip(), Encoding::identity()];
    AcceptEncoding::parse(request).is_ok_and(|accepted| accepted.negotiate(supported.iter()) == Some(Encoding::gzip()))
}

/// Returns the compressed bytes, or `None` if they are not smaller.
fn compress(bytes: &[u8]) -> Option<Bytes> {
    let compressed = || -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes)?;
        encoder.finish()
    };
    // Writing to memory does not fail.
    let compressed = compressed().ok()?;
    (compressed.len() < bytes.len()).then(|| compressed.into())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::ACCEPT_ENCODING;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn gzip_is_sent_only_to_clients_that_accept_it() {
        let accepts = |lines: &[&str]| {
            let request = lines.iter().fold(TestRequest::default(), |request, line| {
                request.append_header((ACCEPT_ENCODING, *line))
            });
            accepts_gzip(&request.to_http_request())
        };
        for lines in [
            &["gzip"] as &[_],
            &["gzip, deflate, br, zstd"],
            &["br;q=1, GZIP;q=0.5"],
            &["br", "gzip"],
            &["gzip, identity;q=0.5"],
            &["gzip, *;q=0"],
        ] {
            assert!(accepts(lines), "{lines:?}");
        }
        for lines in [
            &[] as &[_],
            &[""],
            &["identity"],
            &["br"],
            &["gzip;q=0"],
            &["gzip;q=0.000, *"],
            &["gzip;q=0.5, identity"],
            &["gzipped"],
        ] {
            assert!(!accepts(lines), "{lines:?}");
        }
    }

    #[test]
    fn bytes_that_do_not_shrink_stay_as_they_are() {
        assert!(compress(b"x").is_none());
        assert!(compress(&[b'x'; 1000]).is_some_and(|compressed| compressed.len() < 100));
    }
}

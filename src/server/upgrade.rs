//! Hides requests for an upgrade of the connection from actix.
//!
//! This server offers no other protocol, so it ignores such requests, as RFC 9110, section 7.8, allows. Actix does not:
//! its response says `Connection: upgrade`, it closes the connection, and after `Upgrade: websocket` it takes
//! everything that follows as the body. Clients that request an upgrade by default, such as Java's `HttpClient`, would
//! lose their connection after each request. Actix has no setting for this. [`UpgradeFilter`] therefore overwrites the
//! end of the option `upgrade` in `Connection` and the value of `Upgrade` before actix parses them.
//!
//! The filter must know where a head begins, so it follows the lengths of bodies. It may be less strict than actix: if
//! actix rejects a request, it parses nothing that follows.

use memchr::memchr;

const CONNECTION: &[u8] = b"connection";
const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";
const UPGRADE: &[u8] = b"upgrade";
/// The headers that matter.
const NAMES: [&[u8]; 4] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE];

/// A filter for the bytes that one connection receives. They may arrive in pieces of any size.
#[derive(Default)]
pub struct UpgradeFilter {
    state: State,
    /// The body that follows the current head.
    body: Body,
    /// Whether the last request that has begun is a HEAD request. No other registered method begins
    /// with `H`; the rejection of an unknown one has no body either.
    is_head: bool,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Default)]
enum State {
    /// The first line of a request, or an empty line before it.
    #[default]
    Start,
    /// The rest of a line in a head that does not matter.
    Line,
    /// The name of a header. The bytes before are the first `matched` bytes of `name`.
    Name { name: &'static [u8], matched: usize },
    /// The value of `Connection`. `matched` is the length of the current option if it is a beginning of `upgrade`.
    Connection { matched: Option<usize> },
    /// The value of `Upgrade`.
    Upgrade,
    /// The value of `Content-Length`.
    ContentLength,
    /// A body without chunks that has this many bytes left.
    Body(u64),
    /// The length of a chunk. Its digits so far have this value.
    ChunkLength(u64),
    /// The rest of the line with the length of a chunk, which is this number.
    ChunkExtension(u64),
    /// A chunk that has this many bytes left, with the line break that ends it.
    Chunk(u64),
    /// The beginning of a line after the last chunk.
    TrailerStart,
    /// The rest of a line after the last chunk.
    Trailer,
}

#[derive(Clone, Copy)]
enum Body {
    Length(u64),
    Chunks,
}

impl Default for Body {
    fn default() -> Self {
        Self::Length(0)
    }
}

impl UpgradeFilter {
    /// Processes the next bytes of the connection, and changes those that would make actix upgrade it.
    pub fn filter(&mut self, mut bytes: &mut [u8]) {
        while let Some(byte) = bytes.first_mut() {
            let length = match self.state {
                State::Start if !matches!(byte, b'\r' | b'\n') => {
                    self.is_head = *byte == b'H';
                    self.state = State::Line;
                    self.skip_line(bytes)
                }
                State::Name { matched: 0, .. } if !may_matter(*byte) => self.skip_other_headers(bytes),
                State::Line | State::ChunkExtension(_) | State::Trailer => self.skip_line(bytes),
                State::Body(left) | State::Chunk(left) => self.skip_body(left, bytes.len()),
                _ => {
                    self.state = self.after(byte);
                    1
                }
            };
            bytes = &mut bytes[length..];
        }
    }

    /// Returns whether the last request that has begun is a HEAD request.
    pub fn is_head(&self) -> bool {
        self.is_head
    }

    /// Skips headers that do not matter, and the end of the head if it follows. Returns how many of the bytes belong to
    /// them. Most headers differ from those that matter in the first letter. This is faster than to compare the names.
    fn skip_other_headers(&mut self, bytes: &[u8]) -> usize {
        let mut skipped = 0;
        while let Some(first) = bytes.get(skipped)
            && !may_matter(*first)
        {
            let Some(end) = memchr(b'\n', &bytes[skipped..]) else {
                self.state = State::Line;
                return bytes.len();
            };
            skipped += end + 1;
        }
        if bytes[skipped..].starts_with(b"\r\n") {
            self.state = self.after_head();
            skipped += 2;
        }
        skipped
    }

    /// Skips the current line, and returns how many of the bytes belong to it.
    fn skip_line(&mut self, bytes: &[u8]) -> usize {
        let Some(end) = memchr(b'\n', bytes) else {
            return bytes.len();
        };
        self.state = match self.state {
            State::ChunkExtension(length) => State::after_chunk_length(length),
            State::Trailer => State::TrailerStart,
            _ => State::LINE_START,
        };
        end + 1
    }

    /// Skips a body or chunk that has `left` bytes left, and returns how many of the next `available` bytes belong to
    /// it.
    fn skip_body(&mut self, left: u64, available: usize) -> usize {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        let left = left - length as u64;
        self.state = match self.state {
            State::Chunk(_) if left == 0 => State::ChunkLength(0),
            State::Chunk(_) => State::Chunk(left),
            _ if left == 0 => State::Start,
            _ => State::Body(left),
        };
        length
    }

    /// Returns the state after a byte, and overwrites the byte if it would make actix upgrade the connection.
    fn after(&mut self, byte: &mut u8) -> State {
        match (self.state, *byte) {
            (State::Start, b'\r' | b'\n') | (State::TrailerStart, b'\n') => State::Start,
            (State::Name { matched: 0, .. }, b'\n') => self.after_head(),
            (State::Connection { .. } | State::Upgrade | State::ContentLength, b'\n') => State::LINE_START,
            (State::Name { matched: 0, .. } | State::TrailerStart | State::Upgrade, b'\r')
            | (State::Body(_) | State::Chunk(_) | State::ChunkExtension(_), _) => self.state,
            (State::Name { name, matched }, b':') if matched == name.len() => self.begin_value(name),
            (State::Name { name, matched }, other) => State::after_name(name, matched, other.to_ascii_lowercase()),
            (State::Connection { matched }, _) => State::Connection {
                matched: after_option(matched, byte),
            },
            (State::Upgrade, _) => {
                *byte = b' ';
                State::Upgrade
            }
            (State::ContentLength, other) => {
                self.add_digit(other);
                State::ContentLength
            }
            (State::ChunkLength(length), b'\n') => State::after_chunk_length(length),
            (State::ChunkLength(length), other) => match char::from(other).to_digit(16) {
                Some(digit) => State::ChunkLength(length.saturating_mul(16).saturating_add(digit.into())),
                None => State::ChunkExtension(length),
            },
            (State::TrailerStart | State::Trailer, _) => State::Trailer,
            (State::Start | State::Line, _) => State::Line,
        }
    }

    fn begin_value(&mut self, name: &[u8]) -> State {
        match name {
            CONNECTION => State::Connection { matched: Some(0) },
            UPGRADE => State::Upgrade,
            CONTENT_LENGTH => State::ContentLength,
            _ => {
                // Actix rejects every other transfer encoding.
                self.body = Body::Chunks;
                State::Line
            }
        }
    }

    fn add_digit(&mut self, digit: u8) {
        if let (Body::Length(length), Some(digit)) = (&mut self.body, char::from(digit).to_digit(10)) {
            *length = length.saturating_mul(10).saturating_add(digit.into());
        }
    }

    fn after_head(&mut self) -> State {
        match std::mem::take(&mut self.body) {
            Body::Length(0) => State::Start,
            Body::Length(length) => State::Body(length),
            Body::Chunks => State::ChunkLength(0),
        }
    }
}

/// Returns whether a line of a head that begins with this byte can be the end of the head or a header that matters.
fn may_matter(byte: u8) -> bool {
    matches!(byte.to_ascii_lowercase(), b'c' | b't' | b'u' | b'\r' | b'\n')
}

impl State {
    const LINE_START: Self = Self::Name {
        name: CONNECTION,
        matched: 0,
    };

    /// Returns the state after the first `matched` bytes of `name` and one more byte, in lower case.
    fn after_name(name: &'static [u8], matched: usize, byte: u8) -> Self {
        let continues = |other: &&[u8]| other.get(matched) == Some(&byte) && other[..matched] == name[..matched];
        match NAMES.into_iter().find(continues) {
            Some(name) => Self::Name {
                name,
                matched: matched + 1,
            },
            None if byte == b'\n' => Self::LINE_START,
            None => Self::Line,
        }
    }

    fn after_chunk_length(length: u64) -> Self {
        match length {
            0 => Self::TrailerStart,
            // A line break follows each chunk.
            length => Self::Chunk(length.saturating_add(2)),
        }
    }
}

/// Returns how much of `upgrade` an option of `Connection` matches after one more byte. Overwrites the last letter of
/// `upgrade`, which turns it into an unknown option.
fn after_option(matched: Option<usize>, byte: &mut u8) -> Option<usize> {
    if matches!(*byte, b',' | b' ' | b'\t') {
        return Some(0);
    }
    let matched = matched.filter(|matched| UPGRADE.get(*matched) == Some(&byte.to_ascii_lowercase()))? + 1;
    if matched < UPGRADE.len() {
        return Some(matched);
    }
    *byte = b'-';
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns `text` after it has passed the filter in pieces of `size` bytes.
    fn in_pieces(text: &str, size: usize) -> String {
        let mut filter = UpgradeFilter::default();
        let mut bytes = text.as_bytes().to_vec();
        bytes.chunks_mut(size).for_each(|piece| filter.filter(piece));
        String::from_utf8(bytes).unwrap()
    }

    /// Asserts that the filter turns `text` into `expected`, in whatever pieces the text arrives.
    #[track_caller]
    fn assert_filtered(text: &str, expected: &str) {
        for size in 1..=text.len() {
            assert_eq!(in_pieces(text, size), expected, "in pieces of {size} bytes");
        }
    }

    #[test]
    fn requests_for_an_upgrade_are_overwritten() {
        for (line, expected) in [
            (
                "Connection: Upgrade, HTTP2-Settings",
                "Connection: Upgrad-, HTTP2-Settings",
            ),
            ("CONNECTION:keep-alive,\tUPGRADE", "CONNECTION:keep-alive,\tUPGRAD-"),
            ("connection: upgrade,upgrade", "connection: upgrad-,upgrad-"),
            ("Upgrade: h2c, websocket", "Upgrade:               "),
            ("upgrade:websocket", "upgrade:         "),
        ] {
            for end in ["\r\n", "\n"] {
                let request = |line| format!("GET / HTTP/1.1{end}Host: x{end}{line}{end}Accept: y{end}{end}");
                assert_filtered(&request(line), &request(expected));
            }
        }
    }

    #[test]
    fn other_bytes_are_not_changed() {
        let unchanged = "\r\nGET /upgrade HTTP/1.1\r\nHost: upgrade\r\nConnection: keep-alive, up, x-upgrade, close\r\n\
            Upgrade-Insecure-Requests: 1\r\nUpgrades: h2c\r\nX-Upgrade: h2c\r\nConnections: upgrade\r\nConn: upgrade\r\n\
            Content-Type: upgrade\r\nUser-Agent: Connection: upgrade\r\nUp\r\n: upgrade\r\n\r\n";
        assert_filtered(unchanged, unchanged);
    }

    #[test]
    fn bodies_are_not_changed_and_the_next_head_is_found() {
        let head = "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
        let filtered = "Connection: Upgrad-\r\nUpgrade:    \r\n\r\n";
        let length = head.len();
        let bodies = [
            String::new(),
            "Content-Length: 0\r\n\r\n".to_owned(),
            format!("Content-Length: {length}\r\n\r\n{head}"),
            format!("content-length:{length}\r\nX: 9\r\n\r\n{head}"),
            format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{head}\r\n1;a=b\r\nU\r\n0\r\n\r\n"),
            format!("Transfer-Encoding: chunked\r\n\r\n{length:X} \r\n{head}\r\n0;x\r\nUpgrade: h2c\r\n\r\n"),
        ];
        for body in bodies {
            let body = if body.is_empty() { "\r\n" } else { &body };
            let first = format!("POST / HTTP/1.1\r\n{body}");
            assert_filtered(
                &format!("{first}GET / HTTP/1.1\r\n{head}"),
                &format!("{first}GET / HTTP/1.1\r\n{filtered}"),
            );
        }
    }

    #[test]
    fn nonsense_does_not_panic() {
        for text in [
            "Content-Length: 99999999999999999999999\r\n\r\nx",
            "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffff\r\nx",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n\r\n\r\n",
            "\r\n\r\n\r\n",
            ":\r\n:::\n\n\u{0}connectionconnection: \u{e9}",
        ] {
            let request = format!("GET / HTTP/1.1\r\n{text}");
            assert_filtered(&request, &request);
        }
    }
}

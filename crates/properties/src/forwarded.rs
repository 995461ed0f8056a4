//! The client's address behind proxies. The first line of an input contains the peer's address and the networks of
//! trusted proxies, separated by spaces. The second line is a text that a client could send to spoof its address. The
//! checks put this text in front of a forwarding header's value, and use it as a host. The other lines are headers.

use std::net::IpAddr;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::Data;
use ipnet::IpNet;
use shoko_auth::web::address::{TrustedProxies, request_context};

use super::request::{Headers, headers, request};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// Checks one request.
pub fn check(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let route = lines
        .next()
        .and_then(|line| str::from_utf8(line).ok())
        .unwrap_or_default();
    let mut words = route.split_ascii_whitespace();
    let Some(peer) = words.next().and_then(|word| word.parse().ok()) else {
        return;
    };
    let networks = words.filter_map(|word| word.parse().ok()).collect();
    let spoofed = lines.next().unwrap_or_default();
    let sample = Sample {
        peer,
        networks,
        headers: headers(lines),
    };
    let client = sample.client();
    assert_eq!(client, client.to_canonical());
    assert!(sample.names(client), "{client} is not in the request");
    let peer = peer.to_canonical();
    if sample.trusts(peer) {
        check_last_hop(&sample, client, peer, spoofed);
        if !sample.trusts(client) {
            check_text_before_client(&sample, client, spoofed);
        }
    } else {
        assert_eq!(client, peer, "headers of an untrusted peer are ignored");
    }
}

#[derive(Clone)]
struct Sample {
    peer: IpAddr,
    networks: Vec<IpNet>,
    headers: Headers,
}

impl Sample {
    fn client(&self) -> IpAddr {
        let proxies = Data::new(TrustedProxies::new(self.networks.clone()));
        let request = request(&self.headers)
            .app_data(proxies)
            .peer_addr((self.peer, 4711).into());
        request_context(&request.to_http_request()).address.unwrap()
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Returns whether `address` is the peer's address or is in a header.
    fn names(&self, address: IpAddr) -> bool {
        let is_it = |text: &str| text.parse().is_ok_and(|ip: IpAddr| ip.to_canonical() == address);
        let values = self.headers.iter().map(|(_, value)| value.as_bytes());
        let words = values.flat_map(|value| value.split(|byte| b",;=\"[] \t".contains(byte)));
        let mut texts = words.filter_map(|word| str::from_utf8(word).ok());
        self.peer.to_canonical() == address
            || texts.any(|text| is_it(text.trim()) || text.trim().rsplit_once(':').is_some_and(|(ip, _)| is_it(ip)))
    }

    /// Adds another `X-Forwarded-For` line with `hop` if the request has this header, and another `Forwarded` line with
    /// `pairs` if it has that header. `place` determines whether the new lines come before or after all others.
    fn with(&self, place: LinePosition, hop: &str, pairs: &str) -> Self {
        let mut sample = self.clone();
        for (name, value) in [(X_FORWARDED_FOR, hop), (FORWARDED, pairs)] {
            if self.headers.iter().any(|header| header.0 == name) {
                let line = (name, HeaderValue::from_str(value).unwrap());
                match place {
                    LinePosition::InFront => sample.headers.insert(0, line),
                    LinePosition::Behind => sample.headers.push(line),
                }
            }
        }
        sample
    }

    fn is_forwarded(&self) -> bool {
        let is_it = |(name, _): &(HeaderName, _)| [X_FORWARDED_FOR, FORWARDED].contains(name);
        self.headers.iter().any(is_it)
    }
}

#[derive(Clone, Copy)]
enum LinePosition {
    InFront,
    Behind,
}

/// Returns the pair that names a hop in `Forwarded`.
fn pair(hop: IpAddr) -> String {
    match hop {
        IpAddr::V4(ip) => format!("for={ip}"),
        IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
    }
}

/// Checks that hops are read from the last one backward:
///
/// - If the last hop is a trusted address, the client's address does not change.
/// - If the last hop is the word `unknown`, the client's address is the peer's.
/// - If the last hop is an untrusted address, that is the client's address.
/// - If the last hop also has a `host=` that the client chose, the client's address is that hop's or the peer's, but
///   never one that the client chose.
fn check_last_hop(sample: &Sample, client: IpAddr, peer: IpAddr, spoofed: &[u8]) {
    let behind = |hop: &str, pairs: &str| sample.with(LinePosition::Behind, hop, pairs).client();
    assert_eq!(
        behind(&peer.to_string(), &pair(peer)),
        client,
        "with the trusted hop {peer} at the end"
    );
    assert_eq!(behind("unknown", "for=unknown"), peer, "with an unknown hop at the end");
    let stranger = |ip: &IpAddr| !sample.trusts(*ip);
    let strangers = ["203.0.113.7", "2001:db8::7"].map(|text| text.parse().unwrap());
    for stranger in strangers.into_iter().filter(stranger).filter(|_| sample.is_forwarded()) {
        assert_eq!(behind(&stranger.to_string(), &pair(stranger)), stranger);
        for host in hosts(spoofed) {
            let found = behind(&stranger.to_string(), &format!("{};host={host}", pair(stranger)));
            assert!([stranger, peer].contains(&found), "{found} instead of {stranger}");
        }
    }
}

/// Returns the host that a client sent, in the forms in which proxies pass it on: with quotes, or incorrectly without
/// quotes. If the host contains a comma, the form without quotes is left out, because the text after the comma would
/// look like another hop.
fn hosts(spoofed: &[u8]) -> impl Iterator<Item = String> {
    let text = str::from_utf8(spoofed).ok();
    let text = text.filter(|text| HeaderValue::from_str(text).is_ok());
    let quoted = text.filter(|text| !text.contains(['"', '\\']));
    let bare = text.filter(|text| !text.contains(','));
    let quoted = quoted.map(|text| format!("\"{text}\""));
    quoted.into_iter().chain(bare.map(ToOwned::to_owned))
}

/// Checks that a client cannot choose its address by sending forwarding headers itself. At worst, it is taken for a
/// trusted proxy.
fn check_text_before_client(sample: &Sample, client: IpAddr, spoofed: &[u8]) {
    let strangers: [IpAddr; 2] = ["198.51.100.9", "2001:db8::9"].map(|text| text.parse().unwrap());
    for spoofed in strangers {
        let now = sample
            .with(LinePosition::InFront, &spoofed.to_string(), &pair(spoofed))
            .client();
        assert_eq!(now, client, "with {spoofed} in front");
    }
    let mut sample = sample.clone();
    for name in [X_FORWARDED_FOR, FORWARDED] {
        if let Some((_, value)) = sample.headers.iter_mut().find(|header| header.0 == name) {
            let line = [spoofed, b",", value.as_bytes()].concat();
            let Ok(line) = HeaderValue::from_bytes(&line) else {
                return;
            };
            *value = line;
        }
    }
    let now = sample.client();
    assert!(now == client || sample.trusts(now), "{now} instead of {client}");
}

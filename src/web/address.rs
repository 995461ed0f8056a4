//! The client's address, and all else that is known of where a request comes from.
//!
//! The peer is the client, unless it is a proxy whose word is taken: then its headers are followed from the last hop
//! backwards, as long as each hop is such a proxy, too. What stands before the first hop that is none, anybody may have
//! written.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::dev::Payload;
use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use ipnet::IpNet;
use rfc7239::{NodeIdentifier, NodeName};

use super::trace::trace_id;
use crate::model::RequestContext;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whose headers are believed.
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// Whether somebody was told already that a header is not.
    warned: AtomicBool,
}

impl TrustedProxies {
    /// These networks; all addresses of none.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self {
            networks,
            warned: AtomicBool::new(false),
        }
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The address of the client behind `peer`.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        let (forwarded, forwarded_for) = (forwarded(headers), x_forwarded_for(headers));
        if !self.contain(peer) {
            let any = forwarded.is_some() || forwarded_for.is_some();
            if any && !self.warned.swap(true, Ordering::Relaxed) {
                log::warn!(
                    "a request from {peer} says whom it is forwarded for, and is not believed. If that is your proxy, \
                     name it in SHOKO_AUTH_TRUSTED_PROXIES: until then all users behind it count as one client, and \
                     one who guesses passwords makes all of them wait"
                );
            }
            return peer;
        }
        let walk = |hops: Option<Vec<Option<IpAddr>>>| hops.map(|hops| self.walk(peer, &hops));
        match (walk(forwarded), walk(forwarded_for)) {
            (None, None) => peer,
            (Some(address), None) | (None, Some(address)) => address,
            // A proxy that sets one header lets the other through as anybody sent it.
            (Some(one), Some(other)) => {
                if one == other {
                    one
                } else {
                    peer
                }
            }
        }
    }

    /// From the last hop backwards to the first that is not trusted; or that cannot be read: then whoever wrote it.
    fn walk(&self, peer: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
        let mut client = peer;
        for hop in hops.iter().rev() {
            let Some(hop) = hop else { return client };
            client = *hop;
            if !self.contain(client) {
                return client;
            }
        }
        client
    }
}

/// The hops of `X-Forwarded-For`, the last one last; `None`: there is no such header.
fn x_forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let mut values = headers.get_all(X_FORWARDED_FOR).peekable();
    values.peek()?;
    // By bytes, so that what is no text in one hop does not hide the next.
    let hops = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let read = |hop| str::from_utf8(hop).ok().and_then(|hop| read_address(hop.trim()));
    Some(hops.map(read).collect())
}

/// The same of `Forwarded` (RFC 7239).
fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let mut values = headers.get_all(FORWARDED).peekable();
    values.peek()?;
    let lines: Vec<String> = values
        .map(|value| value.to_str().ok().and_then(unambiguous).unwrap_or_default())
        .collect();
    let address = |node: NodeIdentifier<'_>| match node.name {
        NodeName::Ip(address) => Some(address.to_canonical()),
        _ => None,
    };
    let elements = lines.iter().flat_map(|line| rfc7239::parse(line));
    Some(
        elements
            .map(|element| element.ok()?.forwarded_for.and_then(address))
            .collect(),
    )
}

/// A header in the way in which the library reads it right, if it is one: it looks for commas and semicolons in quoted
/// texts, too, where a client may have put them, minds a blank behind a semicolon, and takes the last of several `for`.
fn unambiguous(line: &str) -> Option<String> {
    let mut quoted = line.split('"').skip(1).step_by(2);
    let is_even = line.matches('"').count().is_multiple_of(2);
    if !is_even || quoted.any(|text| text.contains([',', ';', '\\'])) {
        return None;
    }
    let is_for = |pair: &&str| pair.trim().to_ascii_lowercase().starts_with("for=");
    let elements = line.split(',').map(|element| element.split(';').filter(is_for).count());
    if elements.into_iter().any(|count| count > 1) {
        return None;
    }
    let pairs = line.split(';').map(str::trim).filter(|pair| !pair.is_empty());
    Some(pairs.collect::<Vec<_>>().join(";"))
}

/// An address, with or without a port.
fn read_address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = text.parse().ok().or_else(with_port).or_else(in_brackets);
    address.map(|address: IpAddr| address.to_canonical())
}

/// What a connection knows: set when its client has gone away.
pub struct Departure(pub Arc<AtomicBool>);

/// Where this request comes from.
#[must_use]
pub fn request_context(request: &HttpRequest) -> RequestContext {
    let proxies = request.app_data::<Data<TrustedProxies>>();
    // Whoever it is that cannot be told, counts as one.
    let peer = request
        .peer_addr()
        .map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip());
    let address = proxies.map_or(peer, |proxies| proxies.client(peer, request.headers()));
    let departure = request.conn_data::<Departure>();
    RequestContext {
        address: Some(address),
        trace: Some(trace_id(request)),
        client_disconnected: departure.map(|departure| departure.0.clone()).unwrap_or_default(),
    }
}

impl FromRequest for RequestContext {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(request_context(request)))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn client(peer: &str, headers: &[(&str, &str)]) -> String {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap());
        let proxies = TrustedProxies::new(networks.into());
        let request = headers
            .iter()
            .fold(TestRequest::default(), |request, header| request.append_header(*header));
        proxies
            .client(peer.parse().unwrap(), request.to_http_request().headers())
            .to_string()
    }

    #[test]
    fn headers_of_a_peer_that_is_not_trusted_change_nothing() {
        for header in [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1")] {
            assert_eq!(client("203.0.113.7", &[header]), "203.0.113.7");
        }
    }

    #[test]
    fn trusted_hops_are_walked_from_the_right() {
        for (value, address) in [
            ("192.0.2.1", "192.0.2.1"),
            ("198.51.100.9, 192.0.2.1", "192.0.2.1"),
            ("192.0.2.1, 10.0.0.2, fd00::3", "192.0.2.1"),
            ("198.51.100.9, 192.0.2.1:4711,10.0.0.2", "192.0.2.1"),
            ("[2001:db8::1]:4711, 10.0.0.2", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
            ("192.0.2.1, unknown", "10.0.0.1"),
            ("192.0.2.1, nonsense, 10.0.0.2", "10.0.0.2"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[("X-Forwarded-For", value)]), address, "{value}");
        }
        assert_eq!(
            client("::ffff:10.0.0.1", &[("X-Forwarded-For", "192.0.2.1")]),
            "192.0.2.1"
        );
        let request = TestRequest::default();
        let bytes = actix_web::http::header::HeaderValue::from_bytes(b"\xff, 192.0.2.1").unwrap();
        let request = request.append_header((X_FORWARDED_FOR, bytes)).to_http_request();
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(
            proxies
                .client("10.0.0.1".parse().unwrap(), request.headers())
                .to_string(),
            "192.0.2.1"
        );
        let lines = [
            ("X-Forwarded-For", "198.51.100.9"),
            ("X-Forwarded-For", "192.0.2.1, 10.0.0.2"),
        ];
        assert_eq!(client("10.0.0.1", &lines), "192.0.2.1");
    }

    #[test]
    fn forwarded_is_walked_likewise() {
        for (value, address) in [
            ("for=192.0.2.1", "192.0.2.1"),
            (
                "for=198.51.100.9, For=\"[2001:db8::1]:4711\";proto=https, for=10.0.0.2",
                "2001:db8::1",
            ),
            ("for=192.0.2.1, for=_hidden", "10.0.0.1"),
            ("for=192.0.2.1, proto=https", "10.0.0.1"),
            ("nonsense", "10.0.0.1"),
            ("proto=https; for=192.0.2.1;", "192.0.2.1"),
            ("for=192.0.2.1;host=\"a;for=198.51.100.9\";proto=https", "10.0.0.1"),
            ("for=192.0.2.1;host=\"a,for=198.51.100.9\"", "10.0.0.1"),
            ("for=192.0.2.1;for=198.51.100.9", "10.0.0.1"),
            ("for=192.0.2.1;host=\"", "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[("Forwarded", value)]), address, "{value}");
        }
    }

    #[test]
    fn two_headers_that_disagree_are_not_believed() {
        let both = |one, other| client("10.0.0.1", &[("X-Forwarded-For", one), ("Forwarded", other)]);
        assert_eq!(both("192.0.2.1", "for=192.0.2.1"), "192.0.2.1");
        assert_eq!(both("192.0.2.1", "for=198.51.100.9"), "10.0.0.1");
    }
}

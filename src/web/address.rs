//! The context of a request, above all the client's address.
//!
//! The client is the peer of the connection. If that peer is a trusted proxy, the headers that proxies set are followed
//! backward from their last hop. The first hop found that is not a trusted proxy is the client. Everything before that
//! hop may be forged.

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

/// The proxies whose headers are trusted.
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// Whether the warning about an untrusted peer has been logged. It is logged only once.
    warned: AtomicBool,
}

impl TrustedProxies {
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self {
            networks,
            warned: AtomicBool::new(false),
        }
    }

    /// Returns whether `address`, in its canonical form, is that of a trusted proxy.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Returns the client's address. If `peer` is a trusted proxy, `headers` determine the address. Otherwise it is
    /// `peer` itself.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        let (forwarded, forwarded_for) = (forwarded(headers), x_forwarded_for(headers));
        if !self.contains(peer) {
            let any = forwarded.is_some() || forwarded_for.is_some();
            if any && !self.warned.swap(true, Ordering::Relaxed) {
                log::warn!(
                    "ignoring the forwarded address in a request from the untrusted peer {peer}. If this peer is your \
                     proxy, add it to SHOKO_AUTH_TRUSTED_PROXIES: until then all users behind it count as one client, \
                     and if one of them guesses passwords, all of them have to wait"
                );
            }
            return peer;
        }
        let follow = |hops: Option<Vec<Option<IpAddr>>>| hops.map(|hops| self.client_of(peer, &hops));
        match (follow(forwarded), follow(forwarded_for)) {
            (None, None) => peer,
            (Some(address), None) | (None, Some(address)) => address,
            // A proxy that sets one of the headers may pass the other on as the client sent it. If the two headers
            // report different addresses, one of them may be forged, so neither is used.
            (Some(one), Some(other)) => {
                if one == other {
                    one
                } else {
                    peer
                }
            }
        }
    }

    /// Returns the last hop that is not a trusted proxy, or the first hop if all are trusted. A hop that cannot be
    /// parsed (`None`) ends the search; the result is then the proxy that reported this hop.
    fn client_of(&self, peer: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
        let mut client = peer;
        for hop in hops.iter().rev() {
            let Some(hop) = hop else { return client };
            client = *hop;
            if !self.contains(client) {
                return client;
            }
        }
        client
    }
}

/// Returns the hops of `X-Forwarded-For` in order, or `None` if there is no such header. A hop that cannot be parsed is
/// `None`.
fn x_forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let mut values = headers.get_all(X_FORWARDED_FOR).peekable();
    values.peek()?;
    // Split as bytes, so that a hop that is not text does not hide the others.
    let hops = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let parse = |hop| str::from_utf8(hop).ok().and_then(|hop| parse_address(hop.trim()));
    Some(hops.map(parse).collect())
}

/// Returns the hops of `Forwarded` (RFC 7239) in order, or `None` if there is no such header. A hop that cannot be
/// parsed is `None`.
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

/// Returns the header in a form that the crate `rfc7239` reads as the standard specifies, or `None` if there is no such
/// form. The crate deviates from the standard in three ways:
///
/// - It splits quoted strings at commas and semicolons, which a client may have put there. For such a header, this
///   function returns `None`.
/// - If an element contains several `for` parameters, it takes the last one. For such a header, this function returns
///   `None`.
/// - It rejects blanks after semicolons. This function removes them.
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

/// Parses an address with or without a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = text.parse().ok().or_else(with_port).or_else(in_brackets);
    address.map(|address: IpAddr| address.to_canonical())
}

/// A connection's flag that is set once the client has closed the connection or will send no more.
pub struct ClientDisconnected(pub Arc<AtomicBool>);

/// Returns the context of a request.
#[must_use]
pub fn request_context(request: &HttpRequest) -> RequestContext {
    let proxies = request.app_data::<Data<TrustedProxies>>();
    // All peers without an address count as one client.
    let peer = request
        .peer_addr()
        .map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip());
    let address = proxies.map_or(peer, |proxies| proxies.client(peer, request.headers()));
    let disconnected = request.conn_data::<ClientDisconnected>();
    RequestContext {
        address: Some(address),
        trace: Some(trace_id(request)),
        client_disconnected: disconnected.map(|flag| flag.0.clone()).unwrap_or_default(),
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
    fn headers_from_an_untrusted_peer_are_ignored() {
        for header in [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1")] {
            assert_eq!(client("203.0.113.7", &[header]), "203.0.113.7");
        }
    }

    #[test]
    fn trusted_hops_are_followed_from_the_right() {
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
    fn forwarded_hops_are_followed_from_the_right() {
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
    fn two_headers_that_disagree_are_ignored() {
        let both = |one, other| client("10.0.0.1", &[("X-Forwarded-For", one), ("Forwarded", other)]);
        assert_eq!(both("192.0.2.1", "for=192.0.2.1"), "192.0.2.1");
        assert_eq!(both("192.0.2.1", "for=198.51.100.9"), "10.0.0.1");
    }
}

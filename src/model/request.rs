//! Requests: their callers, their context and the networks of their clients.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ipnet::IpNet;

use super::KeyHolder;

/// The circumstances of a request: the client's address, the trace id, and whether the client is still connected. The
/// default stands for the command line.
#[derive(Clone, Debug, Default)]
pub struct RequestContext {
    /// The client's address.
    pub address: Option<IpAddr>,
    pub trace: Option<TraceId>,
    /// Set when the client has closed its connection.
    pub client_disconnected: Arc<AtomicBool>,
}

impl RequestContext {
    #[must_use]
    pub fn is_client_disconnected(&self) -> bool {
        self.client_disconnected.load(Ordering::Relaxed)
    }
}

/// The holder of the valid key that a request presents, and the context of that request.
#[derive(Clone, Debug)]
pub struct Caller {
    pub holder: Arc<KeyHolder>,
    pub context: RequestContext,
    /// Whether the request also contains the user's current password, which has been checked.
    pub has_password: bool,
}

impl Caller {
    /// Creates the caller of a request that has presented only a key.
    #[must_use]
    pub fn new(holder: Arc<KeyHolder>, context: RequestContext) -> Self {
        Self {
            holder,
            context,
            has_password: false,
        }
    }
}

/// The initiator of an operation. The initiator's permissions decide whether the operation is allowed.
#[derive(Clone, Copy, Debug)]
pub enum Actor<'a> {
    /// The command line, which may do everything.
    Operator,
    Caller(&'a Caller),
}

impl Actor<'_> {
    /// Returns the context of the request, or the default for the command line.
    #[must_use]
    pub fn context(&self) -> RequestContext {
        match self {
            Self::Operator => RequestContext::default(),
            Self::Caller(caller) => caller.context.clone(),
        }
    }
}

impl<'a> From<&'a Caller> for Actor<'a> {
    fn from(caller: &'a Caller) -> Self {
        Self::Caller(caller)
    }
}

/// The id by which clients, proxies and logs refer to a request (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId {
    /// Identifies the whole chain of requests.
    pub trace: u128,
    /// Identifies this request.
    pub span: u64,
    /// The flags as received.
    pub flags: u8,
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// A client's network: addresses that one party controls and that share one login limit. It is a single IPv4 address,
/// or the /64 that an IPv6 subscriber usually gets. [`Self::wider`] returns larger networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Returns the network that contains `address`.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let bits = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 64,
        };
        Self::with_prefix(address, bits)
    }

    /// Returns the wider networks that contain this one and have limits of their own, from narrow to wide: the /56 and
    /// the /48 of an IPv6 network. One party may control that many addresses. An IPv4 address has no wider network.
    pub fn wider(self) -> impl Iterator<Item = Self> {
        let prefixes: &[u8] = match self.0 {
            IpNet::V4(_) => &[],
            IpNet::V6(_) => &[56, 48],
        };
        let wider = prefixes.iter().filter(move |bits| **bits < self.0.prefix_len());
        wider.map(move |bits| Self::with_prefix(self.0.addr(), *bits))
    }

    /// Returns the network whose [`Self::to_bytes`] are these. `None` if there is no such network.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (bits, prefix) = bytes.split_first()?;
        let address: IpAddr = if *bits == 32 {
            <[u8; 4]>::try_from(prefix).ok()?.into()
        } else {
            let mut address = [0; 16];
            address.get_mut(..prefix.len())?.copy_from_slice(prefix);
            address.into()
        };
        Some(Self::with_prefix(address, *bits)).filter(|network| network.to_bytes() == bytes)
    }

    /// Returns a compact form for the database: the prefix length, followed by the bytes of the prefix.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let bits = self.0.prefix_len();
        let prefix = match self.0.addr() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        std::iter::once(bits)
            .chain(prefix.into_iter().take(usize::from(bits / 8)))
            .collect()
    }

    fn with_prefix(address: IpAddr, bits: u8) -> Self {
        // No prefix length of this type exceeds its address length, so this cannot fail.
        let net = IpNet::new(address, bits).unwrap_or_else(|_| address.into());
        Self(net.trunc())
    }
}

impl FromStr for Network {
    type Err = &'static str;

    /// Parses an address, or a network with a limit of its own in the form that [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let of_address = |address: &str| address.parse().map(Self::of);
        if let Ok(network) = of_address(text) {
            return Ok(network);
        }
        let narrow = text.split_once('/').and_then(|(address, _)| of_address(address).ok());
        let mut networks = narrow
            .into_iter()
            .flat_map(|narrow| std::iter::once(narrow).chain(narrow.wider()));
        let named = networks.find(|network| text.parse().is_ok_and(|net: IpNet| net == network.0));
        named.ok_or("it must be an address, an IPv4 /32, or an IPv6 /64, /56 or /48 as in `throttle list`")
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_ipv4_address_or_64_bits_of_an_ipv6_address() {
        for (address, network) in [
            ("203.0.113.7", "203.0.113.7/32"),
            ("::ffff:203.0.113.7", "203.0.113.7/32"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(Network::of(address.parse().unwrap()).to_string(), network);
        }
    }

    #[test]
    fn only_an_ipv6_network_has_wider_networks() {
        let wider = |address: &str| {
            let wider = Network::of(address.parse().unwrap()).wider();
            wider.map(|network| network.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(wider("2001:db8:1:a2b::1"), ["2001:db8:1:a00::/56", "2001:db8:1::/48"]);
        assert!(wider("203.0.113.7").is_empty());
    }

    #[test]
    fn the_bytes_of_a_network_are_its_prefix_length_and_its_prefix() {
        let network = Network::of("2001:db8:1:a2b::1".parse().unwrap());
        assert_eq!(network.to_bytes(), [64, 0x20, 1, 0xd, 0xb8, 0, 1, 0xa, 0x2b]);
        let wider: Vec<_> = network.wider().map(Network::to_bytes).collect();
        assert_eq!(wider[0], [56, 0x20, 1, 0xd, 0xb8, 0, 1, 0xa]);
        assert_eq!(wider[1], [48, 0x20, 1, 0xd, 0xb8, 0, 1]);
        assert_eq!(Network::of([203, 0, 113, 7].into()).to_bytes(), [32, 203, 0, 113, 7]);
        for text in [
            "203.0.113.7/32",
            "2001:db8:1:2::/64",
            "2001:db8:1:a00::/56",
            "2001:db8:1::/48",
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), text);
            assert_eq!(Network::from_bytes(&network.to_bytes()), Some(network));
        }
        for bytes in [&[][..], &[32], &[32, 1], &[64, 1, 2], &[48; 40]] {
            assert_eq!(Network::from_bytes(bytes), None);
        }
        for text in ["203.0.113.0/24", "2001:db8::/32", "2001:db8:1::1/48", "x/64", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}

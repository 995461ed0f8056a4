use std::task::Waker;

use super::*;

const STRANGER: &str = "192.0.2.1";
const PROXY: &str = "10.0.0.1";

/// Connections of a process with 100 slots, on which a second passes with each call.
struct Fixture {
    connections: Arc<Connections>,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let connections = Connections::new(100, Arc::new(proxies));
        let now = connections.start;
        Self { connections, now }
    }

    fn tick(&mut self) -> Instant {
        self.now += Duration::from_secs(1);
        self.now
    }

    fn open(&mut self, address: &str) -> Option<Slot> {
        let now = self.tick();
        self.connections.open(address.parse().unwrap(), now)
    }

    fn open_many(&mut self, number: usize, address: impl Fn(usize) -> String) -> Vec<Slot> {
        let opened = (0..number).map(|each| self.open(&address(each)));
        opened.map(|slot| slot.expect("there is room")).collect()
    }

    fn taken(&self) -> usize {
        self.connections.lock().members.len()
    }
}

fn same(address: &str) -> impl Fn(usize) -> String {
    move |_| address.to_owned()
}

/// Returns an address in another network for each number.
fn different(number: usize) -> String {
    format!("198.51.100.{number}")
}

fn is_closing(slot: &Slot) -> bool {
    slot.poll_closing(&Context::from_waker(Waker::noop())).is_ready()
}

fn closing(slots: &[Slot]) -> Vec<usize> {
    (0..slots.len()).filter(|each| is_closing(&slots[*each])).collect()
}

#[test]
fn one_address_may_hold_half_of_the_slots() {
    let mut fixture = Fixture::new();
    let slots = fixture.open_many(50, same(STRANGER));
    assert_eq!((closing(&slots), fixture.taken()), (vec![], 50));
}

#[test]
fn beyond_half_a_network_over_its_share_replaces_its_longest_idle_connection() {
    let mut fixture = Fixture::new();
    let slots = fixture.open_many(50, same(STRANGER));
    // The first connection is busy, and the second has been idle for a shorter time than the third.
    assert!(slots[0].begin_request() && slots[1].begin_request());
    let now = fixture.tick();
    slots[1].end_request(now);
    let new = fixture.open(STRANGER).expect("it replaces another");
    assert_eq!((closing(&slots), is_closing(&new)), (vec![2], false));
    assert_eq!(fixture.taken(), 50);
}

#[test]
fn beyond_half_a_network_whose_connections_are_all_busy_is_rejected() {
    let mut fixture = Fixture::new();
    let slots = fixture.open_many(50, same(STRANGER));
    assert!(slots.iter().all(Slot::begin_request));
    assert!(fixture.open(STRANGER).is_none());
    assert!(fixture.open("192.0.2.2").is_some(), "another network has room");
    assert!(closing(&slots).is_empty());
}

#[test]
fn beyond_half_each_network_may_hold_a_tenth() {
    let mut fixture = Fixture::new();
    let _others = fixture.open_many(50, different);
    let slots = fixture.open_many(10, same(STRANGER));
    assert_eq!((closing(&slots), fixture.taken()), (vec![], 60));
    let _new = fixture.open(STRANGER).unwrap();
    assert_eq!((closing(&slots), fixture.taken()), (vec![0], 60));
}

#[test]
fn the_first_64_bits_of_an_ipv6_address_are_the_network() {
    let mut fixture = Fixture::new();
    let _others = fixture.open_many(50, different);
    let slots = fixture.open_many(10, |each| format!("2001:db8::{each}"));
    let _new = fixture.open("2001:db8::ffff:0:0:1").unwrap();
    assert_eq!(closing(&slots), [0]);
    let _other = fixture.open("2001:db8:0:1::1").unwrap();
    assert_eq!((closing(&slots).len(), fixture.taken()), (1, 61));
}

#[test]
fn beyond_half_a_wide_network_may_hold_two_or_three_tenths() {
    // Each connection comes from another /64 of a /56, or from another /56 of a /48.
    for (subnet, share) in [("", 20), ("00", 30)] {
        let address = |each: usize| format!("2001:db8:0:{each:x}{subnet}::1");
        let mut fixture = Fixture::new();
        let _others = fixture.open_many(50, different);
        let slots = fixture.open_many(share, address);
        assert!(slots[0].begin_request());
        let new = fixture.open(&address(share)).expect("it replaces another");
        assert_eq!(
            (closing(&slots), fixture.taken()),
            (vec![1], 50 + share),
            "the longest-idle one"
        );
        assert!(slots.iter().skip(2).all(Slot::begin_request) && new.begin_request());
        assert!(fixture.open(&address(share + 1)).is_none(), "all are busy");
        assert!(fixture.open("2001:db8:1::1").is_some(), "another /48 has room");
    }
}

#[test]
fn the_narrowest_network_over_its_share_decides_which_connection_is_replaced() {
    let mut fixture = Fixture::new();
    let _others = fixture.open_many(50, different);
    let wide = fixture.open_many(10, |each| format!("2001:db8:0:1{each}::1"));
    let narrow = fixture.open_many(10, same("2001:db8::1"));
    let _new = fixture.open("2001:db8::1").unwrap();
    assert_eq!((closing(&wide), closing(&narrow)), (vec![], vec![0]));
}

#[test]
fn if_all_slots_are_taken_a_wide_network_over_its_share_is_closed_first() {
    let mut fixture = Fixture::new();
    // Half of the slots may be taken from anywhere. The connections of the others have been idle for longer.
    let others = fixture.open_many(10, different);
    let wide = fixture.open_many(40, |each| format!("2001:db8:0:{each:x}::1"));
    let more = fixture.open_many(50, |each| different(100 + each));
    let _new = fixture.open("203.0.113.1").unwrap();
    assert_eq!(
        (closing(&others), closing(&wide), closing(&more)),
        (vec![], vec![0], vec![])
    );
}

#[test]
fn a_closed_connection_leaves_the_wider_networks() {
    let mut fixture = Fixture::new();
    let _others = fixture.open_many(50, different);
    let mut slots = fixture.open_many(20, |each| format!("2001:db8:0:{each:x}::1"));
    slots.truncate(19);
    let new = fixture.open("2001:db8:0:ff::1").unwrap();
    assert_eq!((closing(&slots), fixture.taken()), (vec![], 70));
    drop((slots, new));
    assert_eq!(fixture.connections.lock().networks.len(), 50);
}

#[test]
fn if_all_slots_are_taken_a_new_client_replaces_a_connection_of_a_network_over_its_share() {
    let mut fixture = Fixture::new();
    // The connections of the others have been idle for longer.
    let others = fixture.open_many(50, different);
    let slots = {
        let mut table = fixture.connections.lock();
        let network = fixture.connections.network(STRANGER.parse().unwrap());
        let now = fixture.now;
        (0..50)
            .map(|_| fixture.connections.take_slot(&mut table, network, now))
            .collect::<Vec<_>>()
    };
    let _new = fixture.open("203.0.113.1").unwrap();
    assert_eq!(
        (closing(&others), closing(&slots).len(), fixture.taken()),
        (vec![], 1, 100)
    );
}

#[test]
fn if_all_slots_are_taken_and_no_network_is_over_its_share_the_longest_idle_connection_is_replaced() {
    let mut fixture = Fixture::new();
    let slots = fixture.open_many(100, different);
    assert!(slots[0].begin_request());
    let _new = fixture.open("203.0.113.1").unwrap();
    assert_eq!((closing(&slots), fixture.taken()), (vec![1], 100));
}

#[test]
fn if_all_connections_are_busy_a_new_one_is_rejected() {
    let mut fixture = Fixture::new();
    let mut slots = fixture.open_many(100, different);
    assert!(slots.iter().all(Slot::begin_request));
    assert!(fixture.open("203.0.113.1").is_none());
    // A connection that has become idle is found, but not before the pause between two searches is over.
    slots[7].end_request(fixture.now);
    let at_once = fixture.connections.open("203.0.113.1".parse().unwrap(), fixture.now);
    assert!(at_once.is_none());
    let new = fixture.open("203.0.113.1");
    assert!(new.is_some());
    assert_eq!(closing(&slots), [7]);
    // A connection that is closed frees its slot.
    slots.truncate(50);
    assert_eq!(fixture.taken(), 50);
}

#[test]
fn loopback_and_trusted_proxies_have_no_share() {
    for address in ["127.0.0.1", "::1", PROXY, "::ffff:10.0.0.1"] {
        let mut fixture = Fixture::new();
        let slots = fixture.open_many(100, same(address));
        assert_eq!((closing(&slots), fixture.taken()), (vec![], 100), "{address}");
    }
}

#[test]
fn exempt_connections_are_closed_only_for_each_other() {
    let mut fixture = Fixture::new();
    let slots = fixture.open_many(100, same(PROXY));
    assert!(fixture.open(STRANGER).is_none());
    assert!(closing(&slots).is_empty());
    assert!(fixture.open("127.0.0.1").is_some());
    assert_eq!(closing(&slots), [0]);
}

#[test]
fn an_exempt_client_replaces_strangers_first() {
    let mut fixture = Fixture::new();
    let exempt = fixture.open_many(1, same(PROXY));
    let slots = fixture.open_many(99, different);
    assert!(fixture.open(PROXY).is_some());
    assert_eq!((closing(&exempt), closing(&slots)), (vec![], vec![0]));
}

#[test]
fn a_connection_that_must_close_begins_no_request() {
    let mut fixture = Fixture::new();
    let slots = fixture.open_many(50, same(STRANGER));
    let _new = fixture.open(STRANGER);
    assert!(!slots[0].begin_request() && slots[1].begin_request());
    drop(slots);
    assert_eq!(fixture.taken(), 1);
}

#[test]
fn a_report_is_due_once_a_minute_and_has_all_numbers() {
    let now = Instant::now();
    let mut report = Report::default();
    assert_eq!(report.take(now), None);
    report.rejected = 1;
    assert_eq!(report.take(now), Some((0, 1)));
    (report.closed, report.rejected) = (2, 3);
    assert_eq!(report.take(now + REPORT_INTERVAL / 2), None);
    report.rejected += 1;
    assert_eq!(report.take(now + REPORT_INTERVAL), Some((2, 4)));
    assert_eq!(report.take(now + 3 * REPORT_INTERVAL), None);
}

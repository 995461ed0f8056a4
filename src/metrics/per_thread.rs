//! The metrics that every request changes. Each thread counts for itself, and a scrape adds up the counts since the
//! previous scrape.
//!
//! A thread locks only its own counters, so it waits only if a scrape is reading them. After the first request of a
//! route, counting allocates nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use thread_local::ThreadLocal;

/// The upper bounds of the buckets for the time of requests, in seconds. A verification takes much less than a
/// millisecond, and a login some tens of milliseconds.
const REQUEST_BUCKETS: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// A request whose response is ready.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a> {
    /// The pattern of the route, such as `/api/v3/user/{id}`, or `none`.
    pub route: &'a str,
    /// A method of the HTTP standard, or `other`.
    pub method: &'static str,
    pub status: u16,
    pub time: Duration,
}

/// Where the result of a verification comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerificationSource {
    Cache,
    Lookup,
}

/// The result of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerificationOutcome {
    Valid,
    Invalid,
    /// The database could not be queried, or too many lookups are waiting.
    Failed,
}

/// The combinations that occur: the cache never finds that a key is invalid.
const VERIFICATIONS: [(VerificationSource, VerificationOutcome); 4] = [
    (VerificationSource::Cache, VerificationOutcome::Valid),
    (VerificationSource::Lookup, VerificationOutcome::Valid),
    (VerificationSource::Lookup, VerificationOutcome::Invalid),
    (VerificationSource::Lookup, VerificationOutcome::Failed),
];

/// The metrics that each thread counts for itself.
pub struct PerThread {
    requests: IntCounterVec,
    durations: HistogramVec,
    verifications: IntCounterVec,
    threads: ThreadLocal<Mutex<Counters>>,
}

/// The counters of one thread.
struct Counters {
    /// In the order of [`VERIFICATIONS`].
    verifications: [LocalIntCounter; VERIFICATIONS.len()],
    /// The index in `routes` of each route.
    indexes: HashMap<String, usize>,
    routes: Vec<RouteCounters>,
    /// The index of the previous request's route. Most requests are verifications, so the next one usually has the same
    /// route, and finding it needs no hash.
    last: usize,
}

/// The counters of one route.
struct RouteCounters {
    route: String,
    methods: Vec<MethodCounters>,
}

/// The counters of one method of a route.
struct MethodCounters {
    method: &'static str,
    duration: LocalHistogram,
    statuses: Vec<StatusCounter>,
}

struct StatusCounter {
    status: u16,
    requests: LocalIntCounter,
}

impl PerThread {
    /// Creates the metrics and registers them. Fails if the registry already contains one of their names.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new("shoko_auth_requests_total", "Requests, by route, method and status."),
            &["route", "method", "status"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "shoko_auth_request_duration_seconds",
                "The time from the head of a request to the start of its response.",
            )
            .buckets(REQUEST_BUCKETS.to_vec()),
            &["route", "method"],
        )?;
        let verifications = IntCounterVec::new(
            Opts::new(
                "shoko_auth_verifications_total",
                "Verifications of keys and sessions, by result and source.",
            ),
            &["result", "source"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(verifications.clone()))?;
        Ok(Self {
            requests,
            durations,
            verifications,
            threads: ThreadLocal::new(),
        })
    }

    /// Counts a request and its duration on this thread.
    pub fn record_request(&self, request: &RequestRecord<'_>) {
        let mut counters = self.own_counters();
        let counters = self.method_counters(counters.methods_of(request.route), request);
        counters.duration.observe(request.time.as_secs_f64());
        self.status_counter(&mut counters.statuses, request).inc();
    }

    /// Counts a verification on this thread. Ignores combinations that cannot occur.
    pub fn record_verification(&self, source: VerificationSource, outcome: VerificationOutcome) {
        let index = VERIFICATIONS.iter().position(|known| *known == (source, outcome));
        if let Some(index) = index {
            self.own_counters().verifications[index].inc();
        }
    }

    /// Adds the counts of all threads to the metrics.
    pub fn flush(&self) {
        for counters in &self.threads {
            let counters = lock(counters);
            counters.verifications.iter().for_each(LocalIntCounter::flush);
            for methods in counters.routes.iter().flat_map(|route| &route.methods) {
                methods.duration.flush();
                methods.statuses.iter().for_each(|status| status.requests.flush());
            }
        }
    }

    fn own_counters(&self) -> MutexGuard<'_, Counters> {
        lock(self.threads.get_or(|| Mutex::new(self.new_counters())))
    }

    fn new_counters(&self) -> Counters {
        let verifications = VERIFICATIONS.map(|(source, outcome)| {
            let labels = [outcome.label(), source.label()];
            self.verifications.with_label_values(&labels).local()
        });
        Counters {
            verifications,
            indexes: HashMap::new(),
            routes: Vec::new(),
            last: 0,
        }
    }

    fn method_counters<'a>(
        &self,
        methods: &'a mut Vec<MethodCounters>,
        request: &RequestRecord<'_>,
    ) -> &'a mut MethodCounters {
        let index = methods.iter().position(|known| known.method == request.method);
        let index = index.unwrap_or_else(|| {
            let labels = [request.route, request.method];
            methods.push(MethodCounters {
                method: request.method,
                duration: self.durations.with_label_values(&labels).local(),
                statuses: Vec::new(),
            });
            methods.len() - 1
        });
        &mut methods[index]
    }

    fn status_counter<'a>(
        &self,
        statuses: &'a mut Vec<StatusCounter>,
        request: &RequestRecord<'_>,
    ) -> &'a LocalIntCounter {
        let index = statuses.iter().position(|known| known.status == request.status);
        let index = index.unwrap_or_else(|| {
            let status = request.status.to_string();
            let labels = [request.route, request.method, &status];
            statuses.push(StatusCounter {
                status: request.status,
                requests: self.requests.with_label_values(&labels).local(),
            });
            statuses.len() - 1
        });
        &statuses[index].requests
    }
}

impl Counters {
    /// Returns the counters of a route's methods.
    fn methods_of(&mut self, route: &str) -> &mut Vec<MethodCounters> {
        let is_last = self.routes.get(self.last).is_some_and(|last| last.route == route);
        if !is_last {
            self.last = self.index_of(route);
        }
        &mut self.routes[self.last].methods
    }

    /// Returns the index of a route's counters, which are created if there are none.
    fn index_of(&mut self, route: &str) -> usize {
        if let Some(index) = self.indexes.get(route) {
            return *index;
        }
        let index = self.routes.len();
        self.routes.push(RouteCounters {
            route: route.to_owned(),
            methods: Vec::new(),
        });
        self.indexes.insert(route.to_owned(), index);
        index
    }
}

impl VerificationSource {
    fn label(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Lookup => "lookup",
        }
    }
}

impl VerificationOutcome {
    fn label(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
        }
    }
}

fn lock(counters: &Mutex<Counters>) -> MutexGuard<'_, Counters> {
    // A panic cannot leave a wrong state behind, because each change is complete in one step.
    counters.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn requests_of_different_routes_are_counted_apart_in_any_order() {
        let per_thread = PerThread::new(&Registry::new()).unwrap();
        for route in ["/a", "/b", "/b", "/a", "/b"] {
            per_thread.record_request(&RequestRecord {
                route,
                method: "GET",
                status: 200,
                time: Duration::from_micros(50),
            });
        }
        per_thread.flush();
        let requests = |route| per_thread.requests.with_label_values(&[route, "GET", "200"]).get();
        assert_eq!((requests("/a"), requests("/b")), (2, 3));
    }

    #[test]
    fn a_scrape_adds_up_what_all_threads_have_counted_even_after_they_have_ended() {
        let per_thread = PerThread::new(&Registry::new()).unwrap();
        let request = |status| RequestRecord {
            route: "/a",
            method: "GET",
            status,
            time: Duration::from_micros(50),
        };
        for _ in 0..2 {
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for status in [200, 401] {
                            per_thread.record_request(&request(status));
                        }
                        per_thread.record_verification(VerificationSource::Cache, VerificationOutcome::Valid);
                    });
                }
            });
            per_thread.flush();
        }
        let requests = |status| per_thread.requests.with_label_values(&["/a", "GET", status]).get();
        assert_eq!((requests("200"), requests("401")), (8, 8));
        assert_eq!(
            per_thread
                .durations
                .with_label_values(&["/a", "GET"])
                .get_sample_count(),
            16
        );
        assert_eq!(per_thread.verifications.with_label_values(&["valid", "cache"]).get(), 8);
    }
}

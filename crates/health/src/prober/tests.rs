//! The schedule, with time that moves when everybody waits.

use super::{Prober, Targets};
use crate::{Address, Ask, CONCURRENT_PROBES, Check, Connect, Counts, Health, Stream, TargetKey};
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, advance};

/// How an endpoint behaves, by its port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Endpoint {
    Accepts,
    Refuses,
    Hangs,
    Panics,
}

struct Network {
    behaviour: Mutex<HashMap<u16, Endpoint>>,
    dialled: UnboundedSender<(u16, Duration)>,
    start: Instant,
}

#[async_trait]
impl Connect for Network {
    async fn connect(&self, target: &TargetKey, _check: &Check) -> io::Result<Box<dyn Stream>> {
        let port = port_of(target);
        self.dialled.send((port, self.start.elapsed())).unwrap();
        let behaviour = self.behaviour.lock().unwrap().get(&port).copied();
        match behaviour.unwrap_or(Endpoint::Accepts) {
            Endpoint::Accepts => Ok(Box::new(tokio::io::duplex(1).0)),
            Endpoint::Refuses => Err(io::ErrorKind::ConnectionRefused.into()),
            Endpoint::Hangs => std::future::pending().await,
            Endpoint::Panics => panic!("a bug"),
        }
    }
}

/// Counted: results by word, and unhealthy endpoints, both by host.
#[derive(Default)]
struct Scrape {
    checked: Mutex<BTreeMap<(String, &'static str), usize>>,
    unhealthy: Mutex<BTreeMap<String, usize>>,
}

impl Counts for Scrape {
    fn checked(&self, host: &str, result: &'static str) {
        let mut checked = self.checked.lock().unwrap();
        *checked.entry((host.to_owned(), result)).or_default() += 1;
    }

    fn unhealthy(&self, host: &str, endpoints: usize) {
        let mut unhealthy = self.unhealthy.lock().unwrap();
        unhealthy.insert(host.to_owned(), endpoints);
    }

    fn forget(&self, host: &str) {
        self.unhealthy.lock().unwrap().remove(host);
        let mut checked = self.checked.lock().unwrap();
        checked.retain(|(known, _), _| known != host);
    }
}

struct Setup {
    prober: Prober,
    network: Arc<Network>,
    scrape: Arc<Scrape>,
    dialled: UnboundedReceiver<(u16, Duration)>,
    reported: UnboundedReceiver<(u16, Health)>,
}

impl Setup {
    fn new() -> Self {
        let (dialled, dials) = unbounded_channel();
        let (reports, reported) = unbounded_channel();
        let network = Arc::new(Network {
            behaviour: Mutex::default(),
            dialled,
            start: Instant::now(),
        });
        let scrape = Arc::new(Scrape::default());
        let report = move |key: &TargetKey, health: &Health| {
            let _ = reports.send((port_of(key), health.clone()));
        };
        let prober = Prober::start(network.clone(), scrape.clone(), report);
        Self {
            prober,
            network,
            scrape,
            dialled: dials,
            reported,
        }
    }

    fn set(&self, port: u16, behaviour: Endpoint) {
        let mut behaviours = self.network.behaviour.lock().unwrap();
        behaviours.insert(port, behaviour);
    }

    /// The next probes: who was dialled, and after how many seconds.
    async fn dials(&mut self, number: usize) -> Vec<(u16, u64)> {
        let mut dials = Vec::new();
        for _ in 0..number {
            let (port, at) = self.dialled.recv().await.unwrap();
            dials.push((port, at.as_millis() as u64 / 1000));
        }
        dials
    }

    async fn report(&mut self) -> (u16, Health) {
        self.reported.recv().await.unwrap()
    }
}

fn port_of(target: &TargetKey) -> u16 {
    match &target.address {
        Address::Tcp(address) => address.port(),
        Address::Unix(_) => 0,
    }
}

fn check() -> Check {
    Check {
        ask: Ask::Tcp,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        jitter: Duration::ZERO,
        healthy_threshold: NonZeroU32::MIN,
        unhealthy_threshold: NonZeroU32::MIN,
    }
}

fn targets_of(host: &str, ports: impl IntoIterator<Item = u16>, check: Check) -> Targets {
    let check = Arc::new(check);
    let target = |port| TargetKey {
        host: host.into(),
        port: 80,
        address: Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port))),
    };
    ports
        .into_iter()
        .map(|port| (target(port), Arc::clone(&check)))
        .collect()
}

fn targets(ports: impl IntoIterator<Item = u16>) -> Targets {
    targets_of("a.test", ports, check())
}

fn unhealthy(why: &str) -> Health {
    Health::Unhealthy { why: why.into() }
}

#[tokio::test(start_paused = true)]
async fn a_target_is_asked_at_once_and_then_every_interval() {
    let mut setup = Setup::new();
    setup.prober.follow(targets([1]));
    assert_eq!(setup.dials(3).await, [(1, 0), (1, 10), (1, 20)]);
}

#[tokio::test(start_paused = true)]
async fn flips_are_reported_once() {
    let mut setup = Setup::new();
    setup.prober.follow(targets([1]));
    assert_eq!(setup.report().await, (1, Health::Healthy));
    setup.set(1, Endpoint::Refuses);
    let refused = unhealthy("cannot connect: connection refused");
    assert_eq!(setup.report().await, (1, refused));
    setup.dials(5).await;
    setup.set(1, Endpoint::Accepts);
    assert_eq!(setup.report().await, (1, Health::Healthy));
    setup.dials(5).await;
    assert!(setup.reported.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_does_not_answer_runs_into_the_timeout() {
    let mut setup = Setup::new();
    setup.set(1, Endpoint::Hangs);
    setup.prober.follow(targets([1]));
    assert_eq!(setup.report().await, (1, unhealthy("timeout")));
    // The interval begins when the probe has ended.
    assert_eq!(setup.dials(3).await, [(1, 0), (1, 11), (1, 22)]);
}

#[tokio::test(start_paused = true)]
async fn targets_that_come_together_are_spread_by_the_jitter() {
    let mut setup = Setup::new();
    let jitter = Duration::from_secs(10);
    let spread = targets_of("a.test", 1..=100, Check { jitter, ..check() });
    setup.prober.follow(spread);
    let seconds: Vec<_> = setup.dials(100).await;
    let first_half = seconds.iter().filter(|(_, second)| *second < 5).count();
    assert!((10..90).contains(&first_half), "{seconds:?}");
    assert!(seconds.iter().all(|(_, second)| *second <= 10));
}

#[tokio::test(start_paused = true)]
async fn what_stays_keeps_its_schedule_and_its_state() {
    let mut setup = Setup::new();
    setup.prober.follow(targets([1]));
    assert_eq!(setup.report().await, (1, Health::Healthy));
    advance(Duration::from_secs(4)).await;
    setup.prober.follow(targets([1, 2]));
    assert_eq!(setup.report().await, (2, Health::Healthy));
    assert_eq!(setup.dials(4).await, [(1, 0), (2, 4), (1, 10), (2, 14)]);
    assert!(setup.reported.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_asked_no_more() {
    let mut setup = Setup::new();
    setup.set(2, Endpoint::Refuses);
    setup.prober.follow(targets([1, 2]));
    setup.report().await;
    setup.report().await;
    setup.prober.follow(targets([1]));
    assert_eq!(setup.report().await, (2, Health::Unchecked));
    assert_eq!(setup.scrape.unhealthy.lock().unwrap()["a.test"], 0);
    setup.dials(2).await;
    assert_eq!(setup.dials(2).await, [(1, 10), (1, 20)]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_of_what_is_gone_is_given_up() {
    let mut setup = Setup::new();
    setup.set(1, Endpoint::Hangs);
    setup.prober.follow(targets([1]));
    setup.dials(1).await;
    // The same target again: what is in flight was not asked for by it.
    setup.prober.follow(targets([]));
    tokio::task::yield_now().await;
    setup.set(1, Endpoint::Accepts);
    setup.prober.follow(targets([1]));
    assert_eq!(setup.report().await, (1, Health::Healthy));
    assert_eq!(setup.dials(2).await, [(1, 0), (1, 10)]);
    let checked = setup.scrape.checked.lock().unwrap();
    assert!(checked.keys().all(|(_, word)| *word == "success"));
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_holds_no_place_among_the_probes() {
    let mut setup = Setup::new();
    let many = 1..=CONCURRENT_PROBES as u16;
    many.clone()
        .for_each(|port| setup.set(port, Endpoint::Hangs));
    let timeout = Duration::from_secs(3600);
    let patient = Check { timeout, ..check() };
    setup.prober.follow(targets_of("a.test", many, patient));
    setup.dials(CONCURRENT_PROBES).await;
    setup.prober.follow(targets([100]));
    assert_eq!(setup.dials(1).await, [(100, 0)]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_has_one_schedule() {
    let mut setup = Setup::new();
    setup.prober.follow(targets([1]));
    setup.report().await;
    setup.prober.follow(targets([]));
    setup.report().await;
    advance(Duration::from_secs(5)).await;
    setup.prober.follow(targets([1]));
    assert_eq!(setup.dials(4).await, [(1, 0), (1, 5), (1, 15), (1, 25)]);
}

#[tokio::test(start_paused = true)]
async fn another_check_begins_anew() {
    let mut setup = Setup::new();
    setup.set(1, Endpoint::Refuses);
    setup.prober.follow(targets([1]));
    setup.report().await;
    let interval = Duration::from_secs(3);
    let changed = targets_of(
        "a.test",
        [1],
        Check {
            interval,
            ..check()
        },
    );
    setup.set(1, Endpoint::Accepts);
    setup.prober.follow(changed);
    assert_eq!(setup.report().await, (1, Health::Unchecked));
    assert_eq!(setup.report().await, (1, Health::Healthy));
    assert_eq!(setup.dials(3).await, [(1, 0), (1, 0), (1, 3)]);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_are_asked_at_a_time() {
    let mut setup = Setup::new();
    (1..=150).for_each(|port| setup.set(port, Endpoint::Hangs));
    setup.prober.follow(targets(1..=150));
    let dials = setup.dials(150).await;
    let at = |second| dials.iter().filter(|(_, at)| *at == second).count();
    assert_eq!((at(0), at(1)), (CONCURRENT_PROBES, CONCURRENT_PROBES));
    assert_eq!(at(2), 150 - 2 * CONCURRENT_PROBES);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_targets_need_no_task_each() {
    let mut setup = Setup::new();
    setup.prober.follow(targets(1..=10_000));
    let mut most = 0;
    for _ in 0..20_000 {
        setup.dials(1).await;
        most = most.max(Handle::current().metrics().num_alive_tasks());
    }
    // The scheduler itself is one more.
    assert!((1..=CONCURRENT_PROBES + 1).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn a_bug_in_one_probe_ends_that_probe_alone() {
    let mut setup = Setup::new();
    setup.set(1, Endpoint::Panics);
    setup.prober.follow(targets([1]));
    let why = "the probe ended by a bug";
    assert_eq!(setup.report().await, (1, unhealthy(why)));
    assert_eq!(setup.dials(2).await, [(1, 0), (1, 10)]);
}

#[tokio::test(start_paused = true)]
async fn results_and_unhealthy_endpoints_are_counted_by_host() {
    let mut setup = Setup::new();
    setup.set(2, Endpoint::Refuses);
    let mut both = targets([1, 2]);
    both.extend(targets_of("b.test", [3], check()));
    setup.prober.follow(both);
    for _ in 0..3 {
        setup.report().await;
    }
    let of = |host: &str, word| (host.to_owned(), word);
    let want = BTreeMap::from([
        (of("a.test", "success"), 1),
        (of("a.test", "connect_failure"), 1),
        (of("b.test", "success"), 1),
    ]);
    assert_eq!(*setup.scrape.checked.lock().unwrap(), want);
    let want = BTreeMap::from([("a.test".to_owned(), 1), ("b.test".to_owned(), 0)]);
    assert_eq!(*setup.scrape.unhealthy.lock().unwrap(), want);
}

#[tokio::test(start_paused = true)]
async fn a_host_counts_on_when_all_its_endpoints_are_replaced() {
    let mut setup = Setup::new();
    let mut both = targets([1]);
    both.extend(targets_of("b.test", [2], check()));
    setup.prober.follow(both);
    setup.report().await;
    setup.report().await;
    setup.prober.follow(targets([3]));
    // Two are gone, one is healthy.
    for _ in 0..3 {
        setup.report().await;
    }
    let want = BTreeMap::from([(("a.test".to_owned(), "success"), 2)]);
    assert_eq!(*setup.scrape.checked.lock().unwrap(), want);
    let want = BTreeMap::from([("a.test".to_owned(), 0)]);
    assert_eq!(*setup.scrape.unhealthy.lock().unwrap(), want);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_prober_ends_it() {
    let mut setup = Setup::new();
    setup.set(1, Endpoint::Hangs);
    setup.prober.follow(targets([1, 2]));
    setup.dials(2).await;
    drop(setup.prober);
    assert_eq!(setup.reported.recv().await, Some((2, Health::Healthy)));
    // All who could report are gone.
    assert_eq!(setup.reported.recv().await, None);
}

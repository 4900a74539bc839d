//! A cluster in a simulated world: endpoints fail, slow down, come and go; requests come in bursts, wait, are retried.
//! Time moves by hand and chance comes from a seed, so that every run of a seed is the same.
//!
//! After each step: no request went to an ejected endpoint while another was in rotation, no limit was exceeded, no
//! more endpoints were ejected than may be, who waited longest went first. At the end: everything that was counted is
//! counted off, and every endpoint is back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use traffic::{
    Algorithm, Balancing, Choice, EndpointSet, EndpointState, Entry, Limits, LimitsPolicy, Member,
    Observed, Outlier, OutlierPolicy, Place, RequestPermit, RetryBudget, RetryPermit, Slot,
    Waiting, Warmup,
};

const SEEDS: u64 = 500;
const STEPS: usize = 2000;
const MAX_ENDPOINTS: usize = 12;

/// Some moment to begin at.
#[expect(clippy::disallowed_methods, reason = "time moves by hand from there")]
fn moment() -> Instant {
    Instant::now()
}

/// xorshift
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) % u64::from(sides.max(1))) as u32
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
}

/// How an endpoint fares.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Well,
    Slow,
    Answers503,
    Refuses,
}

/// An endpoint of the world, which the cluster knows only by what comes of its requests.
#[derive(Clone)]
struct Backend {
    name: u32,
    mood: Mood,
    priority: u32,
    state: Arc<EndpointState>,
}

/// A request under way.
struct Request {
    set: Arc<EndpointSet<u32>>,
    endpoint: usize,
    backend: u32,
    tried: Vec<usize>,
    done_at: u64,
    _active: traffic::ActiveRequest,
    _slot: Slot,
    permit: RequestPermit,
    _retry: Option<RetryPermit>,
}

struct World {
    chance: Chance,
    start: Instant,
    now: u64,
    backends: Vec<Backend>,
    next_name: u32,
    set: Arc<EndpointSet<u32>>,
    balancing: Balancing,
    outlier: Outlier,
    policy: OutlierPolicy,
    limits: Arc<Limits>,
    bounds: LimitsPolicy,
    under_way: Vec<Request>,
    queue: VecDeque<(RequestPermit, Waiting)>,
    served: usize,
    ejections: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let start = moment();
        let balancing = balancing(&mut chance);
        let policy = outlier_policy(&mut chance);
        let bounds = limits_policy(&mut chance);
        let mut world = Self {
            start,
            now: 0,
            backends: Vec::new(),
            next_name: 0,
            set: Arc::new(EndpointSet::new(
                Vec::new(),
                balancing,
                Arc::default(),
                start,
            )),
            balancing,
            outlier: Outlier::new(policy.clone(), start),
            policy,
            limits: Arc::new(Limits::new(bounds)),
            bounds,
            under_way: Vec::new(),
            queue: VecDeque::new(),
            served: 0,
            ejections: 0,
            chance,
        };
        for _ in 0..=world.chance.below(6) {
            world.add_backend();
        }
        world
    }

    fn time(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn add_backend(&mut self) {
        if self.backends.len() >= MAX_ENDPOINTS {
            return;
        }
        self.backends.push(Backend {
            name: self.next_name,
            mood: Mood::Well,
            priority: self.chance.below(2),
            state: Arc::new(EndpointState::new(self.time())),
        });
        self.next_name += 1;
        self.rebuild();
    }

    /// The endpoints changed: a new set around the same states.
    fn rebuild(&mut self) {
        let member = |backend: &Backend| Member {
            value: backend.name,
            weight: 1 + backend.name % 3,
            key: format!("{}:80", backend.name).into(),
            place: Place {
                priority: backend.priority,
                locality: None,
            },
            state: backend.state.clone(),
        };
        let members = self.backends.iter().map(member).collect();
        self.set = Arc::new(self.set.next(members, self.balancing, self.time()));
    }

    fn step(&mut self) {
        self.now += u64::from(self.chance.below(40));
        self.sweep();
        self.finish();
        self.let_in();
        match self.chance.below(100) {
            0 => self.add_backend(),
            1 if self.backends.len() > 1 => {
                let gone = self.chance.below(self.backends.len() as u32);
                self.backends.remove(gone as usize);
                self.rebuild();
            }
            2..8 => self.change_mood(),
            8 => self.check_actively(),
            9 if !self.queue.is_empty() => {
                // Somebody does not want to wait any longer.
                let who = self.chance.below(self.queue.len() as u32);
                self.queue.remove(who as usize);
            }
            10..60 => self.arrive(),
            60..65 => (0..8).for_each(|_| self.arrive()),
            _ => {}
        }
        self.check();
    }

    fn sweep(&mut self) {
        let now = self.time();
        for returned in self.outlier.sweep(&self.set, now) {
            assert!(!self.set.members()[returned.index].state.is_ejected());
        }
        if self.set.is_warming() {
            self.set.refresh(now);
        }
    }

    fn change_mood(&mut self) {
        let moods = [
            Mood::Well,
            Mood::Well,
            Mood::Slow,
            Mood::Answers503,
            Mood::Refuses,
        ];
        let mood = moods[self.chance.below(5) as usize];
        let who = self.chance.below(self.backends.len() as u32) as usize;
        if let Some(backend) = self.backends.get_mut(who) {
            backend.mood = mood;
        }
    }

    fn check_actively(&mut self) {
        for backend in &self.backends {
            let sick = matches!(backend.mood, Mood::Refuses);
            backend.state.set_unhealthy(sick && self.chance.percent(50));
        }
        self.set.refresh(self.time());
    }

    fn arrive(&mut self) {
        let Some(permit) = self.limits.request(self.time()) else {
            assert!(self.limits.active_requests() >= self.bounds.max_requests);
            return;
        };
        match self.limits.enter() {
            Entry::Slot(slot) => {
                assert!(self.queue.is_empty(), "somebody who waits was overtaken");
                self.send(permit, slot, Vec::new(), None);
            }
            Entry::Wait(waiting) => self.queue.push_back((permit, waiting)),
            Entry::Overflow => {
                assert!(self.queue.len() >= self.bounds.max_pending as usize);
            }
        }
    }

    /// Those who wait go on in the order in which they came.
    fn let_in(&mut self) {
        while let Some((permit, waiting)) = self.queue.pop_front() {
            match waiting.claim() {
                Ok(slot) => self.send(permit, slot, Vec::new(), None),
                Err(waiting) => {
                    self.queue.push_front((permit, waiting));
                    return;
                }
            }
        }
    }

    fn send(
        &mut self,
        permit: RequestPermit,
        slot: Slot,
        mut tried: Vec<usize>,
        retry: Option<RetryPermit>,
    ) {
        let set = self.set.clone();
        let choice = Choice {
            hash: self
                .chance
                .percent(70)
                .then(|| u64::from(self.chance.below(1000)) << 50),
            tried: &tried,
            leave_priority: self.chance.percent(10),
        };
        let chance = &mut self.chance;
        let Some(endpoint) = set.select(choice, &mut |sides| chance.below(sides)) else {
            assert!(
                (0..set.members().len()).all(|index| !set.in_rotation(index)),
                "nobody was selected while somebody is in rotation"
            );
            return;
        };
        let member = &set.members()[endpoint];
        let panics = set.is_panicking();
        assert!(
            panics || !member.state.is_ejected(),
            "a request went to an ejected endpoint"
        );
        assert!(panics || !member.state.is_unhealthy());
        let backend = member.value;
        let active = member.state.begin();
        tried.push(endpoint);
        let takes = match self.mood(backend) {
            Mood::Slow => 2000,
            _ => 1 + self.chance.below(60),
        };
        self.under_way.push(Request {
            endpoint,
            backend,
            tried,
            done_at: self.now + u64::from(takes),
            _active: active,
            _slot: slot,
            permit,
            _retry: retry,
            set,
        });
    }

    /// Who is gone refuses.
    fn mood(&self, name: u32) -> Mood {
        let backend = self.backends.iter().find(|backend| backend.name == name);
        backend.map_or(Mood::Refuses, |backend| backend.mood)
    }

    fn finish(&mut self) {
        let now = self.now;
        let (done, rest) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|request| request.done_at <= now);
        self.under_way = rest;
        let done: Vec<Request> = done;
        for request in done {
            self.end(request);
        }
    }

    fn end(&mut self, request: Request) {
        let observed = match self.mood(request.backend) {
            Mood::Well => Observed::Status(200),
            Mood::Slow => Observed::Timeout,
            Mood::Answers503 => Observed::Status(503),
            Mood::Refuses => Observed::ConnectFailure,
        };
        // A client that left says nothing about the endpoint.
        if self.chance.percent(5) {
            return;
        }
        let now = self.time();
        let endpoint = &request.set.members()[request.endpoint].state;
        let cause = self.outlier.record(endpoint, observed);
        let ejection = cause.and_then(|cause| self.outlier.eject(&self.set, endpoint, cause, now));
        if let Some(ejection) = ejection {
            self.ejections += 1;
            let is_out = !self.set.in_rotation(ejection.index);
            assert!(ejection.until > now && (is_out || self.set.is_panicking()));
            self.check_share();
        }
        if observed == Observed::Status(200) {
            self.served += 1;
        } else if request.tried.len() < 3
            && let Some(retry) = self.limits.retry(now)
            && Arc::ptr_eq(&request.set, &self.set)
        {
            let Request {
                tried,
                permit,
                _slot,
                ..
            } = request;
            self.send(permit, _slot, tried, Some(retry));
        }
    }

    fn check(&self) {
        let LimitsPolicy {
            max_connections,
            max_pending,
            max_requests,
            ..
        } = self.bounds;
        let limits = &self.limits;
        assert_eq!(limits.active_connections() as usize, self.under_way.len());
        assert_eq!(limits.pending() as usize, self.queue.len());
        assert_eq!(
            limits.active_requests() as usize,
            self.under_way.len() + self.queue.len()
        );
        assert!(limits.active_connections() <= max_connections);
        assert!(limits.pending() <= max_pending);
        assert!(limits.active_requests() <= max_requests);
        let retries = self
            .under_way
            .iter()
            .filter(|request| request._retry.is_some());
        assert_eq!(limits.active_retries() as usize, retries.count());
        match self.bounds.retry_budget {
            None => assert!(limits.active_retries() <= self.bounds.max_retries),
            Some(_) => assert!(limits.active_retries() as usize <= self.under_way.len()),
        }
    }

    /// Endpoints that go may raise the share afterwards.
    fn check_share(&self) {
        let (out, all) = (self.ejected(), self.backends.len());
        let allowed = usize::from(self.policy.max_ejection_percent);
        assert!(100 * out <= allowed * all, "{out} of {all} are ejected");
    }

    fn ejected(&self) -> usize {
        let backends = self.backends.iter();
        backends
            .filter(|backend| backend.state.is_ejected())
            .count()
    }

    /// Everybody gets well, nobody comes any more: everything has to end, and everybody to come back.
    fn wind_down(&mut self) {
        self.backends
            .iter_mut()
            .for_each(|backend| backend.mood = Mood::Well);
        self.backends.iter().for_each(|backend| {
            backend.state.set_unhealthy(false);
        });
        for _ in 0..2000 {
            self.now += 500;
            self.finish();
            self.let_in();
            self.sweep();
        }
        self.set.refresh(self.time());
        self.queue.clear();
        self.under_way.clear();
    }
}

fn balancing(chance: &mut Chance) -> Balancing {
    let algorithms = [
        Algorithm::LeastRequest,
        Algorithm::RoundRobin,
        Algorithm::Random,
        Algorithm::RingHash { minimum_size: 64 },
        Algorithm::Maglev { table_size: 251 },
    ];
    Balancing {
        algorithm: algorithms[chance.below(5) as usize],
        warmup: chance.percent(30).then_some(Warmup {
            duration: Duration::from_secs(5),
            minimum_percent: 10.0,
            aggression: 1.5,
        }),
        panic_threshold: if chance.percent(30) { 50 } else { 0 },
    }
}

fn outlier_policy(chance: &mut Chance) -> OutlierPolicy {
    OutlierPolicy {
        consecutive_5xx: 1 + chance.below(5),
        consecutive_gateway: chance.below(4),
        split_local_origin: chance.percent(40),
        consecutive_local_origin: 1 + chance.below(4),
        interval: Duration::from_millis(100 + u64::from(chance.below(2000))),
        base_ejection_time: Duration::from_millis(200 + u64::from(chance.below(5000))),
        max_ejection_percent: [10, 34, 50, 100][chance.below(4) as usize],
        error_codes: Vec::new(),
    }
}

fn limits_policy(chance: &mut Chance) -> LimitsPolicy {
    LimitsPolicy {
        max_connections: 1 + chance.below(12),
        max_pending: chance.below(6),
        max_requests: 4 + chance.below(16),
        max_retries: chance.below(4),
        retry_budget: chance.percent(30).then_some(RetryBudget {
            percent: 20.0,
            min_concurrency: 1 + chance.below(3),
            interval: Duration::from_millis(u64::from(chance.below(2)) * 1000),
        }),
    }
}

fn run(seed: u64) -> (usize, usize) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.wind_down();
    let limits = &world.limits;
    let left = [
        limits.active_connections(),
        limits.pending(),
        limits.active_requests(),
        limits.active_retries(),
    ];
    assert_eq!(left, [0; 4], "permits were leaked");
    assert_eq!(world.ejected(), 0, "somebody never came back");
    for (index, backend) in world.backends.iter().enumerate() {
        assert_eq!(backend.state.active(), 0);
        assert!(world.set.in_rotation(index));
    }
    (world.served, world.ejections)
}

#[test]
fn the_invariants_hold_in_many_worlds() {
    let (mut served, mut ejections) = (0, 0);
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| run(seed));
        let Ok((of_seed, ejected)) = outcome else {
            panic!("seed {seed} failed; see above");
        };
        served += of_seed;
        ejections += ejected;
    }
    // Otherwise nothing was shown.
    assert!(served > 100_000, "only {served} requests were served");
    assert!(ejections > 1000, "only {ejections} ejections");
}

#[test]
fn a_seed_is_a_world() {
    assert_eq!(run(7), run(7));
}

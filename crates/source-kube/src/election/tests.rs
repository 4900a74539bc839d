//! Replicas with clocks of their own, behind a network that delays, loses and cuts off.

use super::*;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The simulation goes on in such steps, in milliseconds.
const STEP: u64 = 50;

/// What the API server has.
#[derive(Default)]
struct Server {
    lease: Option<Record>,
    writes: u64,
}

impl Server {
    /// Writes what was made of a version, or of none. `None`: a conflict.
    fn write(&mut self, from: Option<&str>, mut record: Record) -> Option<Record> {
        if self.lease.as_ref().map(|lease| lease.version.as_str()) != from {
            return None;
        }
        self.writes += 1;
        record.version = self.writes.to_string();
        self.lease = Some(record.clone());
        Some(record)
    }
}

/// What is under way.
enum Request {
    Read,
    Write(Option<String>, Record),
}

enum Answer {
    Read(Option<Record>),
    Written(Option<Record>),
}

struct Flight {
    request: Option<Request>,
    answer: Option<Answer>,
    sent: Instant,
    arrives: u64,
    returns: u64,
    given_up: u64,
    is_lost: bool,
}

struct Replica {
    election: Election,
    /// Ticks of its clock in a thousand of the world's.
    rate: u64,
    start: Instant,
    flight: Option<Flight>,
    /// Requests that it waits for no longer, and that may arrive all the same.
    strays: Vec<Flight>,
    due: u64,
    cut_off_until: u64,
    is_dead: bool,
}

impl Replica {
    fn new(number: usize, rate: u64, start: Instant, terms: Terms) -> Self {
        Self {
            election: Election::new(format!("replica-{number}"), terms),
            rate,
            start,
            flight: None,
            strays: Vec::new(),
            due: 0,
            cut_off_until: 0,
            is_dead: false,
        }
    }

    fn now(&self, time: u64) -> Instant {
        self.start + Duration::from_millis(time * self.rate / 1000)
    }

    fn send(&mut self, request: Request, time: u64, dice: &mut SmallRng) {
        let is_cut_off = time < self.cut_off_until;
        // Most are fast, some come when nobody waits for them any more.
        let late = if dice.random_ratio(1, 8) { 20_000 } else { 400 };
        let arrives = time + dice.random_range(0..late);
        let patience = Terms::default().patience.as_millis() as u64;
        self.flight = Some(Flight {
            request: Some(request),
            answer: None,
            sent: self.now(time),
            arrives,
            returns: arrives + dice.random_range(0..400),
            given_up: time + patience,
            is_lost: is_cut_off || dice.random_ratio(1, 20),
        });
    }

    /// The next request, as the driver sends them.
    fn begin(&mut self, time: u64, dice: &mut SmallRng) {
        match self.election.own() {
            Some(record) => self.write(Step::Renew(record), time, dice),
            None => self.send(Request::Read, time, dice),
        }
    }

    fn write(&mut self, step: Step, time: u64, dice: &mut SmallRng) {
        let own = |transitions| Record {
            holder: Some(self.election.identity.clone()),
            lasts: self.election.terms.lasts,
            transitions,
            version: String::new(),
        };
        let (from, record) = match step {
            Step::Wait => return self.rest(time, dice),
            Step::Make => (None, own(0)),
            Step::Take(record) => (Some(record.version), own(record.transitions + 1)),
            Step::Renew(record) => (Some(record.version), own(record.transitions)),
        };
        self.send(Request::Write(from, record), time, dice);
    }

    fn rest(&mut self, time: u64, dice: &mut SmallRng) {
        self.due = time + 2000 + dice.random_range(0..500);
    }

    fn step(&mut self, time: u64, server: &mut Server, dice: &mut SmallRng) {
        for flight in self.strays.iter_mut().chain(&mut self.flight) {
            flight.arrive(time, server);
        }
        self.strays.retain(|flight| flight.request.is_some());
        match self.flight.take() {
            None if time >= self.due && !self.is_dead => self.begin(time, dice),
            None => {}
            Some(flight) if time >= flight.given_up => {
                self.election.failed();
                self.strays.push(flight);
                self.rest(time, dice);
            }
            Some(mut flight) if time >= flight.returns && flight.answer.is_some() => {
                let now = self.now(time);
                match flight.answer.take() {
                    Some(Answer::Read(record)) => {
                        self.election.saw(record, now);
                        let step = self.election.step(now);
                        return self.write(step, time, dice);
                    }
                    Some(Answer::Written(Some(record))) => {
                        self.election.wrote(record, flight.sent, now);
                    }
                    _ => self.election.failed(),
                }
                self.rest(time, dice);
            }
            flight => self.flight = flight,
        }
    }
}

impl Flight {
    fn arrive(&mut self, time: u64, server: &mut Server) {
        if time < self.arrives {
            return;
        }
        let Some(request) = self.request.take().filter(|_| !self.is_lost) else {
            return;
        };
        self.answer = Some(match request {
            Request::Read => Answer::Read(server.lease.clone()),
            Request::Write(from, record) => Answer::Written(server.write(from.as_deref(), record)),
        });
    }
}

/// Ten minutes of it. Returns how many times another replica has begun to act.
fn run(seed: u64, rates: &[u64], is_fair: bool) -> usize {
    run_with(Terms::default(), seed, rates, is_fair)
}

fn run_with(terms: Terms, seed: u64, rates: &[u64], is_fair: bool) -> usize {
    let mut dice = SmallRng::seed_from_u64(seed);
    let start = Instant::now();
    let mut replicas: Vec<_> = (rates.iter().enumerate())
        .map(|(number, rate)| {
            // What a clock says means nothing to others.
            let start = start + Duration::from_secs(dice.random_range(0..100_000));
            Replica::new(number, *rate, start, terms)
        })
        .collect();
    let mut server = Server::default();
    let (mut last, mut changes, mut idle) = (None, 0, 0);
    for time in (0..600_000).step_by(STEP as usize) {
        for replica in &mut replicas {
            if !is_fair && dice.random_ratio(1, 2000) {
                replica.cut_off_until = time + dice.random_range(0..60_000);
            }
            replica.step(time, &mut server, &mut dice);
        }
        let acting: Vec<_> = (0..replicas.len())
            .filter(|one| replicas[*one].election.acts(replicas[*one].now(time)))
            .collect();
        assert!(acting.len() <= 1, "seed {seed}: {acting:?} at {time}");
        idle = if acting.is_empty() { idle + STEP } else { 0 };
        // A minute, and one more for those whose requests come late again and again.
        assert!(!is_fair || idle < 120_000, "seed {seed}: nobody at {time}");
        if !acting.is_empty() && acting.first() != last.as_ref() {
            last = acting.first().copied();
            changes += 1;
        }
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the network does and however clocks are set; a third faster than another is more than clocks are.
    #[test]
    fn never_two_act_at_once(seed: u64, rates in prop::collection::vec(870_u64..1150, 1..6)) {
        run(seed, &rates, false);
    }

    #[test]
    fn somebody_acts_while_the_network_is_there(seed: u64, rates in prop::collection::vec(950_u64..1050, 1..4)) {
        prop_assert!(run(seed, &rates, true) >= 1);
    }
}

/// What the simulation is worth: it finds two where one acts for longer than its Lease lasts.
#[test]
#[should_panic(expected = "seed")]
fn the_simulation_finds_two_that_act() {
    let acts = Duration::from_secs(25);
    let terms = Terms {
        acts,
        ..Terms::default()
    };
    for seed in 0..50 {
        run_with(terms, seed, &[1000, 1000, 1000], false);
    }
}

fn record(holder: Option<&str>, version: u64) -> Record {
    Record {
        holder: holder.map(str::to_owned),
        lasts: Duration::from_secs(15),
        transitions: 3,
        version: version.to_string(),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_lease_of_another_is_taken_when_it_was_seen_unchanged_for_as_long_as_it_lasts() {
    let start = Instant::now();
    let mut election = Election::new("me".to_owned(), Terms::default());
    let other = |version| Some(record(Some("other"), version));
    for (after, version, want) in [
        (0, 1, Step::Wait),
        (14, 1, Step::Wait),
        // Renewed, at whatever time it says.
        (15, 2, Step::Wait),
        (29, 2, Step::Wait),
        (30, 2, Step::Take(record(Some("other"), 2))),
    ] {
        let now = start + seconds(after);
        election.saw(other(version), now);
        assert_eq!(election.step(now), want, "{after}");
        election.failed();
    }
}

#[test]
fn a_lease_that_was_given_back_is_taken_at_once_and_one_that_is_not_there_made() {
    let now = Instant::now();
    let mut election = Election::new("me".to_owned(), Terms::default());
    election.saw(Some(record(None, 7)), now);
    assert_eq!(election.step(now), Step::Take(record(None, 7)));
    election.saw(None, now);
    assert_eq!(election.step(now), Step::Make);
}

#[test]
fn a_lease_lasts_as_long_as_its_holder_says_and_not_shorter_than_ones_own() {
    let start = Instant::now();
    for (lasts, want) in [(1, 15), (60, 60), (1_000_000, 3600)] {
        let mut election = Election::new("me".to_owned(), Terms::default());
        let record = Record {
            lasts: seconds(lasts),
            ..record(Some("other"), 1)
        };
        election.saw(Some(record.clone()), start);
        assert_eq!(election.step(start + seconds(want - 1)), Step::Wait);
        assert_eq!(election.step(start + seconds(want)), Step::Take(record));
    }
}

#[test]
fn who_holds_it_acts_for_less_than_it_lasts_from_when_it_asked() {
    let start = Instant::now();
    let mut election = Election::new("me".to_owned(), Terms::default());
    election.wrote(record(Some("me"), 1), start, start + seconds(2));
    assert!(election.acts(start + seconds(9)));
    assert!(!election.acts(start + seconds(10)));
    let terms = Terms::default();
    assert!(
        terms.acts + terms.patience < terms.lasts,
        "what was begun ends before"
    );
}

#[test]
fn who_has_lost_it_or_gives_it_up_acts_no_more() {
    let start = Instant::now();
    let mut election = Election::new("me".to_owned(), Terms::default());
    election.wrote(record(Some("me"), 1), start, start);
    election.failed();
    assert!(election.acts(start), "nobody else can have it yet");
    assert_eq!(election.own(), None, "it is to be read first");
    election.saw(Some(record(Some("other"), 2)), start);
    assert!(!election.acts(start));
    assert_eq!(election.give_up(), None);
    election.wrote(record(Some("me"), 3), start, start);
    assert_eq!(election.give_up(), Some(record(Some("me"), 3)));
    assert!(!election.acts(start));
}

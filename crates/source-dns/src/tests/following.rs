//! When names are looked up, and what is told. Time is moved by waiting for what must come.

use super::script::{Script, found, temporary};
use crate::follower::Follower;
use crate::lookup::{Failure, Family, Found};
use crate::runner::Runner;
use crate::{LookupFamily, Settings};
use config::{Message, ResolvedName};
use model::Hostname;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::Instant;

struct Following {
    script: Script,
    follower: Follower,
    sender: Sender<Message>,
    messages: Receiver<Message>,
    runner: JoinHandle<()>,
}

/// Name, addresses, failure.
type Told = (String, Vec<String>, Option<String>);

impl Following {
    fn new(settings: Settings) -> Self {
        let script = Script::default();
        let (sender, messages) = mpsc::channel(config::QUEUE);
        let (follower, wanted) = Follower::new();
        let runner = Runner::new(script.clone(), settings, sender.downgrade());
        Self {
            script,
            follower,
            sender,
            messages,
            runner: tokio::spawn(runner.run(wanted)),
        }
    }

    fn v4() -> Self {
        Self::new(Settings {
            family: LookupFamily::V4Only,
            ..Settings::default()
        })
    }

    fn follow(&self, names: &[&str]) {
        let names = names.iter().map(|name| Hostname::try_from(*name).unwrap());
        self.follower.follow(&names.collect::<BTreeSet<_>>());
    }

    async fn resolved(&mut self) -> Vec<ResolvedName> {
        let Some(Message::Names(names)) = self.messages.recv().await else {
            panic!("it ended")
        };
        names
    }

    async fn told(&mut self) -> Vec<Told> {
        let names = self.resolved().await;
        let plain = |address: &IpAddr| address.to_string();
        let told = names.into_iter().map(|one| {
            let answer = one.answer;
            let addresses = answer.addresses.iter().map(plain).collect();
            (one.name.to_string(), addresses, answer.failure)
        });
        told.collect()
    }

    /// The next addresses, of the only name, that are told without a failure.
    async fn addresses(&mut self) -> Vec<String> {
        let told = self.told().await;
        let [(_, addresses, None)] = &told[..] else {
            panic!("{told:?}")
        };
        addresses.clone()
    }

    /// Lets time go by, in which nothing must be told.
    async fn silence(&mut self, seconds: u64) {
        let limit = Duration::from_secs(seconds);
        let told = tokio::time::timeout(limit, self.messages.recv()).await;
        assert!(told.is_err(), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_as_long_as_it_lives() {
    let mut following = Following::v4();
    following.script.say("a.test", found(&["192.0.2.1"], 30));
    following.follow(&["a.test"]);
    assert_eq!(following.addresses().await, ["192.0.2.1"]);
    let start = Instant::now();
    following.script.say("a.test", found(&["192.0.2.2"], 30));
    assert_eq!(following.addresses().await, ["192.0.2.2"]);
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn no_answer_counts_shorter_or_longer_than_the_settings_say() {
    for (ttl, want) in [(0, 1), (86_400, 300)] {
        let mut following = Following::v4();
        following.script.say("a.test", found(&["192.0.2.1"], ttl));
        following.follow(&["a.test"]);
        following.addresses().await;
        let start = Instant::now();
        following.script.say("a.test", found(&["192.0.2.2"], ttl));
        following.addresses().await;
        assert_eq!(start.elapsed().as_secs(), want);
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_addresses_in_another_order_are_the_same_answer() {
    let mut following = Following::v4();
    let say = |following: &Following, addresses: &[&str]| {
        following.script.say("a.test", found(addresses, 10));
    };
    say(&following, &["192.0.2.1", "192.0.2.2"]);
    following.follow(&["a.test"]);
    following.addresses().await;
    say(&following, &["192.0.2.2", "192.0.2.1", "192.0.2.2"]);
    following.silence(60).await;
    // The first stays the first as long as it is there.
    say(&following, &["192.0.2.3", "192.0.2.2", "192.0.2.1"]);
    let want = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    assert_eq!(following.addresses().await, want);
    say(&following, &["192.0.2.3", "192.0.2.2"]);
    assert_eq!(following.addresses().await, ["192.0.2.2", "192.0.2.3"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_last_addresses_and_is_told_once() {
    let mut following = Following::v4();
    following.script.say("a.test", found(&["192.0.2.1"], 10));
    following.follow(&["a.test"]);
    following.addresses().await;
    following.script.say("a.test", temporary("timed out"));
    let want = (
        "a.test".to_owned(),
        vec!["192.0.2.1".to_owned()],
        Some("timed out".to_owned()),
    );
    assert_eq!(following.told().await, [want]);
    following.silence(600).await;
    following.script.say("a.test", found(&["192.0.2.1"], 10));
    assert_eq!(following.addresses().await, ["192.0.2.1"]);
}

#[tokio::test(start_paused = true)]
async fn more_addresses_than_are_kept_are_left_aside_and_that_is_told() {
    let mut following = Following::v4();
    let of = |numbers: std::ops::Range<u32>| Found {
        addresses: numbers
            .map(|one| IpAddr::from((one + 1).to_be_bytes()))
            .collect(),
        ttl: Duration::from_secs(10),
        unknown: None,
    };
    let mut first = Vec::new();
    for (count, kept, is_cut) in [(1024, 1024, false), (1025, 1024, true), (3, 3, false)] {
        following.script.say("a.test", Ok(of(0..count)));
        following.follow(&["a.test"]);
        let told = following.resolved().await;
        let answer = &told[0].answer;
        assert_eq!((answer.addresses.len(), answer.is_cut), (kept, is_cut));
        first.push(answer.addresses[0]);
    }
    assert!(first.iter().all(|one| *one == first[0]));
    following.script.say("a.test", Ok(of(0..2000)));
    following.resolved().await;
    // Others of too many are no news while those that are used are there.
    following.script.say("a.test", Ok(of(0..3000)));
    following.silence(60).await;
    following.script.say("a.test", temporary("timed out"));
    let told = following.resolved().await;
    assert!(told[0].answer.is_cut && told[0].answer.failure.is_some());
}

#[tokio::test(start_paused = true)]
async fn failures_are_repeated_with_growing_pauses() {
    let mut following = Following::v4();
    following.script.say("a.test", temporary("timed out"));
    following.follow(&["a.test"]);
    following.told().await;
    following.silence(250).await;
    let asked = following.script.asked();
    let pauses: Vec<u64> = asked
        .windows(2)
        .map(|pair| (pair[1].1 - pair[0].1).as_secs())
        .collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

/// As in Envoy's strict DNS: that there is nothing is an answer.
#[tokio::test(start_paused = true)]
async fn a_name_that_is_no_more_stands_for_nothing() {
    for failure in [
        Failure::NoSuchName { ttl: None },
        Failure::NoAddress { ttl: None },
    ] {
        let mut following = Following::v4();
        following.script.say("a.test", found(&["192.0.2.1"], 10));
        following.follow(&["a.test"]);
        following.addresses().await;
        following.script.say("a.test", Err(failure.clone()));
        let want = ("a.test".to_owned(), vec![], Some(failure.to_string()));
        assert_eq!(following.told().await, [want]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_any_more_is_not_looked_up() {
    let mut following = Following::v4();
    following.script.say("a.test", found(&["192.0.2.1"], 1));
    following.follow(&["a.test"]);
    following.addresses().await;
    following.follow(&[]);
    following.silence(10).await;
    let asked = following.script.asked().len();
    following.silence(100).await;
    assert_eq!(following.script.asked().len(), asked);
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_again_is_told_again() {
    let mut following = Following::v4();
    following.script.say("a.test", found(&["192.0.2.1"], 60));
    following.follow(&["a.test"]);
    following.addresses().await;
    // Both wishes may be seen as one.
    following.follow(&[]);
    following.follow(&["a.test"]);
    assert_eq!(following.addresses().await, ["192.0.2.1"]);
    // Others that come beside it are no reason.
    following.script.say("b.test", found(&["192.0.2.2"], 60));
    following.follow(&["a.test", "b.test"]);
    let told = following.told().await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, "b.test");
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_does_not_end_is_a_failure_and_others_wait_for_their_turn() {
    let mut following = Following::v4();
    following.script.takes(Duration::MAX);
    let names: Vec<String> = (0..100).map(|number| format!("n{number}.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let start = Instant::now();
    following.follow(&names);
    let mut told = following.told().await;
    assert_eq!(start.elapsed().as_secs(), 5);
    let asked = following.script.asked();
    let at_once = asked.iter().filter(|(_, at)| *at == start);
    assert_eq!(at_once.count(), 32);
    while told.len() < 100 {
        let more = following.told().await;
        told.extend(more);
    }
    let failed = |(_, _, failure): &Told| failure.as_deref() == Some("no answer in time");
    assert!(told.iter().all(failed));
}

#[tokio::test(start_paused = true)]
async fn there_is_an_end_to_how_many_names_are_followed() {
    let mut following = Following::v4();
    let names: Vec<String> = (0..=10_000)
        .map(|number| format!("n{number}.test"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    following.follow(&names);
    let told = following.told().await;
    let [(_, _, Some(why))] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(why.contains("10000 names"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn both_kinds_of_addresses_are_together_unless_one_cannot_be_found_out() {
    let mut following = Following::new(Settings {
        family: LookupFamily::All,
        ..Settings::default()
    });
    following.script.say("a.test", found(&["192.0.2.1"], 60));
    following
        .script
        .say_of("a.test", Family::V6, found(&["2001:db8::1"], 10));
    following.follow(&["a.test"]);
    assert_eq!(following.addresses().await, ["192.0.2.1", "2001:db8::1"]);
    // The shorter life counts. What nobody knows for the moment stays.
    following.script.say("a.test", found(&["192.0.2.2"], 10));
    following
        .script
        .say_of("a.test", Family::V6, temporary("timed out"));
    assert_eq!(following.addresses().await, ["2001:db8::1", "192.0.2.2"]);
    following
        .script
        .say_of("a.test", Family::V6, Err(Failure::NoAddress { ttl: None }));
    assert_eq!(following.addresses().await, ["192.0.2.2"]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_nobody_answers_for_takes_nothing_from_the_other() {
    let mut following = Following::new(Settings {
        family: LookupFamily::All,
        ..Settings::default()
    });
    following.script.say("a.test", found(&["192.0.2.1"], 10));
    following
        .script
        .say_of("a.test", Family::V6, found(&["2001:db8::1"], 10));
    // Nobody waits, so slow is no reason to do without.
    following
        .script
        .takes_of(Family::V6, Duration::from_secs(4));
    following.follow(&["a.test"]);
    assert_eq!(following.addresses().await, ["192.0.2.1", "2001:db8::1"]);
    following.script.takes_of(Family::V6, Duration::MAX);
    following.script.say("a.test", found(&["192.0.2.2"], 10));
    assert_eq!(following.addresses().await, ["2001:db8::1", "192.0.2.2"]);
}

#[tokio::test(start_paused = true)]
async fn the_other_kind_is_asked_for_when_the_preferred_has_none() {
    let mut following = Following::new(Settings {
        family: LookupFamily::V4Preferred,
        ..Settings::default()
    });
    following
        .script
        .say("a.test", Err(Failure::NoAddress { ttl: None }));
    following
        .script
        .say_of("a.test", Family::V6, found(&["2001:db8::1"], 10));
    following.follow(&["a.test"]);
    assert_eq!(following.addresses().await, ["2001:db8::1"]);
    following.script.say("a.test", found(&["192.0.2.1"], 10));
    assert_eq!(following.addresses().await, ["192.0.2.1"]);
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_follower_or_with_the_other_senders() {
    let Following {
        follower, runner, ..
    } = Following::v4();
    drop(follower);
    runner.await.unwrap();
    let Following {
        follower,
        sender,
        mut messages,
        runner,
        ..
    } = Following::v4();
    drop(sender);
    assert_eq!(messages.recv().await, None);
    follower.follow(&BTreeSet::from([Hostname::try_from("a.test").unwrap()]));
    runner.await.unwrap();
}

//! Look-ups without a server.

use crate::demand::Demand;
use crate::lookup::{Failure, Family, Found, Lookup};
use crate::{LookupFamily, Settings, Unresolved};
use model::Hostname;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Answers as a test says.
#[derive(Clone, Default)]
pub(super) struct Script(Arc<Mutex<Scripted>>);

#[derive(Default)]
struct Scripted {
    outcomes: HashMap<(String, bool), Result<Found, Failure>>,
    /// Names looked up, and when.
    asked: Vec<(String, Instant)>,
    /// How long each look-up takes, of IPv4 and of IPv6.
    takes: [Duration; 2],
}

impl Lookup for Script {
    async fn lookup(&self, name: &Hostname, family: Family) -> Result<Found, Failure> {
        let (outcome, takes) = {
            let mut scripted = self.0.lock().unwrap();
            scripted
                .asked
                .push((name.as_str().to_owned(), Instant::now()));
            let key = (name.as_str().to_owned(), family == Family::V6);
            let takes = scripted.takes[family as usize];
            (scripted.outcomes.get(&key).cloned(), takes)
        };
        tokio::time::sleep(takes).await;
        outcome.unwrap_or(Err(Failure::NoSuchName { ttl: None }))
    }
}

impl Script {
    pub(super) fn say(&self, name: &str, outcome: Result<Found, Failure>) {
        self.say_of(name, Family::V4, outcome);
    }

    pub(super) fn say_of(&self, name: &str, family: Family, outcome: Result<Found, Failure>) {
        let key = (name.to_owned(), family == Family::V6);
        self.0.lock().unwrap().outcomes.insert(key, outcome);
    }

    pub(super) fn takes(&self, time: Duration) {
        self.0.lock().unwrap().takes = [time; 2];
    }

    pub(super) fn takes_of(&self, family: Family, time: Duration) {
        self.0.lock().unwrap().takes[family as usize] = time;
    }

    pub(super) fn asked(&self) -> Vec<(String, Instant)> {
        self.0.lock().unwrap().asked.clone()
    }
}

pub(super) fn found(addresses: &[&str], ttl: u64) -> Result<Found, Failure> {
    Ok(Found {
        addresses: self::addresses(addresses),
        ttl: Duration::from_secs(ttl),
        unknown: None,
    })
}

pub(super) fn temporary(why: &str) -> Result<Found, Failure> {
    Err(Failure::Temporary(why.to_owned()))
}

pub(super) fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Requests for names, and who answers.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) script: Script,
    pub(super) demand: Arc<Demand<Script>>,
}

type Answer = Result<Arc<[IpAddr]>, Unresolved>;

impl Asking {
    pub(super) fn new(settings: Settings) -> Self {
        let script = Script::default();
        let demand = Arc::new(Demand::new(script.clone(), settings));
        Self { script, demand }
    }

    pub(super) fn v4() -> Self {
        Self::new(Settings {
            family: LookupFamily::V4Only,
            ..Settings::default()
        })
    }

    pub(super) async fn resolve(&self, name: &str) -> Answer {
        let name = Hostname::try_from(name).unwrap();
        self.demand.resolve(&name).await
    }

    /// The addresses of a name that has some.
    pub(super) async fn told(&self, name: &str) -> Vec<String> {
        let addresses = self.resolve(name).await.unwrap();
        addresses.iter().map(ToString::to_string).collect()
    }

    pub(super) fn owned(self, name: &str) -> impl Future<Output = Answer> + Send + use<> {
        let name = name.to_owned();
        async move { self.resolve(&name).await }
    }

    /// A request that can go away.
    pub(super) fn spawn(&self, name: &str) -> JoinHandle<Answer> {
        tokio::spawn(self.clone().owned(name))
    }

    pub(super) async fn later(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

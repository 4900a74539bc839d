//! Years of several replicas that read and write at any time, are cut off, die in between, and have clocks of their own.
//! Whatever an API server has been told, now or half a day ago, verifies whatever a replica shows.

use super::*;
use crate::keys::{SKEW, days};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

const NAME: &str = "webhook.tidegate.svc";

/// How late an API server may be with what it was told.
const LAG: Duration = Duration::from_secs(12 * 60 * 60);

/// No replica is without the API server for longer: a third of a certificate's life is 10 days.
const LONGEST_CUT: Duration = days(9);

#[derive(Default)]
struct State {
    secret: Option<Data>,
    secret_version: u64,
    /// Two configurations, each with its version.
    bundles: [(String, u64); 2],
}

/// What every replica sees, one operation at a time.
#[derive(Clone, Default)]
struct Cluster(Arc<Mutex<State>>);

/// Lets others have their turn before an operation.
#[derive(Default)]
struct Turn(bool);

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match std::mem::replace(&mut self.0, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Store for Cluster {
    type Secret = u64;
    type Configuration = (usize, u64);

    async fn configurations(&self) -> Result<Vec<Told<(usize, u64)>>, String> {
        let mut all = Vec::new();
        for number in 0..2 {
            Turn::default().await;
            let (bundle, version) = self.0.lock().unwrap().bundles[number].clone();
            all.push(Told {
                configuration: (number, version),
                bundles: vec![bundle.into_bytes()],
            });
        }
        Ok(all)
    }

    async fn secret(&self) -> Result<Option<(Data, u64)>, String> {
        Turn::default().await;
        let state = self.0.lock().unwrap();
        let version = state.secret_version;
        Ok(state.secret.clone().map(|data| (data, version)))
    }

    async fn write(&self, data: Data, former: Option<u64>) -> Result<(), Unwritten> {
        Turn::default().await;
        let mut state = self.0.lock().unwrap();
        let known = state.secret.as_ref().map(|_| state.secret_version);
        if known != former {
            return Err(Unwritten::Conflict);
        }
        state.secret = Some(data);
        state.secret_version += 1;
        Ok(())
    }

    async fn tell(&self, (number, version): (usize, u64), bundle: &str) -> Result<(), Unwritten> {
        Turn::default().await;
        let told = &mut self.0.lock().unwrap().bundles[number];
        if told.1 != version {
            return Err(Unwritten::Conflict);
        }
        *told = (bundle.to_owned(), version + 1);
        Ok(())
    }
}

type Passing = Pin<Box<dyn Future<Output = Result<Kept, String>>>>;

struct Replica {
    clock: Arc<Mutex<SystemTime>>,
    /// Whether its clock is ahead, and how far it is off.
    offset: (bool, Duration),
    passing: Option<Passing>,
    shown: Option<Vec<CertificateDer<'static>>>,
    last_pass: SystemTime,
    cut_until: SystemTime,
}

impl Replica {
    fn new(random: &mut SmallRng, now: SystemTime) -> Self {
        let offset = Duration::from_secs(random.random_range(0..SKEW.as_secs() / 2));
        Self {
            clock: Arc::new(Mutex::new(now)),
            offset: (random.random(), offset),
            passing: None,
            shown: None,
            last_pass: now,
            cut_until: now,
        }
    }

    fn step(&mut self, cluster: &Cluster, now: SystemTime) {
        let (is_ahead, offset) = self.offset;
        *self.clock.lock().unwrap() = if is_ahead { now + offset } else { now - offset };
        let passing = self.passing.get_or_insert_with(|| {
            let (cluster, clock) = (cluster.clone(), self.clock.clone());
            Box::pin(async move {
                let now = || *clock.lock().unwrap();
                pass(&cluster, &[NAME.to_owned()], now).await
            })
        });
        let polled = passing
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(ended) = polled {
            self.passing = None;
            if let Ok(kept) = ended {
                let shown = &kept.keys.leaf.credential.certified_key.cert;
                self.shown = Some(shown.clone());
                self.last_pass = now;
            }
        }
    }
}

/// What an API server says of what a replica shows.
fn verify(shown: &[CertificateDer<'_>], bundle: &str, now: SystemTime) -> Result<(), String> {
    let trusted: Vec<_> = CertificateDer::pem_slice_iter(bundle.as_bytes())
        .map(Result::unwrap)
        .collect();
    let anchors: Vec<_> = trusted
        .iter()
        .map(|der| anchor_from_trusted_cert(der).unwrap())
        .collect();
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let leaf = EndEntityCert::try_from(&shown[0]).unwrap();
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    let (time, usage) = (UnixTime::since_unix_epoch(now), KeyUsage::server_auth());
    leaf.verify_for_usage(algorithms, &anchors, &shown[1..], time, usage, None, None)
        .map_err(|why| why.to_string())?;
    let name = ServerName::try_from(NAME).unwrap();
    leaf.verify_is_valid_for_subject_name(&name)
        .map_err(|why| why.to_string())
}

fn simulate(seed: u64) -> usize {
    let mut random = SmallRng::seed_from_u64(seed);
    let cluster = Cluster::default();
    let start = SystemTime::UNIX_EPOCH + days(365 * 56);
    let mut now = start;
    let mut replicas: Vec<_> = (0..3).map(|_| Replica::new(&mut random, now)).collect();
    // What was told at which time, for an API server that is late.
    let mut told: Vec<(SystemTime, [String; 2])> = Vec::new();
    // Nobody is verified right after the beginning, and after others have meddled.
    let mut excused_until = start + days(3);
    let mut checks = 0;
    while now < start + days(2 * 365) {
        now += match random.random_range(0..40) {
            0 => Duration::from_secs(random.random_range(0..3 * 24 * 60 * 60)),
            1..15 => Duration::from_secs(random.random_range(0..60)),
            _ => Duration::from_secs(random.random_range(0..12 * 60 * 60)),
        };
        for replica in &mut replicas {
            let is_cut = now < replica.cut_until;
            let must = now > replica.last_pass + LONGEST_CUT - days(4);
            for _ in 0..random.random_range(0..=8) {
                if !is_cut || must {
                    replica.step(&cluster, now);
                }
            }
            match random.random_range(0..100) {
                0 => replica.passing = None,
                1 => {
                    replica.cut_until =
                        now + Duration::from_secs(random.random_range(0..4 * 24 * 60 * 60))
                }
                2 => *replica = Replica::new(&mut random, now),
                _ => {}
            }
        }
        if random.random_range(0..500) == 0 {
            // Somebody has applied the chart again, whose configurations trust nobody.
            let mut state = cluster.0.lock().unwrap();
            state.bundles[0] = (String::new(), state.bundles[0].1 + 1);
            excused_until = now + LONGEST_CUT + LAG;
        }
        let bundles = cluster.0.lock().unwrap().bundles.clone();
        told.push((now, bundles.map(|(bundle, _)| bundle)));
        let late = told.iter().rposition(|(at, _)| *at + LAG <= now);
        told.drain(..late.unwrap_or(0));
        if now < excused_until {
            continue;
        }
        for (number, replica) in replicas.iter().enumerate() {
            let Some(shown) = &replica.shown else {
                continue;
            };
            let first_and_last = [told.first(), told.last()].into_iter().flatten();
            let bundles: BTreeSet<_> = first_and_last.flat_map(|(_, bundles)| bundles).collect();
            for bundle in bundles {
                let verified = verify(shown, bundle, now);
                let day = now.duration_since(start).unwrap().as_secs() / 86400;
                assert_eq!(verified, Ok(()), "seed {seed}, replica {number}, day {day}");
                checks += 1;
            }
        }
    }
    checks
}

#[test]
fn what_is_shown_is_always_trusted() {
    for seed in 0..2 {
        let checks = simulate(seed);
        assert!(checks > 1_000, "{checks}");
    }
}

//! Which target is asked when.

use crate::hosts::Hosts;
use crate::probe::probe;
use crate::{Check, Checker, Connect, Counts, DRAWS, Failure, Health, TargetKey, Targets};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Probes in flight. Others that are due wait, those that are due longest first: with every one of them running into
/// a timeout of a second, so many are asked each second.
pub const CONCURRENT_PROBES: usize = 64;

type Report = Box<dyn Fn(&TargetKey, &Health) + Send + Sync>;
type ProbeResult = Result<(), Failure>;

/// Keeps the schedule: a queue by time, and the probes in flight.
pub(crate) struct Scheduler {
    connector: Arc<dyn Connect>,
    report: Report,
    hosts: Hosts,
    dice: SmallRng,
    entries: HashMap<Arc<TargetKey>, Entry>,
    /// Every entry without a probe, by when it is due.
    queue: BTreeSet<(Instant, Arc<TargetKey>)>,
    probes: JoinSet<ProbeResult>,
    /// Whose each probe in flight is, those that were given up included.
    asked: HashMap<Id, Arc<TargetKey>>,
}

struct Entry {
    checker: Checker,
    /// In flight.
    probe: Option<AbortHandle>,
}

impl Entry {
    fn due(&self) -> Instant {
        self.checker.due().into()
    }
}

impl Scheduler {
    pub(crate) fn new(
        connector: Arc<dyn Connect>,
        counts: Arc<dyn Counts>,
        report: Report,
    ) -> Self {
        Self {
            connector,
            report,
            hosts: Hosts::new(counts),
            dice: SmallRng::from_os_rng(),
            entries: HashMap::new(),
            queue: BTreeSet::new(),
            probes: JoinSet::new(),
            asked: HashMap::new(),
        }
    }

    /// Ends when there is nobody to be told targets by.
    pub(crate) async fn run(mut self, mut follow: watch::Receiver<Arc<Targets>>) {
        loop {
            self.ask_due();
            let next = self.next_due();
            tokio::select! {
                changed = follow.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let targets = Arc::clone(&follow.borrow_and_update());
                    self.adopt(&targets);
                }
                Some(joined) = self.probes.join_next_with_id() => self.take_in(joined),
                () = until(next) => {}
            }
        }
    }

    /// Absent: nothing is to be begun before a probe ends or targets change.
    fn next_due(&self) -> Option<Instant> {
        let (due, _) = self.queue.first()?;
        (self.probes.len() < CONCURRENT_PROBES).then_some(*due)
    }

    fn ask_due(&mut self) {
        let now = Instant::now();
        while self.next_due().is_some_and(|due| due <= now) {
            if let Some((_, key)) = self.queue.pop_first() {
                self.ask(key);
            }
        }
    }

    fn ask(&mut self, key: Arc<TargetKey>) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let (connector, target) = (Arc::clone(&self.connector), Arc::clone(&key));
        let check = Arc::clone(entry.checker.check());
        let handle = self
            .probes
            .spawn(async move { probe(&*connector, &target, &check).await });
        self.asked.insert(handle.id(), key);
        entry.probe = Some(handle);
    }

    fn take_in(&mut self, joined: Result<(Id, ProbeResult), JoinError>) {
        let (id, result) = joined.unwrap_or_else(|error| (error.id(), Err(Failure::Bug)));
        if let Some(key) = self.asked.remove(&id) {
            self.record(&key, id, &result);
        }
    }

    fn record(&mut self, key: &Arc<TargetKey>, id: Id, result: &ProbeResult) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        // What was asked before the target went away and came back is not to be believed.
        if entry.probe.as_ref().map(AbortHandle::id) != Some(id) {
            return;
        }
        entry.probe = None;
        let was_unhealthy = entry.checker.is_unhealthy();
        let draw = self.dice.random_range(0..DRAWS);
        let flipped = entry.checker.record(result, Instant::now().into(), draw);
        self.queue.insert((entry.due(), Arc::clone(key)));
        let word = result.as_ref().err().map_or("success", Failure::word);
        self.hosts.count(&key.host, word);
        if let Some(health) = flipped {
            self.tell(key, &health, was_unhealthy);
        }
    }

    fn tell(&mut self, key: &TargetKey, health: &Health, was_unhealthy: bool) {
        match health {
            Health::Unhealthy { .. } => self.hosts.one_more_is_unhealthy(&key.host),
            _ if was_unhealthy => self.hosts.one_less_is_unhealthy(&key.host),
            _ => {}
        }
        log(key, health, was_unhealthy);
        (self.report)(key, health);
    }

    /// Begins what is new before it ends what is gone.
    fn adopt(&mut self, targets: &Targets) {
        for (key, check) in targets {
            match self.entries.get(key) {
                Some(entry) if entry.checker.check() == check => {}
                Some(_) => {
                    self.end(key);
                    self.begin(key, check);
                }
                None => self.begin(key, check),
            }
        }
        let known = self.entries.keys();
        let gone: Vec<_> = known
            .filter(|key| !targets.contains_key(&***key))
            .cloned()
            .collect();
        for key in gone {
            self.end(&key);
        }
        self.hosts.forget_empty();
    }

    fn begin(&mut self, key: &TargetKey, check: &Arc<Check>) {
        let key = Arc::new(key.clone());
        let draw = self.dice.random_range(0..DRAWS);
        let checker = Checker::new(Arc::clone(check), Instant::now().into(), draw);
        let entry = Entry {
            checker,
            probe: None,
        };
        self.hosts.begin(&key.host);
        self.queue.insert((entry.due(), Arc::clone(&key)));
        self.entries.insert(key, entry);
    }

    fn end(&mut self, key: &TargetKey) {
        let Some((key, entry)) = self.entries.remove_entry(key) else {
            return;
        };
        if let Some(probe) = &entry.probe {
            probe.abort();
        }
        self.queue.remove(&(entry.due(), Arc::clone(&key)));
        self.hosts.end(&key.host);
        if entry.checker.is_known() {
            self.tell(&key, &Health::Unchecked, entry.checker.is_unhealthy());
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn log(key: &TargetKey, health: &Health, was_unhealthy: bool) {
    let TargetKey {
        host,
        port,
        address,
    } = key;
    match health {
        Health::Unhealthy { why } => {
            tracing::warn!(%host, port, %address, %why, "endpoint is unhealthy");
        }
        Health::Healthy if was_unhealthy => {
            tracing::info!(%host, port, %address, "endpoint is healthy again");
        }
        Health::Healthy => tracing::debug!(%host, port, %address, "endpoint is healthy"),
        Health::Unchecked => {
            tracing::debug!(%host, port, %address, "endpoint is not checked any more")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Ask, Stream};
    use async_trait::async_trait;
    use std::io;
    use std::num::NonZeroU32;
    use std::sync::Mutex;
    use std::time::Duration;

    struct Nowhere;

    #[async_trait]
    impl Connect for Nowhere {
        async fn connect(&self, _: &TargetKey, _: &Check) -> io::Result<Box<dyn Stream>> {
            std::future::pending().await
        }
    }

    struct Uncounted;

    impl Counts for Uncounted {
        fn checked(&self, _host: &str, _result: &'static str) {}
        fn unhealthy(&self, _host: &str, _endpoints: usize) {}
        fn forget(&self, _host: &str) {}
    }

    fn targets(interval: Duration) -> Targets {
        let key = TargetKey {
            host: "a.test".into(),
            port: 80,
            address: Address::Unix("/run/a".into()),
        };
        let check = Check {
            ask: Ask::Tcp,
            interval,
            timeout: Duration::from_secs(1),
            jitter: Duration::ZERO,
            healthy_threshold: NonZeroU32::MIN,
            unhealthy_threshold: NonZeroU32::MIN,
        };
        Targets::from([(key, Arc::new(check))])
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_that_was_overtaken_by_another_check_is_not_believed() {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let reports = Arc::clone(&reported);
        let report = move |_: &TargetKey, health: &Health| {
            reports.lock().unwrap().push(health.clone());
        };
        let mut scheduler =
            Scheduler::new(Arc::new(Nowhere), Arc::new(Uncounted), Box::new(report));
        scheduler.adopt(&targets(Duration::from_secs(1)));
        scheduler.ask_due();
        let former = *scheduler.asked.keys().next().unwrap();
        scheduler.adopt(&targets(Duration::from_secs(2)));
        scheduler.ask_due();
        let mut asked = scheduler.asked.keys().copied();
        let newer = asked.find(|id| *id != former).unwrap();
        scheduler.take_in(Ok((former, Err(Failure::Timeout))));
        assert!(reported.lock().unwrap().is_empty());
        scheduler.take_in(Ok((newer, Ok(()))));
        assert_eq!(*reported.lock().unwrap(), [Health::Healthy]);
        assert!(scheduler.asked.is_empty());
    }
}

//! The thread that orders, renews and tries again.

use crate::client::{Client, RetryAfter};
use crate::failure::{Chain, Failure};
use crate::keeping::Keeping;
use crate::order::{Issued, order};
use crate::renewal_info::{Suggestion, ask, identifier};
use crate::schedule::{DRAWS, Plan, Validity, ask_again_in};
use crate::shared::{Shared, Turn};
use crate::storage::{Storage, StorageError, StoredCertificate, Unusable};
use crate::{Publish, Settings, Wanted, account};
use certificates::Credential;
use instant_acme::{Account, CertificateIdentifier};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use telemetry::Metrics;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, oneshot};

/// How long to sleep at most: the wall clock may be set in between.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How long to wait when a vault cannot be read.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// How long to wait after a bug.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// How often a server is asked anew that had no suggestion, or no answer.
const ASK_ANEW: Duration = Duration::from_secs(24 * 60 * 60);
const ASK_AFTER_FAILURE: Duration = Duration::from_secs(60 * 60);

/// Orders go on until this is dropped.
#[derive(Debug)]
pub struct Running {
    _stop: oneshot::Sender<()>,
}

/// Makes the folders of all credentials, so that they can be watched before anything is in them. What fails is
/// logged.
pub fn prepare(settings: &Settings) {
    let storage = Storage::new(settings.storage.clone());
    for wanted in &settings.wanted {
        if let Err(error) = storage.prepare(&wanted.credential) {
            tracing::error!(error = %Chain(&error), "check [acme] storage and its permissions");
        }
    }
}

/// Orders and renews on a thread of its own.
///
/// # Errors
///
/// When the thread cannot be started. Whatever fails later is logged, counted and tried again.
pub fn start<P: Publish>(
    settings: Settings,
    publish: P,
    metrics: Arc<Metrics>,
) -> io::Result<Running> {
    let storage = Keeping::Folder(Storage::new(settings.storage.clone()));
    start_with(settings, storage, None, publish, metrics)
}

/// As [`start`], as one of several replicas: what is kept is in the vault, and not in [`Settings::storage`], and this one
/// orders only when it is its turn. Whoever's turn it becomes begins with what is kept.
///
/// # Errors
///
/// When the thread cannot be started. Whatever fails later is logged, counted and tried again.
pub fn start_shared<P: Publish>(
    settings: Settings,
    shared: Shared,
    publish: P,
    metrics: Arc<Metrics>,
) -> io::Result<Running> {
    let storage = Keeping::Vault(shared.vault);
    start_with(settings, storage, Some(shared.turn), publish, metrics)
}

fn start_with<P: Publish>(
    settings: Settings,
    storage: Keeping,
    turn: Option<Box<dyn Turn>>,
    publish: P,
    metrics: Arc<Metrics>,
) -> io::Result<Running> {
    // One order at a time, on one thread: gentle with the server, and writing to disk holds nobody up.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let mut runner = Runner {
        settings,
        storage,
        publish,
        metrics,
        dice: SmallRng::from_os_rng(),
        turn: turn.map(|turn| Arc::new(Mutex::new(turn))),
        jobs: Vec::new(),
        doing: None,
    };
    std::thread::Builder::new()
        .name("acme".into())
        .spawn(move || runner.run_on(&runtime, stopped))?;
    Ok(Running { _stop: stop })
}

struct Runner<P> {
    settings: Settings,
    storage: Keeping,
    publish: P,
    metrics: Arc<Metrics>,
    dice: SmallRng,
    /// When this replica orders. Absent: always.
    turn: Option<Arc<Mutex<Box<dyn Turn>>>>,
    /// Kept when a bug ends what is done: when the next attempt is due is known only here.
    jobs: Vec<Job>,
    /// Which job is busy with what, so that a bug can be laid to its charge.
    doing: Option<(usize, Task)>,
}

/// One certificate to hold.
struct Job {
    wanted: Wanted,
    plan: Plan,
    /// How the server calls the certificate that is held. Absent: none is, or it cannot be called.
    identifier: Option<CertificateIdentifier<'static>>,
    /// When to ask the server for its suggestion.
    ask_at: Option<SystemTime>,
    /// Whether the server takes part in suggesting.
    is_suggested: bool,
    /// What came and could not be stored. Ordering it anew would spend what a public server allows in a week.
    unstored: Option<Arc<Issued>>,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Task {
    Ask,
    Order,
}

impl Job {
    fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            plan: Plan::default(),
            identifier: None,
            ask_at: None,
            is_suggested: false,
            unstored: None,
        }
    }

    /// What is still to be stored. What has run out is of no use to anybody.
    fn unstored(&self, now: SystemTime) -> Option<Arc<Issued>> {
        let issued = self.unstored.as_ref();
        issued
            .filter(|issued| issued.credential.not_after > now)
            .map(Arc::clone)
    }

    /// Takes over what is known of an earlier turn and is kept nowhere. What was held then is not, since that may be gone.
    fn go_on_from(&mut self, before: Self) {
        let held = self.plan.held();
        self.unstored = before
            .unstored
            .filter(|issued| held.is_none_or(|held| issued.credential.not_after > held.not_after));
        self.plan.go_on_from(&before.plan);
    }

    /// Whatever is wrong with asking must not keep orders from their turn.
    fn ask_later(&mut self, now: SystemTime) {
        let held = self.plan.held();
        self.ask_at = held.map(|held| now + ask_again_in(ASK_AFTER_FAILURE, held));
    }

    fn hold(&mut self, credential: &Credential, now: SystemTime) {
        let leaf = credential.certified_key.cert.first();
        self.identifier = leaf.and_then(identifier);
        self.ask_at = self.identifier.is_some().then_some(now);
        self.is_suggested = false;
    }

    fn next(&self) -> (SystemTime, Task) {
        let order = (self.plan.due(), Task::Order);
        let ask = self.ask_at.map(|at| (at, Task::Ask));
        ask.map_or(order, |ask| ask.min(order))
    }
}

impl<P: Publish> Runner<P> {
    /// A bug must cost an attempt, and not all renewals to come.
    fn run_on(&mut self, runtime: &Runtime, mut stopped: oneshot::Receiver<()>) {
        while !self.ends_well(runtime, &mut stopped) {
            std::thread::sleep(AFTER_PANIC);
        }
    }

    /// Runs until it is stopped, or until a bug ends it, which is noted.
    fn ends_well(&mut self, runtime: &Runtime, stopped: &mut oneshot::Receiver<()>) -> bool {
        let is_well = guarded(|| {
            runtime.block_on(async {
                tokio::select! {
                    () = self.take_turns() => {}
                    _ = stopped => {}
                }
            });
        });
        // Guarded as well: the bug may be in what noting it does.
        if !is_well && !guarded(|| self.note_bug()) {
            tracing::error!("a bug could not be laid to the charge of a credential");
        }
        is_well
    }

    /// A bug that comes after an order is counted by the server each time: it is backed off from as from a refusal.
    fn note_bug(&mut self) {
        tracing::error!("a bug ended what was being done, and all goes on in a minute");
        match self.doing.take() {
            Some((index, Task::Order)) => self.failed(index, &Failure::Bug, None),
            Some((index, Task::Ask)) => self.jobs[index].ask_later(SystemTime::now()),
            None => {}
        }
    }

    async fn take_turns(&mut self) {
        let Some(turn) = self.turn.clone() else {
            return self.run().await;
        };
        let mut turn = turn.lock().await;
        loop {
            turn.begins().await;
            tokio::select! {
                () = self.run_from_vault() => {}
                () = turn.ends() => tracing::info!("another replica orders certificates"),
            }
            self.doing = None;
        }
    }

    /// Never ends.
    async fn run_from_vault(&mut self) {
        self.publish.withdraw().await;
        while let Err(error) = self.reload().await {
            tracing::warn!(error = %Chain(&error), "what is kept of certificates cannot be read");
            tokio::time::sleep(READ_AGAIN).await;
        }
        self.run().await;
        std::future::pending().await
    }

    /// What is kept counts, which may have come from another replica. It is known here alone what came and could not be
    /// stored, and when to try again.
    async fn reload(&mut self) -> Result<(), StorageError> {
        let mut jobs = self.load(SystemTime::now()).await?;
        let before = std::mem::take(&mut self.jobs);
        for (job, before) in jobs.iter_mut().zip(before) {
            job.go_on_from(before);
        }
        self.jobs = jobs;
        Ok(())
    }

    async fn run(&mut self) {
        if self.jobs.is_empty() {
            match self.load(SystemTime::now()).await {
                Ok(jobs) => self.jobs = jobs,
                Err(error) => tracing::error!(error = %Chain(&error), "nothing can be ordered"),
            }
        }
        while let Some((index, due, task)) = self.next() {
            let now = SystemTime::now();
            match due.duration_since(now) {
                Ok(wait) if wait > Duration::ZERO => {
                    tokio::time::sleep(wait.min(LONGEST_SLEEP)).await;
                }
                _ => self.perform(index, task).await,
            }
        }
    }

    async fn perform(&mut self, index: usize, task: Task) {
        self.doing = Some((index, task));
        match task {
            Task::Ask => self.ask(index).await,
            Task::Order => self.order(index).await,
        }
        self.doing = None;
    }

    fn next(&self) -> Option<(usize, SystemTime, Task)> {
        let jobs = self.jobs.iter().enumerate();
        let (index, (due, task)) = jobs
            .map(|(index, job)| (index, job.next()))
            .min_by_key(|(_, next)| *next)?;
        Some((index, due, task))
    }

    fn draw(&mut self) -> u16 {
        self.dice.random_range(0..DRAWS)
    }

    /// All that is wanted, with what is stored of it.
    ///
    /// # Errors
    ///
    /// A vault that cannot be read is none without certificates. A folder in which something cannot be read is.
    async fn load(&mut self, now: SystemTime) -> Result<Vec<Job>, StorageError> {
        let mut jobs = Vec::new();
        for wanted in self.settings.wanted.clone() {
            jobs.push(self.job(wanted, now).await?);
        }
        Ok(jobs)
    }

    async fn job(&mut self, wanted: Wanted, now: SystemTime) -> Result<Job, StorageError> {
        let draw = self.draw();
        let mut job = Job::new(wanted);
        let (credential, names) = (&job.wanted.credential, &job.wanted.names);
        match self.storage.certificate(credential).await {
            Ok(None) => tracing::info!(%credential, %names, "a certificate will be ordered"),
            Ok(Some(stored)) => match self.reason_to_replace(&stored, &job.wanted, now) {
                None => {
                    job.plan = Plan::holding(validity(&stored.credential), draw);
                    job.hold(&stored.credential, now);
                    let credential = &job.wanted.credential;
                    tracing::info!(%credential, renewal = %At(job.plan.due()), "a stored certificate is used");
                }
                Some(reason) => {
                    tracing::info!(%credential, %names, reason, "a new certificate will be ordered");
                }
            },
            Err(Unusable::Storage(error @ StorageError::Vault(_))) => return Err(error),
            Err(error) => {
                tracing::warn!(%credential, %names, error = %Chain(&error),
                    "the stored certificate cannot be used, a new one will be ordered");
            }
        }
        Ok(job)
    }

    fn reason_to_replace(
        &self,
        stored: &StoredCertificate,
        wanted: &Wanted,
        now: SystemTime,
    ) -> Option<&'static str> {
        let directory = self.settings.directory.as_str();
        if !wanted.names.are_those_of(&stored.credential.names) {
            return Some("the stored one is for other names");
        }
        if stored
            .directory
            .as_deref()
            .is_some_and(|from| from != directory)
        {
            return Some("the stored one is from another server");
        }
        (now > stored.credential.not_after).then_some("the stored one has expired")
    }

    /// Asks the server when to renew. Whatever comes of it, two thirds of the lifetime hold without it.
    async fn ask(&mut self, index: usize) {
        let suggestion = self.suggestion(index).await;
        let now = SystemTime::now();
        let job = &mut self.jobs[index];
        let Some(held) = job.plan.held() else {
            job.ask_at = None;
            return;
        };
        let wait = match suggestion {
            Ok(Suggestion::Renew(window, ask_again)) => {
                job.is_suggested = true;
                job.plan.suggest(Some(window));
                ask_again_in(ask_again, held)
            }
            Ok(Suggestion::Nothing) => {
                job.plan.suggest(None);
                ASK_ANEW
            }
            Err(error) => {
                let credential = &job.wanted.credential;
                tracing::debug!(%credential, error = %Chain(&error), "no renewal information");
                ask_again_in(ASK_AFTER_FAILURE, held)
            }
        };
        job.ask_at = Some(now + wait);
    }

    async fn suggestion(&self, index: usize) -> Result<Suggestion, Failure> {
        let Some(identifier) = &self.jobs[index].identifier else {
            return Ok(Suggestion::Nothing);
        };
        let client = self.client(RetryAfter::default())?;
        match account::restore(&self.settings, &self.storage, &client).await? {
            Some(account) => Ok(ask(&account, identifier).await?),
            None => Ok(Suggestion::Nothing),
        }
    }

    fn client(&self, retry_after: RetryAfter) -> Result<Client, Failure> {
        let authorities = self.settings.ca_certificate.as_deref();
        Ok(Client::new(authorities, retry_after)?)
    }

    async fn order(&mut self, index: usize) {
        let retry_after = RetryAfter::default();
        let outcome = match self.obtain(index, &retry_after).await {
            Ok(issued) => self.store(index, &issued).await.map(|()| issued),
            Err(failure) => Err(failure),
        };
        self.publish.withdraw().await;
        match outcome {
            Ok(issued) => self.succeeded(index, &issued.credential),
            Err(failure) => self.failed(index, &failure, retry_after.take()),
        }
    }

    /// What came earlier and is not stored yet, or what a new order comes to. It is kept before anything else is done
    /// with it.
    async fn obtain(
        &mut self,
        index: usize,
        retry_after: &RetryAfter,
    ) -> Result<Arc<Issued>, Failure> {
        if let Some(issued) = self.jobs[index].unstored(SystemTime::now()) {
            return Ok(issued);
        }
        let issued = Arc::new(self.attempt(index, retry_after).await?);
        self.jobs[index].unstored = Some(Arc::clone(&issued));
        Ok(issued)
    }

    async fn attempt(&self, index: usize, retry_after: &RetryAfter) -> Result<Issued, Failure> {
        let credential = &self.jobs[index].wanted.credential;
        let probed = self.storage.probe_certificate(credential).await;
        probed.map_err(Failure::Unwritable)?;
        let client = self.client(retry_after.clone())?;
        let account = account::open(&self.settings, &self.storage, &client).await?;
        match self.order_with(&account, index).await {
            Err(failure) if failure.is_problem("accountDoesNotExist") => {
                tracing::warn!(directory = %self.settings.directory,
                    "the ACME server does not know the stored account any more, a new one is made");
                self.storage
                    .forget_account(&self.settings.directory)
                    .await?;
                let account = account::open(&self.settings, &self.storage, &client).await?;
                self.order_with(&account, index).await
            }
            outcome => outcome,
        }
    }

    async fn order_with(&self, account: &Account, index: usize) -> Result<Issued, Failure> {
        let job = &self.jobs[index];
        let replaces = job.identifier.clone().filter(|_| job.is_suggested);
        let names = &job.wanted.names;
        order(
            account,
            names,
            replaces,
            self.settings.challenge,
            &self.publish,
        )
        .await
    }

    async fn store(&self, index: usize, issued: &Issued) -> Result<(), Failure> {
        let credential = &self.jobs[index].wanted.credential;
        let directory = &self.settings.directory;
        let Issued { chain, key, .. } = issued;
        self.storage
            .store_certificate(credential, directory, chain, key)
            .await
            .map_err(Failure::Unstored)
    }

    fn succeeded(&mut self, index: usize, issued: &Credential) {
        let (now, draw) = (SystemTime::now(), self.draw());
        let job = &mut self.jobs[index];
        job.unstored = None;
        job.plan.succeed(validity(issued), now, draw);
        job.hold(issued, now);
        let Wanted { credential, names } = &job.wanted;
        tracing::info!(%credential, %names, expires = %At(issued.not_after), renewal = %At(job.plan.due()),
            "a certificate was stored");
        self.metrics
            .own()
            .acme_orders(credential.as_str(), "success")
            .inc();
    }

    fn failed(&mut self, index: usize, failure: &Failure, retry_after: Option<SystemTime>) {
        let (now, draw) = (SystemTime::now(), self.draw());
        let job = &mut self.jobs[index];
        let next = job.plan.fail(failure.kind(), retry_after, now, draw);
        let Wanted { credential, names } = &job.wanted;
        let expires = job.plan.held().map(|held| At(held.not_after));
        tracing::error!(%credential, %names, error = %Chain(failure), advice = failure.advice(),
            next_attempt = %At(next), expires = expires.map(tracing::field::display),
            "no certificate could be obtained");
        self.metrics
            .own()
            .acme_orders(credential.as_str(), "failure")
            .inc();
    }
}

/// Whether it came to its end without a panic. What it left half done is looked at by nobody but its caller.
fn guarded(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_ok()
}

fn validity(credential: &Credential) -> Validity {
    Validity {
        not_before: credential.not_before,
        not_after: credential.not_after,
    }
}

/// A time for people.
struct At(SystemTime);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&httpdate::fmt_http_date(self.0))
    }
}

#[cfg(test)]
mod tests;

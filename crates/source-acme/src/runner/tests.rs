use super::*;
use crate::{
    ChallengeKind, CredentialName, DirectoryUrl, Files, HostName, Kept, Names, Vault, VaultError,
};
use e2e::{Pebble, PebbleOptions};
use std::path::Path;

const DAY: Duration = ASK_ANEW;

/// Has a bug that shows after the order is placed.
struct Bug;

impl Publish for Bug {
    type Guard = ();

    fn http01(&self, _: &str, _: &str, _: &str) -> Option<()> {
        panic!("a bug")
    }

    fn tls_alpn01(&self, _: &str, _: &[u8]) -> Option<()> {
        panic!("a bug")
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn wanted() -> Wanted {
    let host = HostName::try_from("a.test".to_owned()).unwrap();
    Wanted {
        credential: CredentialName::try_from("shop".to_owned()).unwrap(),
        names: Names::try_from(vec![host]).unwrap(),
    }
}

fn runner(folder: &Path, pebble: &Pebble) -> Runner<Bug> {
    let settings = Settings {
        directory: DirectoryUrl::try_from(pebble.directory()).unwrap(),
        ca_certificate: Some(pebble.authority_file()),
        contact: Vec::new(),
        storage: folder.to_owned(),
        challenge: ChallengeKind::Http01,
        external_account: None,
        wanted: vec![wanted()],
    };
    Runner {
        storage: Keeping::Folder(Storage::new(folder.to_owned())),
        settings,
        publish: Bug,
        metrics: Arc::new(Metrics::new("test")),
        dice: SmallRng::from_os_rng(),
        turn: None,
        jobs: Vec::new(),
        doing: None,
    }
}

#[test]
fn a_bug_after_an_order_is_backed_off_from() {
    let folder = tempfile::tempdir().unwrap();
    let pebble = Pebble::start(&PebbleOptions::new(1, 1));
    let mut runner = runner(folder.path(), &pebble);
    let runtime = runtime();
    let (stop, mut stopped) = oneshot::channel();
    assert!(!runner.ends_well(&runtime, &mut stopped), "the bug shows");
    let due = runner.jobs[0].plan.due();
    assert!(due > SystemTime::now() + Duration::from_secs(20));
    let failures = runner.metrics.own().acme_orders("shop", "failure");
    assert_eq!(failures.get(), 1);
    // What is due is still known when all goes on.
    let stopping = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        drop(stop);
    });
    assert!(runner.ends_well(&runtime, &mut stopped), "it waits");
    stopping.join().unwrap();
    assert_eq!(runner.jobs[0].plan.due(), due);
    assert_eq!(pebble.orders(), 1);
}

#[test]
fn a_bug_in_asking_keeps_no_order_from_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let pebble = Pebble::stopped(&PebbleOptions::new(1, 1));
    let mut runner = runner(folder.path(), &pebble);
    let now = SystemTime::now();
    let held = Validity {
        not_before: now,
        not_after: now + 90 * ASK_ANEW,
    };
    let mut job = Job::new(wanted());
    job.plan = Plan::holding(held, 0);
    job.ask_at = Some(now);
    runner.jobs = vec![job];
    let order_due = runner.jobs[0].plan.due();
    runner.doing = Some((0, Task::Ask));
    runner.note_bug();
    assert!(runner.jobs[0].ask_at.unwrap() >= now + ASK_AFTER_FAILURE);
    assert_eq!(runner.jobs[0].plan.due(), order_due);
    assert!(runner.doing.is_none());
}

/// A certificate that is valid from a day ago on.
fn issued(left: Duration) -> Arc<Issued> {
    let now = SystemTime::now();
    let mut params = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
    params.not_before = (now - DAY).into();
    params.not_after = (now + left).into();
    let key = rcgen::KeyPair::generate().unwrap();
    let chain = params.self_signed(&key).unwrap().pem();
    let key = key.serialize_pem();
    let credential = Credential::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    Arc::new(Issued {
        chain,
        key,
        credential,
    })
}

#[test]
fn what_is_not_stored_is_kept_until_it_runs_out() {
    let issued = issued(DAY);
    let not_after = issued.credential.not_after;
    let mut job = Job::new(wanted());
    job.unstored = Some(issued);
    assert!(job.unstored(not_after - Duration::from_secs(1)).is_some());
    assert!(job.unstored(not_after).is_none());
}

/// One that cannot be asked.
struct Away;

#[async_trait::async_trait]
impl Vault for Away {
    fn place(&self, _: Kept<'_>) -> String {
        String::new()
    }

    async fn read(&self, _: Kept<'_>) -> Result<Option<Files>, VaultError> {
        Err(VaultError("it is away".to_owned()))
    }

    async fn write(&self, _: Kept<'_>, _: Files) -> Result<(), VaultError> {
        Err(VaultError("it is away".to_owned()))
    }

    async fn probe(&self) -> Result<(), VaultError> {
        Ok(())
    }
}

/// Or all certificates would be ordered anew.
#[test]
fn a_vault_that_cannot_be_read_is_not_one_without_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let pebble = Pebble::stopped(&PebbleOptions::new(1, 1));
    let mut runner = runner(folder.path(), &pebble);
    runner.storage = Keeping::Vault(Arc::new(Away));
    let loaded = runtime().block_on(runner.load(SystemTime::now()));
    assert!(matches!(loaded, Err(StorageError::Vault(_))));
}

/// One in which anybody may change what there is.
#[derive(Default)]
struct Open(std::sync::Mutex<Option<Files>>);

impl Open {
    fn put(&self, files: Option<Files>) {
        *self.0.lock().unwrap() = files;
    }
}

#[async_trait::async_trait]
impl Vault for Open {
    fn place(&self, _: Kept<'_>) -> String {
        String::new()
    }

    async fn read(&self, _: Kept<'_>) -> Result<Option<Files>, VaultError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn write(&self, _: Kept<'_>, files: Files) -> Result<(), VaultError> {
        self.put(Some(files));
        Ok(())
    }

    async fn probe(&self) -> Result<(), VaultError> {
        Ok(())
    }
}

/// One of several replicas whose turn has begun, and where it keeps what comes.
struct Replica {
    runner: Runner<Bug>,
    vault: Arc<Open>,
    runtime: Runtime,
    _folder: tempfile::TempDir,
    _pebble: Pebble,
}

impl Replica {
    fn holding(issued: &Issued) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pebble = Pebble::stopped(&PebbleOptions::new(1, 1));
        let vault = Arc::new(Open::default());
        let mut runner = runner(folder.path(), &pebble);
        runner.storage = Keeping::Vault(vault.clone());
        let mut replica = Self {
            runner,
            vault,
            runtime: runtime(),
            _folder: folder,
            _pebble: pebble,
        };
        replica.keep(issued);
        replica.take_turn();
        assert!(replica.job().plan.held().is_some());
        replica
    }

    fn keep(&self, issued: &Issued) {
        let (wanted, directory) = (wanted(), &self.runner.settings.directory);
        let storing = self.runner.storage.store_certificate(
            &wanted.credential,
            directory,
            &issued.chain,
            &issued.key,
        );
        self.runtime.block_on(storing).unwrap();
    }

    fn take_turn(&mut self) {
        self.runtime.block_on(self.runner.reload()).unwrap();
    }

    /// As when a certificate came that could not be stored.
    fn fail_to_store(&mut self, issued: &Arc<Issued>) -> SystemTime {
        let job = &mut self.runner.jobs[0];
        job.unstored = Some(Arc::clone(issued));
        let kind = crate::schedule::FailureKind::Refused;
        let now = SystemTime::now();
        job.plan.fail(kind, Some(now + DAY), now, 0)
    }

    fn job(&self) -> &Job {
        &self.runner.jobs[0]
    }
}

/// Or an order would be spent at each change of turn.
#[test]
fn another_turn_forgets_neither_what_is_unstored_nor_when_to_try_again() {
    let (old, new) = (issued(Duration::from_secs(60)), issued(90 * DAY));
    let mut replica = Replica::holding(&old);
    let due = replica.fail_to_store(&new);
    replica.take_turn();
    assert!(Arc::ptr_eq(replica.job().unstored.as_ref().unwrap(), &new));
    assert_eq!(replica.job().plan.due(), due);
    // Nor does it when what was held is gone.
    replica.vault.put(None);
    replica.take_turn();
    assert!(Arc::ptr_eq(replica.job().unstored.as_ref().unwrap(), &new));
    assert_eq!(replica.job().plan.due(), due);
}

#[test]
fn what_another_replica_stored_ends_what_was_tried() {
    let (old, unstored) = (issued(Duration::from_secs(60)), issued(30 * DAY));
    let mut replica = Replica::holding(&old);
    let due = replica.fail_to_store(&unstored);
    replica.keep(&issued(90 * DAY));
    replica.take_turn();
    assert!(replica.job().unstored.is_none());
    assert!(replica.job().plan.due() > due + 30 * DAY);
}

#[test]
fn what_is_gone_from_the_vault_is_ordered_and_not_taken_for_held() {
    let issued = issued(90 * DAY);
    let mut replica = Replica::holding(&issued);
    replica.runner.succeeded(0, &issued.credential);
    replica.vault.put(None);
    replica.take_turn();
    assert!(replica.job().plan.held().is_none());
    assert!(replica.job().plan.due() < SystemTime::now());
    assert!(replica.job().ask_at.is_none());
}

use super::*;
use crate::{
    ChallengeKind, CredentialName, DirectoryUrl, Files, HostName, Kept, Names, Vault, VaultError,
};
use e2e::{Pebble, PebbleOptions};
use std::path::Path;

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

#[test]
fn what_is_not_stored_is_kept_until_it_runs_out() {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let credential = Credential::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let not_after = credential.not_after;
    let mut job = Job::new(wanted());
    job.unstored = Some(Arc::new(Issued {
        chain,
        key,
        credential,
    }));
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

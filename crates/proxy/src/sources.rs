//! Where the configuration comes from while the process runs.

use crate::Program;
use crate::bootstrap::Bootstrap;
use crate::resources::settings;
use crate::serve::Serving;
use anyhow::Context;
use config::{Configuration, Publications};
use source_file::{FileSource, Options};
use source_kube::Seen;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long the process waits at its end until what is in force is on disk. Tens of thousands of objects take some seconds.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// All that the configuration comes from. The other sources end with the files.
pub(crate) struct Sources {
    files: FileSource,
    publications: Publications,
    /// Where what is in force is kept for the next start. Absent: nowhere.
    last_good: Option<PathBuf>,
}

impl Sources {
    /// Starts watching all sources, compiling what they have, and serving that.
    pub(crate) fn follow(
        program: &Program,
        bootstrap: &Bootstrap,
        serving: &Arc<Serving>,
    ) -> anyhow::Result<Self> {
        let resources = &bootstrap.resources;
        let last_good =
            Some(resources.last_good.clone()).filter(|folder| !folder.as_os_str().is_empty());
        let configuration = Configuration::new(settings(bootstrap, last_good.clone()));
        let (sender, receiver) = mpsc::channel(config::QUEUE);
        let names = source_dns::start(bootstrap.dns.settings.clone(), &sender)
            .context("no thread can be started")?;
        let identity = follow_identity(bootstrap, &sender)?;
        let objects = follow_objects(program, bootstrap, &sender, serving)?;
        let sources = 1 + usize::from(objects.is_some());
        let files = FileSource::start(Options::new(resources.files.clone()), sender)
            .context("the files of resources cannot be watched")?;
        let follower = files.follower();
        let followers = config::Followers {
            files: Some(Box::new(move |wanted| follower.follow(wanted.clone()))),
            names: Some(Box::new(move |wanted| names.follow(wanted))),
            objects: objects.map(|objects| -> config::FollowObjects {
                Box::new(move |number, wanted| objects.follow(number, wanted))
            }),
        };
        let publications = config::start(configuration, sources, followers, receiver)
            .context("no thread can be started")?;
        let serving = Arc::clone(serving);
        let followed = publications.clone();
        tokio::spawn(async move {
            let _running = identity;
            serving.follow(followed).await;
        });
        Ok(Self {
            files,
            publications,
            last_good,
        })
    }

    /// Reads every file again.
    pub(crate) fn reread(&self) {
        self.files.rescan();
    }

    /// Follows nothing any more, and waits until the next start will find what is in force.
    pub(crate) async fn end(self) {
        let Self {
            files,
            mut publications,
            last_good,
        } = self;
        drop(files);
        let Some(folder) = last_good else {
            return;
        };
        let ended = async { while publications.changed().await.is_ok() {} };
        if timeout(LAST_WRITES, ended).await.is_err() {
            let folder = folder.display();
            tracing::warn!(%folder, within = ?LAST_WRITES, "not all of what was in force could be written to disk");
        }
    }
}

/// Starts following the proxy's identity where it is not in files.
fn follow_identity(
    bootstrap: &Bootstrap,
    sender: &mpsc::Sender<config::Message>,
) -> anyhow::Result<Option<config::Running>> {
    let Some(endpoint) = bootstrap.tls.workload_api.clone() else {
        return Ok(None);
    };
    let settings = source_spiffe::Settings {
        endpoint,
        spiffe_id: bootstrap.tls.spiffe_id.clone(),
    };
    let running = source_spiffe::start(settings, sender).context("no thread can be started")?;
    Ok(Some(running))
}

/// Starts following the objects of an API server, where there is one, and telling what became of them, where that is
/// wanted.
fn follow_objects(
    program: &Program,
    bootstrap: &Bootstrap,
    sender: &mpsc::Sender<config::Message>,
    serving: &Serving,
) -> anyhow::Result<Option<source_kube::Objects>> {
    let (Some(kubernetes), Some(start)) = (&bootstrap.kubernetes, program.follow_objects) else {
        return Ok(None);
    };
    let status = kubernetes.status(&bootstrap.proxy)?;
    let status = status.zip(program.tell_status);
    let seen = status.as_ref().map(|(status, _)| Seen::by(&status.proxy));
    let settings = kubernetes.settings(bootstrap, seen.clone());
    let objects = start(settings, sender).context("no thread can be started")?;
    if let Some(((status, tell), seen)) = status.zip(seen) {
        let acting = tell(status, seen, serving.subscribe()).context("no thread can be started")?;
        serving.keep_until_the_end(acting);
    }
    Ok(Some(objects))
}

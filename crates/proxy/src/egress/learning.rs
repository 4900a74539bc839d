//! `[forward-proxy] mode = "learn"`: what passes is remembered, over restarts too.

use super::file::{self, Unreadable};
use super::learned::Recorded;
use super::{Learned, Rows};
use crate::bootstrap::Bootstrap;
use crate::serve::Serving;
use anyhow::Context;
use dataplane::{Passage, Passages};
use rules::EgressMode;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::{MissedTickBehavior, interval};

/// How often what was learnt is written, if there is anything new.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// Remembers what passes.
#[derive(Debug)]
pub(crate) struct Learning {
    pub(crate) learned: Learned,
    /// Absent: it is forgotten when the process ends.
    file: Option<PathBuf>,
    /// One at a time. Whether the last could not be written.
    saving: Mutex<bool>,
}

impl Learning {
    /// Goes on where the last process ended. Absent: nothing is to be learnt.
    ///
    /// # Errors
    /// When the file cannot be read, or is broken and cannot be set aside: it would be overwritten.
    pub(crate) fn of(bootstrap: &Bootstrap) -> anyhow::Result<Option<Arc<Self>>> {
        let of = &bootstrap.forward_proxy;
        if bootstrap.listen.forward_proxy.is_none() || of.mode() != EgressMode::Learn {
            return Ok(None);
        }
        let file = Some(of.learned.clone()).filter(|file| !file.as_os_str().is_empty());
        let learned = match &file {
            Some(file) => known(file, now())?,
            None => Learned::default(),
        };
        tracing::info!(
            rows = learned.len(),
            "learning what passes the forward proxy"
        );
        Ok(Some(Arc::new(Self {
            learned,
            file,
            saving: Mutex::default(),
        })))
    }

    /// Writes what was learnt, if there is anything new. Blocks.
    pub(crate) fn save(&self) {
        let Some(file) = &self.file else {
            return;
        };
        let mut was_failing = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.learned.take_changed() {
            return;
        }
        let written = file::write(file, &self.learned.rows());
        if let Err(error) = &written {
            self.learned.put_back_changed();
            if !*was_failing {
                let file = file.display();
                tracing::warn!(%error, %file, "what was learnt cannot be written; it is tried again");
            }
        }
        *was_failing = written.is_err();
    }
}

impl Passages for Learning {
    fn passed(&self, passage: &Passage<'_>) {
        if self.learned.record(passage, now()) == Recorded::FirstLeftOut {
            tracing::warn!(
                rows = self.learned.len(),
                "further hosts and ports that pass the forward proxy are counted, and not learnt"
            );
        }
    }
}

/// Starts writing down what is learnt.
pub(crate) fn start(serving: &Serving) {
    if let Some(learning) = &serving.learning {
        tokio::spawn(keep_saving(Arc::clone(learning)));
    }
}

/// Never ends.
async fn keep_saving(learning: Arc<Learning>) {
    let mut tick = interval(SAVE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let learning = Arc::clone(&learning);
        if let Err(error) = tokio::task::spawn_blocking(move || learning.save()).await {
            tracing::error!(%error, "what was learnt could not be written");
        }
    }
}

/// What the last process learnt.
fn known(file: &Path, now: u64) -> anyhow::Result<Learned> {
    let rows = match file::read(file) {
        Ok(rows) => rows,
        Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => Rows::default(),
        Err(Unreadable::Io(error)) => {
            return Err(error).with_context(|| format!("{}: cannot be read", file.display()));
        }
        Err(Unreadable::Broken(broken)) => {
            let aside = file::set_aside(file, now)
                .with_context(|| format!("{}: {broken}, and it stays", file.display()))?;
            let (file, aside) = (file.display(), aside.display());
            tracing::error!(%broken, %file, %aside, "what was learnt before cannot be read and is set aside");
            Rows::default()
        }
    };
    Ok(Learned::of(rows))
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::PassageProtocol;
    use std::fs;
    use std::net::IpAddr;

    fn learning(folder: &Path, mode: &str) -> anyhow::Result<Option<Arc<Learning>>> {
        let file = folder.join("learned.json");
        let text = format!(
            "[listen]\nforward-proxy = '127.0.0.1:1'\n\
             [forward-proxy]\nmode = '{mode}'\nlearned = '{}'",
            file.display()
        );
        let bootstrap: Bootstrap = toml::from_str(&text).unwrap();
        Learning::of(&bootstrap)
    }

    fn pass(learning: &Learning, host: &str) {
        learning.passed(&Passage {
            host,
            port: 443,
            protocol: PassageProtocol::Tls,
            received: 1,
            sent: 2,
            client: IpAddr::from([127, 0, 0, 1]),
            denial: None,
        });
    }

    #[test]
    fn learning_goes_on_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        for round in 1..=3 {
            let learning = learning(folder.path(), "learn").unwrap().unwrap();
            pass(&learning, "a.test");
            learning.save();
            let rows = learning.learned.rows().rows;
            assert_eq!((rows.len(), rows[0].seen.count), (1, round));
        }
    }

    #[test]
    fn nothing_is_written_without_anything_new() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("learned.json");
        let learning = learning(folder.path(), "learn").unwrap().unwrap();
        learning.save();
        assert!(!file.exists());
        pass(&learning, "a.test");
        learning.save();
        fs::remove_file(&file).unwrap();
        learning.save();
        assert!(!file.exists());
        // What could not be written is new still.
        fs::create_dir(&file).unwrap();
        pass(&learning, "b.test");
        learning.save();
        fs::remove_dir(&file).unwrap();
        learning.save();
        assert!(file.is_file());
    }

    #[test]
    fn a_broken_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("learned.json"), "{\"rows\": [{").unwrap();
        let learning = learning(folder.path(), "learn").unwrap().unwrap();
        pass(&learning, "a.test");
        learning.save();
        let files = fs::read_dir(folder.path()).unwrap();
        let texts: Vec<_> = files
            .map(|one| fs::read_to_string(one.unwrap().path()).unwrap())
            .collect();
        assert_eq!(texts.len(), 2);
        assert!(texts.contains(&"{\"rows\": [{".to_owned()));
    }

    #[test]
    fn what_cannot_be_read_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("learned.json")).unwrap();
        let error = learning(folder.path(), "learn").unwrap_err();
        assert!(
            format!("{error:#}").contains("learned.json: cannot be read"),
            "{error:#}"
        );
    }

    #[test]
    fn other_modes_learn_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for mode in ["enforce", "shadow"] {
            assert!(learning(folder.path(), mode).unwrap().is_none());
        }
        let nowhere: Bootstrap = toml::from_str("[forward-proxy]\nmode = 'learn'").unwrap();
        assert!(Learning::of(&nowhere).unwrap().is_none());
    }

    #[test]
    fn without_a_file_it_is_kept_in_memory() {
        let text = "[listen]\nforward-proxy = '127.0.0.1:1'\n\
                    [forward-proxy]\nmode = 'learn'\nlearned = ''";
        let learning = Learning::of(&toml::from_str(text).unwrap())
            .unwrap()
            .unwrap();
        pass(&learning, "a.test");
        learning.save();
        assert_eq!(learning.learned.len(), 1);
    }
}

//! Who is told which names are wanted, and the thread that looks them up.

use crate::Settings;
use crate::runner::Runner;
use crate::system::System;
use config::Message;
use model::Hostname;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

/// Has names followed as long as it is there.
#[derive(Debug)]
pub struct Follower {
    wanted: watch::Sender<Wanted>,
}

/// The names that are followed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// How many wishes there were.
    revision: u64,
    /// Each with the wish that it came with: one that went and came again is to be told again.
    pub(crate) names: BTreeMap<Hostname, u64>,
}

impl Wanted {
    fn replace(&mut self, names: &BTreeSet<Hostname>) {
        self.revision += 1;
        self.names.retain(|name, _| names.contains(name));
        for name in names {
            self.names.entry(name.clone()).or_insert(self.revision);
        }
    }
}

impl Follower {
    /// Follows exactly these from now on. Does not block.
    pub fn follow(&self, names: &BTreeSet<Hostname>) {
        self.wanted.send_modify(|wanted| wanted.replace(names));
    }

    pub(crate) fn new() -> (Self, watch::Receiver<Wanted>) {
        let (wanted, receiver) = watch::channel(Wanted::default());
        (Self { wanted }, receiver)
    }
}

/// Starts a thread that looks names up and sends what they stand for as `sender` does, without counting as a
/// sender. It ends with the returned follower, or when nobody listens any more.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn start(settings: Settings, sender: &Sender<Message>) -> io::Result<Follower> {
    let (follower, wanted) = Follower::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let lookup = System::new(&settings);
    let runner = Runner::new(lookup, settings, sender.downgrade());
    std::thread::Builder::new()
        .name("dns".into())
        .spawn(move || runtime.block_on(runner.run(wanted)))?;
    Ok(follower)
}

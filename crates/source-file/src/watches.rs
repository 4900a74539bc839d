//! The kernel's notifications, folder by folder.

use crate::inbox::{Inbox, Touch};
use crate::walk::FolderId;
use ahash::HashMap;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The folders under watch. Without the kernel's help there are none, and the caller polls.
pub(crate) struct Watches {
    watcher: Option<RecommendedWatcher>,
    watched: HashMap<PathBuf, FolderId>,
}

impl Watches {
    /// Watches nothing, ever.
    pub(crate) fn none() -> Self {
        Self {
            watcher: None,
            watched: HashMap::default(),
        }
    }

    /// Sends what happens in watched folders to the inbox.
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        let handler = move |event: notify::Result<Event>| note(&inbox, event);
        match RecommendedWatcher::new(handler, notify::Config::default()) {
            Ok(watcher) => Self {
                watcher: Some(watcher),
                watched: HashMap::default(),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot watch folders for changes, looking every second instead");
                Self::none()
            }
        }
    }

    /// Whether changes are told by the kernel.
    pub(crate) fn are_live(&self) -> bool {
        self.watcher.is_some()
    }

    /// Watches exactly these folders. Returns whether one was added, whose files must be looked at again.
    ///
    /// Gives up watching altogether when the kernel refuses one: half a watch would hide changes.
    pub(crate) fn follow(&mut self, folders: &BTreeMap<PathBuf, FolderId>) -> bool {
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        self.watched.retain(|folder, id| {
            let stays = folders.get(folder) == Some(id);
            if !stays {
                // The kernel has forgotten a removed folder by itself: an error here says nothing.
                let _ = watcher.unwatch(folder);
            }
            stays
        });
        let mut added = false;
        for (folder, id) in folders {
            if self.watched.contains_key(folder) {
                continue;
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder.clone(), *id);
                    added = true;
                }
                Err(error) if is_absent(&error) => added = true,
                Err(error) => {
                    tracing::warn!(%error, folder = %folder.display(),
                        "cannot watch this folder for changes, looking every second instead");
                    *self = Self::none();
                    return false;
                }
            }
        }
        added
    }
}

fn is_absent(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => crate::read::is_absent(error),
        _ => false,
    }
}

fn note(inbox: &Inbox, event: notify::Result<Event>) {
    let Ok(event) = event else {
        return inbox.touch_everything();
    };
    if event.need_rescan() {
        return inbox.touch_everything();
    }
    let Some(touch) = touch_of(&event.kind) else {
        return;
    };
    for path in event.paths {
        inbox.touch(path, touch);
    }
}

/// Absent: nothing changed. Reading a file is an event too, and ours must not wake us.
fn touch_of(kind: &EventKind) -> Option<Touch> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Touch::Settled),
        EventKind::Access(_) => None,
        EventKind::Create(CreateKind::Folder) => Some(Touch::Settled),
        EventKind::Create(_) => Some(Touch::Created),
        EventKind::Modify(ModifyKind::Name(_) | ModifyKind::Metadata(_)) => Some(Touch::Settled),
        EventKind::Remove(_) => Some(Touch::Settled),
        _ => Some(Touch::Writing),
    }
}

//! The loop between sources and the data plane.

use crate::{Change, Configuration, Message, Published, QUEUE};
use model::{Diagnostic, Severity};
use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};

/// The newest configuration. `None` until all sources have told everything once.
pub type Publications = watch::Receiver<Option<Arc<Published>>>;

/// Starts a thread that compiles what sources tell and publishes it.
///
/// Nothing is published until each of `sources` has said [`Message::Synced`]. The thread ends when all
/// senders are dropped.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn start(
    configuration: Configuration,
    sources: usize,
    receiver: mpsc::Receiver<Message>,
) -> io::Result<Publications> {
    let (publish, publications) = watch::channel(None);
    let controller = Controller {
        configuration,
        awaited: sources,
        publish,
        told: HashSet::new(),
    };
    std::thread::Builder::new()
        .name("config".into())
        .spawn(move || controller.run(receiver))?;
    Ok(publications)
}

struct Controller {
    configuration: Configuration,
    /// Sources that have not told everything yet.
    awaited: usize,
    publish: watch::Sender<Option<Arc<Published>>>,
    /// What has been logged, so that a reload does not repeat it.
    told: HashSet<String>,
}

impl Controller {
    fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        while let Some(message) = receiver.blocking_recv() {
            let received_at = SystemTime::now();
            let starting = self.awaited > 0;
            let changes = self.gather(message, &mut receiver);
            // A bug must cost the change that met it, and not the ability to change.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                self.take(changes, starting, received_at)
            }));
            if outcome.is_err() {
                tracing::error!(
                    "a change of the configuration could not be compiled, the former one stays"
                );
            }
        }
    }

    /// A message and all that wait behind it, so that a burst is compiled once.
    fn gather(&mut self, first: Message, receiver: &mut mpsc::Receiver<Message>) -> Vec<Change> {
        let mut changes = Vec::new();
        self.note(first, &mut changes);
        for _ in 0..QUEUE {
            let Ok(message) = receiver.try_recv() else {
                break;
            };
            self.note(message, &mut changes);
        }
        changes
    }

    fn note(&mut self, message: Message, changes: &mut Vec<Change>) {
        match message {
            Message::Changes(more) => changes.extend(more),
            Message::Synced => self.awaited = self.awaited.saturating_sub(1),
        }
    }

    fn take(&mut self, changes: Vec<Change>, starting: bool, received_at: SystemTime) {
        self.configuration.apply(changes);
        if self.awaited > 0 {
            return;
        }
        let Some(mut published) = self.configuration.compile(received_at) else {
            return;
        };
        self.log(&published.diagnostics);
        self.publish.send_modify(|newest| {
            if let Some(earlier) = newest {
                published.continue_from(earlier);
            }
            *newest = Some(Arc::new(published));
        });
        self.configuration.remember();
        if starting {
            self.configuration.forget_others();
        }
    }

    fn log(&mut self, diagnostics: &[Diagnostic]) {
        let mut told = HashSet::with_capacity(diagnostics.len());
        for diagnostic in diagnostics {
            // Without its line: what merely moved is not new.
            let text = match &diagnostic.position {
                Some(position) if diagnostic.resource.is_none() => {
                    format!("{}: {diagnostic}", position.file)
                }
                _ => diagnostic.to_string(),
            };
            if !self.told.contains(&text) {
                log(diagnostic, &text);
            }
            told.insert(text);
        }
        self.told = told;
    }
}

fn log(diagnostic: &Diagnostic, text: &str) {
    let place = diagnostic
        .position
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let help = diagnostic.help.as_deref().unwrap_or_default();
    match diagnostic.severity {
        Severity::Error => tracing::error!(code = diagnostic.code, %place, help, "{text}"),
        Severity::Warning => tracing::warn!(code = diagnostic.code, %place, help, "{text}"),
    }
}

//! What a watch tells.

use crate::asked::Asked;
use crate::server::{Shared, State};
use crate::store::is_selected;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc::Sender;

/// Tells a watch what there is, if it asks for that, and what happens from then on, until it ends.
pub(crate) async fn watch(shared: Arc<Shared>, asked: Asked, lines: Sender<Bytes>) {
    let mut changes = shared.changes.subscribe();
    let (mut events, mut seen, epoch, mut bookmarks) = {
        let state = shared.state();
        let (first, seen) = beginning(&asked, &state);
        (first, seen, state.epoch, state.bookmarks)
    };
    loop {
        for event in events {
            if lines.send(Bytes::from(line(&event))).await.is_err() {
                return;
            }
        }
        let Some(revision) = seen.as_mut() else {
            return;
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = lines.closed() => return,
        }
        let state = shared.state();
        if state.epoch != epoch {
            return;
        }
        events = news(&asked, &state, *revision);
        *revision = state.store.revision;
        if state.bookmarks != bookmarks && asked.says("allowWatchBookmarks") {
            bookmarks = state.bookmarks;
            events.push(bookmark(*revision, false));
        }
    }
}

/// What is told first, and the revision from which news come. None: there are none.
fn beginning(asked: &Asked, state: &State) -> (Vec<Value>, Option<u64>) {
    let now = state.store.revision;
    let from = asked.number("resourceVersion").filter(|from| *from > 0);
    match from {
        Some(from) if from < state.store.oldest => {
            let expired = json!({"type": "ERROR", "object": expired()});
            (vec![expired], None)
        }
        Some(from) if !asked.says("sendInitialEvents") => (news(asked, state, from), Some(now)),
        _ => {
            let mut events = initial(asked, state);
            if asked.says("sendInitialEvents") {
                events.push(bookmark(now, true));
            }
            (events, Some(now))
        }
    }
}

fn initial(asked: &Asked, state: &State) -> Vec<Value> {
    let objects = state.store.objects.get(&asked.plural).into_iter().flatten();
    let objects = objects.map(|(_, object)| object);
    let objects = objects.filter(|object| is_selected(asked, object));
    objects
        .map(|object| json!({"type": "ADDED", "object": object}))
        .collect()
}

fn news(asked: &Asked, state: &State, from: u64) -> Vec<Value> {
    // They are in order, and most are old.
    let events = &state.store.events;
    let first = events.partition_point(|event| event.revision <= from);
    let events = events[first..]
        .iter()
        .filter(|event| event.plural == asked.plural);
    let events = events.filter(|event| is_selected(asked, &event.object));
    events
        .map(|event| json!({"type": event.kind, "object": event.object}))
        .collect()
}

fn bookmark(revision: u64, is_initial: bool) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if is_initial {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    json!({"type": "BOOKMARK", "object": {
        "kind": "Object", "apiVersion": "v1", "metadata": metadata,
    }})
}

/// What is said to those who want to go on from what was forgotten.
pub(crate) fn expired() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
        "reason": "Expired", "message": "too old resource version",
    })
}

/// As API servers write it, and clients may rely on: first what it is.
fn line(event: &Value) -> String {
    let (kind, object) = (&event["type"], &event["object"]);
    format!("{{\"type\":{kind},\"object\":{object}}}\n")
}

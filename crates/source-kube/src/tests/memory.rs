//! How much is held while very many objects are told.

use super::*;
use crate::connect::{Connection, connect};
use crate::follow::{Follower, Progress};
use crate::known::Known;
use crate::scope::Scope;
use allocation_counter::measure;
use tokio::runtime::Builder;
use tokio::sync::watch;

const OBJECTS: usize = 10_000;

/// The API server takes its time for so many.
const PATIENT: Timing = Timing {
    patience: PATIENCE,
    ..TIMING
};

/// As Pods come: most of it is of no use here.
fn pod(number: usize) -> Value {
    json!({
        "metadata": {
            "labels": {"app": "web"},
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": "x".repeat(1500)}}],
        },
        "spec": {"nodeName": "one", "containers": [{"name": "web", "args": ["y".repeat(500)]}]},
        "status": {"phase": "Running", "podIP": format!("10.{}.{}.1", number / 250, number % 250)},
    })
}

/// What a follower of all Pods allocates at most at a time, while who listens takes message by message; and what it tells.
fn told_by(server: &ApiServer) -> (u64, Vec<usize>) {
    let kubeconfig = server.kubeconfig();
    let access = Access {
        kubeconfig: Some(kubeconfig.path().to_owned()),
        context: None,
    };
    // All of the follower is on this thread, and the API server is on others.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(connect(&access)).unwrap();
    let (_connection, connected) = watch::channel(Connection::Made(client));
    let mut kinds = crate::kinds::KINDS.into_iter();
    let pods = kinds.find(|kind| kind.name == "Pod").unwrap();
    let mut sizes = Vec::new();
    let allocated = measure(|| {
        runtime.block_on(async {
            let (sender, mut receiver) = mpsc::channel(config::QUEUE);
            let scope = Scope::all(pods, None);
            let (follower, mut progress) =
                Follower::new(scope, PATIENT, sender.downgrade(), Known::default(), None);
            let following = tokio::spawn(follower.run(connected));
            while *progress.borrow_and_update() == Progress::Begun {
                tokio::select! {
                    message = receiver.recv() => match message.unwrap() {
                        Message::Changes(changes) => sizes.push(changes.len()),
                        other => panic!("{other:?}"),
                    },
                    changed = progress.changed() => changed.unwrap(),
                }
            }
            while let Ok(Message::Changes(changes)) = receiver.try_recv() {
                sizes.push(changes.len());
            }
            drop(sender);
            following.abort();
        });
    });
    (allocated.bytes_max, sizes)
}

/// Promise: a start with 10,000 objects needs little more than what is kept of them, and what is on its way.
#[test]
fn ten_thousand_objects_are_told_in_pieces() {
    let serving = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = serving.block_on(ApiServer::start());
    for number in 0..OBJECTS {
        server.put("pods", &format!("web-{number:05}"), &pod(number));
    }
    let one_as_it_comes = pod(0).to_string().len();
    // The name and a number, in a map that grows.
    let kept = OBJECTS * 300;
    let on_the_way = (config::QUEUE + 2) * 256 * 300;
    let bound = kept + on_the_way;
    // An older API server sends pages of 500, which are read as a whole.
    for (lists, page) in [(false, 0), (true, 500 * one_as_it_comes * 5)] {
        if lists {
            server.only_lists();
        }
        let (most, sizes) = told_by(&server);
        assert_eq!(sizes.iter().sum::<usize>(), OBJECTS);
        assert!(sizes.len() >= OBJECTS / 256, "{sizes:?}");
        let bound = bound + page;
        assert!(most < bound as u64, "{most} of {bound}");
        let raw = OBJECTS * one_as_it_comes;
        assert!(bound < raw / 2, "{bound} says nothing about {raw}");
    }
}

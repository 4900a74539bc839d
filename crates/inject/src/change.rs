//! What is changed in one pod: worked out from the pod as it is, then done.

use crate::metrics::Metrics;
use crate::pod::{INIT, SIDECAR};
use crate::probes::Probers;
use crate::template::{self, Added, Facts};
use crate::yaml::{Node, map, text};

/// What is changed in one pod.
#[derive(Debug)]
pub(crate) struct Change {
    labels: Vec<(&'static str, String)>,
    annotations: Vec<(&'static str, String)>,
    metrics: Option<Metrics>,
    probers: Probers,
    status_port: Option<u16>,
    init: Option<Node>,
    sidecar: Node,
    /// Where the sidecar goes.
    place: Place,
    volumes: Vec<Node>,
    image_pull_secrets: Vec<String>,
}

/// Where a sidecar goes that the pod does not declare itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Among the init containers, before all others: they have the mesh too.
    Init,
    /// Before the application.
    First,
    /// Behind the application, so that tools take that for the container that is meant.
    Last,
}

impl Change {
    pub(crate) fn of(facts: &Facts<'_>, probers: Probers, metrics: Option<Metrics>) -> Self {
        let settings = facts.settings;
        let place = match (settings.is_native, settings.holds) {
            (true, _) => Place::Init,
            (false, true) => Place::First,
            (false, false) => Place::Last,
        };
        Self {
            labels: template::labels(facts),
            annotations: template::annotations(facts),
            metrics,
            probers,
            status_port: settings.status_port,
            init: template::init(facts),
            sidecar: template::sidecar(facts),
            place,
            volumes: template::volumes(facts),
            image_pull_secrets: facts.options.image_pull_secrets.clone(),
        }
    }

    /// Changes a pod or a template of one.
    pub(crate) fn apply(self, template: &mut Node) {
        self.metadata(template.object("metadata"));
        let spec = template.object("spec");
        if let Some(port) = self.status_port {
            self.probers.apply(spec, port);
        }
        self.containers(spec);
        let secrets = self
            .image_pull_secrets
            .iter()
            .map(|name| map([("name", text(&**name))]));
        add_named(spec, "imagePullSecrets", secrets.collect());
        add_named(spec, "volumes", self.volumes);
    }

    fn metadata(&self, metadata: &mut Node) {
        for (name, value) in &self.labels {
            metadata.object("labels").set(name, text(&**value));
        }
        let annotations = metadata.object("annotations");
        for (name, value) in &self.annotations {
            annotations.set(name, text(&**value));
        }
        if let Some(metrics) = &self.metrics {
            metrics.apply(annotations);
        }
        let (name, value) = template::status(&self.added());
        annotations.set(name, text(value));
    }

    fn added(&self) -> Added {
        let name = |node: &Node| node.get("name").and_then(Node::as_str).map(str::to_owned);
        let is_init = self.place == Place::Init;
        let sidecar = || Some(SIDECAR.to_owned());
        let init = self.init.iter().filter_map(name);
        Added {
            init_containers: init.chain(sidecar().filter(|_| is_init)).collect(),
            containers: sidecar().filter(|_| !is_init).into_iter().collect(),
            volumes: self.volumes.iter().filter_map(name).collect(),
            image_pull_secrets: self.image_pull_secrets.clone(),
        }
    }

    /// Under a native sidecar all containers run behind the rules; otherwise other init containers run before them,
    /// because nobody would answer behind them.
    fn containers(&self, spec: &mut Node) {
        match self.place {
            Place::Init => put(spec, ("initContainers", SIDECAR), 0, &self.sidecar),
            Place::First => put(spec, ("containers", SIDECAR), 0, &self.sidecar),
            Place::Last => put(spec, ("containers", SIDECAR), usize::MAX, &self.sidecar),
        }
        if let Some(init) = &self.init {
            let index = if self.place == Place::Init {
                0
            } else {
                usize::MAX
            };
            put(spec, ("initContainers", INIT), index, init);
        }
    }
}

/// Puts a container in its place, or completes the one that the pod declares.
fn put(spec: &mut Node, (key, name): (&str, &str), index: usize, container: &Node) {
    let list = spec.list(key);
    let is_meant = |node: &&mut Node| node.get("name").and_then(Node::as_str) == Some(name);
    match list.items_mut().iter_mut().find(is_meant) {
        Some(declared) => template::overlay(declared, container),
        None => list.insert(index, container.clone()),
    }
}

/// Adds items whose names a list has not got.
fn add_named(spec: &mut Node, key: &str, items: Vec<Node>) {
    let has = |spec: &Node, item: &Node| {
        let name = |node: &Node| node.get("name").and_then(Node::as_str).map(str::to_owned);
        let items = spec.get(key).map_or(&[][..], Node::items);
        items.iter().any(|other| name(other) == name(item))
    };
    for item in items {
        if !has(spec, &item) {
            spec.list(key).push(item);
        }
    }
}

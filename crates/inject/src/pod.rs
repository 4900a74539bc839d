//! What a pod says of itself, before anything is changed.

use crate::finding::Report;
use crate::yaml::Node;
use std::collections::{BTreeMap, HashMap};

/// The container that is the sidecar.
pub(crate) const SIDECAR: &str = "istio-proxy";

/// The container that writes the redirect rules.
pub(crate) const INIT: &str = "istio-init";

/// A pod or the template of one.
#[derive(Debug)]
pub(crate) struct Pod<'n> {
    pub(crate) spec: &'n Node,
    pub(crate) labels: Pairs<'n>,
    pub(crate) annotations: Pairs<'n>,
    /// In their order.
    pub(crate) containers: Vec<Container<'n>>,
    pub(crate) init_containers: Vec<Container<'n>>,
}

/// Labels or annotations, each with its place.
pub(crate) type Pairs<'n> = BTreeMap<&'n str, (&'n str, Option<usize>)>;

/// A container, and where it is.
#[derive(Debug)]
pub(crate) struct Container<'n> {
    pub(crate) name: &'n str,
    pub(crate) node: &'n Node,
    /// `spec.containers[0]`
    pub(crate) path: String,
}

impl<'n> Pod<'n> {
    /// Reads what is needed of a pod, and tells what is not as Kubernetes has it.
    pub(crate) fn read(template: &'n Node, report: &mut Report<'_>) -> Option<Self> {
        let metadata = object(template, "metadata", "metadata", report)?;
        let Some(spec) = object(template, "spec", "spec", report)? else {
            report.error(
                template.start(),
                "spec",
                "missing_field",
                "is required: a pod has containers",
            );
            return None;
        };
        for key in ["volumes", "imagePullSecrets"] {
            list(spec, key, report)?;
        }
        let labels = pairs(metadata, "labels", report);
        let annotations = pairs(metadata, "annotations", report);
        let own_containers = containers(spec, "containers", report)?;
        let init_containers = containers(spec, "initContainers", report)?;
        if own_containers.is_empty() {
            report.error(
                spec.start(),
                "spec.containers",
                "missing_field",
                "a pod has at least one container",
            );
            return None;
        }
        let pod = Self {
            spec,
            labels: labels?,
            annotations: annotations?,
            containers: own_containers,
            init_containers,
        };
        pod.tell_double_names(report);
        Some(pod)
    }

    /// The value of a label.
    pub(crate) fn label(&self, name: &str) -> Option<&'n str> {
        self.labels.get(name).map(|(value, _)| *value)
    }

    /// All containers, those of init first.
    pub(crate) fn all_containers(&self) -> impl Iterator<Item = &Container<'n>> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// The containers of the application.
    pub(crate) fn app_containers(&self) -> impl Iterator<Item = &Container<'n>> {
        self.containers
            .iter()
            .filter(|container| !container.is_ours())
    }

    /// The sidecar as the author of the pod declares it.
    pub(crate) fn declared_sidecar(&self) -> Option<&Container<'n>> {
        self.all_containers()
            .find(|container| container.name == SIDECAR)
    }

    /// The service account, by either name of the field.
    pub(crate) fn service_account(&self) -> &'n str {
        let names = ["serviceAccountName", "serviceAccount"];
        let text = |key| {
            self.spec
                .get(key)
                .and_then(Node::as_str)
                .filter(|name| !name.is_empty())
        };
        names.into_iter().find_map(text).unwrap_or("default")
    }

    /// Whether its containers are not started again when they are done.
    pub(crate) fn has_an_end(&self) -> bool {
        let policy = self.spec.get("restartPolicy").and_then(Node::as_str);
        matches!(policy, Some("Never" | "OnFailure"))
    }

    fn tell_double_names(&self, report: &mut Report<'_>) {
        let mut seen = HashMap::new();
        for container in self.all_containers() {
            if let Some(first) = seen.insert(container.name, container.path.as_str()) {
                let message = format!("the name `{}` is taken by {first}", container.name);
                let at = container.node.get("name").and_then(Node::start);
                report.error(
                    at,
                    &format!("{}.name", container.path),
                    "duplicate_name",
                    message,
                );
            }
        }
    }
}

impl<'n> Container<'n> {
    /// Whether it is none of the application's.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.name, SIDECAR | INIT)
    }

    /// The ports that it names.
    pub(crate) fn ports(&self) -> &'n [Node] {
        self.node.get("ports").map_or(&[][..], Node::items)
    }
}

/// An object that may be absent. `None`: it is something else, which is told.
fn object<'n>(
    parent: &'n Node,
    key: &str,
    path: &str,
    report: &mut Report<'_>,
) -> Option<Option<&'n Node>> {
    match parent.get(key) {
        Some(value) if !value.is_mapping() => {
            report.error(value.start(), path, "wrong_type", "must be an object");
            None
        }
        value => Some(value),
    }
}

fn pairs<'n>(metadata: Option<&'n Node>, key: &str, report: &mut Report<'_>) -> Option<Pairs<'n>> {
    let Some(metadata) = metadata else {
        return Some(Pairs::new());
    };
    let path = format!("metadata.{key}");
    let Some(node) = object(metadata, key, &path, report)? else {
        return Some(Pairs::new());
    };
    let before = report.errors();
    let mut found = Pairs::new();
    for entry in node.entries() {
        let at = entry.value.start();
        if entry.value.is_null() {
            found.insert(entry.key.as_str(), ("", at));
        } else if let Some(value) = entry.value.as_str() {
            found.insert(entry.key.as_str(), (value, at));
        } else {
            let message = match entry.value.scalar() {
                Some(scalar) => format!(
                    "must be a string: write \"{}\", with the quotes",
                    scalar.text
                ),
                None => "must be a string".to_owned(),
            };
            report.error(at, &format!("{path}[{}]", entry.key), "wrong_type", message);
        }
    }
    (report.errors() == before).then_some(found)
}

/// The items of a list that may be absent. `None`: it is something else, which is told.
fn list<'n>(spec: &'n Node, key: &str, report: &mut Report<'_>) -> Option<&'n [Node]> {
    match spec.get(key) {
        Some(value) if !value.is_sequence() => {
            report.error(
                value.start(),
                &format!("spec.{key}"),
                "wrong_type",
                "must be a list",
            );
            None
        }
        value => Some(value.map_or(&[][..], Node::items)),
    }
}

fn containers<'n>(
    spec: &'n Node,
    key: &str,
    report: &mut Report<'_>,
) -> Option<Vec<Container<'n>>> {
    let items = list(spec, key, report)?;
    let before = report.errors();
    let found = items.iter().enumerate().filter_map(|(index, node)| {
        let path = format!("spec.{key}[{index}]");
        let name = node.get("name").and_then(Node::as_str);
        if name.is_none() {
            report.error(
                node.start(),
                &format!("{path}.name"),
                "missing_field",
                "a container has a name, a string",
            );
        }
        name.map(|name| Container { name, node, path })
    });
    let found: Vec<_> = found.collect();
    (report.errors() == before).then_some(found)
}

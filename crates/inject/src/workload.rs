//! Which objects make pods, and where the pod is in them.

use crate::yaml::Node;
use model::ResourceRef;

/// What a document or an item of a List is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Object {
    /// It makes pods.
    Workload(Kind),
    /// It holds other objects.
    List,
    /// It is none of our business.
    Other,
}

/// A kind of object that makes pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    Job,
    CronJob,
    Pod,
}

impl Object {
    /// What a node is, by its kind and the group of its API.
    pub(crate) fn of(node: &Node) -> Self {
        let text = |key| node.get(key).and_then(Node::as_str).unwrap_or_default();
        let api = text("apiVersion");
        // The core of the API has no group.
        let group = api.split_once('/').map_or(api, |(group, _)| group);
        let kind = match (group, text("kind")) {
            ("apps" | "extensions", "Deployment") => Kind::Deployment,
            ("apps", "StatefulSet") => Kind::StatefulSet,
            ("apps" | "extensions", "DaemonSet") => Kind::DaemonSet,
            ("apps" | "extensions", "ReplicaSet") => Kind::ReplicaSet,
            ("batch", "Job") => Kind::Job,
            ("batch", "CronJob") => Kind::CronJob,
            ("v1", "Pod") => Kind::Pod,
            ("v1", "List") => return Self::List,
            _ => return Self::Other,
        };
        Self::Workload(kind)
    }
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
            Self::Pod => "Pod",
        }
    }

    /// Where the pod or its template is.
    pub(crate) fn pod_path(self) -> &'static [&'static str] {
        match self {
            Self::Pod => &[],
            Self::CronJob => &["spec", "jobTemplate", "spec", "template"],
            _ => &["spec", "template"],
        }
    }

    /// Whether its pods are there to come to an end.
    pub(crate) fn is_job(self) -> bool {
        matches!(self, Self::Job | Self::CronJob)
    }
}

/// The name of an object: its own, or the beginning of what it will be.
pub(crate) fn name(object: &Node) -> Option<&str> {
    let metadata = object.get("metadata")?;
    let text = |key| {
        metadata
            .get(key)
            .and_then(Node::as_str)
            .filter(|name| !name.is_empty())
    };
    text("name").or_else(|| text("generateName").map(|name| name.trim_end_matches('-')))
}

/// How an object is called in messages.
pub(crate) fn reference(kind: Kind, object: &Node, default_namespace: &str) -> ResourceRef {
    ResourceRef {
        kind: kind.as_str().into(),
        namespace: namespace(object).unwrap_or(default_namespace).into(),
        name: name(object).unwrap_or_default().into(),
    }
}

/// The namespace that an object names.
pub(crate) fn namespace(object: &Node) -> Option<&str> {
    object
        .follow(&["metadata", "namespace"])
        .and_then(Node::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::read;
    use model::Limits;

    fn object(text: &str) -> Node {
        read(text, &Limits::default()).unwrap().root
    }

    #[test]
    fn kinds_are_those_of_their_groups() {
        let of = |text: &str| Object::of(&object(text));
        for (text, want) in [
            (
                "{apiVersion: apps/v1, kind: Deployment}",
                Object::Workload(Kind::Deployment),
            ),
            (
                "{apiVersion: extensions/v1beta1, kind: Deployment}",
                Object::Workload(Kind::Deployment),
            ),
            (
                "{apiVersion: apps/v1, kind: StatefulSet}",
                Object::Workload(Kind::StatefulSet),
            ),
            (
                "{apiVersion: apps/v1, kind: DaemonSet}",
                Object::Workload(Kind::DaemonSet),
            ),
            (
                "{apiVersion: apps/v1, kind: ReplicaSet}",
                Object::Workload(Kind::ReplicaSet),
            ),
            (
                "{apiVersion: batch/v1, kind: Job}",
                Object::Workload(Kind::Job),
            ),
            (
                "{apiVersion: batch/v1beta1, kind: CronJob}",
                Object::Workload(Kind::CronJob),
            ),
            ("{apiVersion: v1, kind: Pod}", Object::Workload(Kind::Pod)),
            ("{apiVersion: v1, kind: List}", Object::List),
            ("{apiVersion: v1, kind: Deployment}", Object::Other),
            ("{apiVersion: example.org/v1, kind: Job}", Object::Other),
            ("{kind: Pod}", Object::Other),
            ("{apiVersion: [v1], kind: Pod}", Object::Other),
            ("[]", Object::Other),
        ] {
            assert_eq!(of(text), want, "{text}");
        }
    }

    #[test]
    fn names_may_be_to_come() {
        let of = |text: &str| name(&object(text)).map(str::to_owned);
        assert_eq!(of("metadata: {name: a}"), Some("a".to_owned()));
        assert_eq!(of("metadata: {generateName: a-}"), Some("a".to_owned()));
        assert_eq!(of("metadata: {name: ''}"), None);
        assert_eq!(of("{}"), None);
    }
}

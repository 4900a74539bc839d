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
    /// It holds objects of one such kind, which do not say themselves what they are.
    ListOf(Kind),
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
    ReplicationController,
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
        let kind = text("kind");
        if (group, kind) == ("v1", "List") {
            return Self::List;
        }
        if let Some(kind) = Kind::of(group, kind) {
            return Self::Workload(kind);
        }
        let of_list = kind.strip_suffix("List");
        let of_list = of_list.and_then(|kind| Kind::of(group, kind));
        of_list.map_or(Self::Other, Self::ListOf)
    }
}

impl Kind {
    fn of(group: &str, kind: &str) -> Option<Self> {
        Some(match (group, kind) {
            ("apps" | "extensions", "Deployment") => Self::Deployment,
            ("apps", "StatefulSet") => Self::StatefulSet,
            ("apps" | "extensions", "DaemonSet") => Self::DaemonSet,
            ("apps" | "extensions", "ReplicaSet") => Self::ReplicaSet,
            ("v1", "ReplicationController") => Self::ReplicationController,
            ("batch", "Job") => Self::Job,
            ("batch", "CronJob") => Self::CronJob,
            ("v1", "Pod") => Self::Pod,
            _ => return None,
        })
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
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

/// The workload that the pods of an object belong to, as far as it is known: the object, or what a Pod was made by.
///
/// Source: Istio `GetWorkloadMetaFromPod`.
pub(crate) fn of_pods(kind: Kind, object: &Node) -> Option<&str> {
    let maker = match kind {
        Kind::Pod => maker(object),
        _ => None,
    };
    maker.or_else(|| name(object))
}

/// The labels that Deployments and Argo's Rollouts tell the pods of their ReplicaSets by.
const TEMPLATE_HASHES: [&str; 2] = ["pod-template-hash", "rollouts-pod-template-hash"];

/// What made a Pod, or rather what made that: people know a Deployment, and not its ReplicaSets.
fn maker(pod: &Node) -> Option<&str> {
    let owners = pod.follow(&["metadata", "ownerReferences"])?.items();
    let is_controller =
        |owner: &&Node| owner.get("controller").and_then(Node::as_bool) == Some(true);
    let owner = owners.iter().find(is_controller)?;
    let text = |key| owner.get(key).and_then(Node::as_str);
    let name = text("name").filter(|name| !name.is_empty())?;
    let made = match text("kind") {
        Some("ReplicaSet") => of_replica_set(pod, name),
        Some("Job") => of_job(name),
        _ => None,
    };
    Some(made.unwrap_or(name))
}

fn of_replica_set<'n>(pod: &Node, name: &'n str) -> Option<&'n str> {
    let labels = pod.follow(&["metadata", "labels"])?;
    let hashes = TEMPLATE_HASHES.into_iter();
    let mut hashes = hashes.filter_map(|label| labels.get(label).and_then(Node::as_str));
    hashes.find_map(|hash| without_end(name, hash))
}

/// A CronJob's Jobs are named after the minute they are for.
fn of_job(name: &str) -> Option<&str> {
    let (_, minute) = name.rsplit_once('-')?;
    let is_minute =
        (8..=10).contains(&minute.len()) && minute.bytes().all(|byte| byte.is_ascii_digit());
    is_minute.then(|| without_end(name, minute)).flatten()
}

fn without_end<'n>(name: &'n str, end: &str) -> Option<&'n str> {
    let name = name.strip_suffix(end)?.strip_suffix('-')?;
    (!name.is_empty()).then_some(name)
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
            (
                "{apiVersion: v1, kind: ReplicationController}",
                Object::Workload(Kind::ReplicationController),
            ),
            ("{apiVersion: v1, kind: List}", Object::List),
            (
                "{apiVersion: apps/v1, kind: DeploymentList}",
                Object::ListOf(Kind::Deployment),
            ),
            ("{apiVersion: v1, kind: PodList}", Object::ListOf(Kind::Pod)),
            ("{apiVersion: v1, kind: ServiceList}", Object::Other),
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

    #[test]
    fn pods_belong_to_what_people_know() {
        let of = |owner: &str, labels: &str| {
            let text = format!(
                "metadata: {{generateName: cart-6d5f8-, labels: {{{labels}}}, ownerReferences: [{owner}]}}"
            );
            of_pods(Kind::Pod, &object(&text)).map(str::to_owned)
        };
        let owner =
            |kind: &str, name: &str| format!("{{kind: {kind}, name: {name}, controller: true}}");
        let hash = "pod-template-hash: 6d5f8";
        for (owner, labels, want) in [
            (owner("ReplicaSet", "cart-6d5f8"), hash, "cart"),
            (
                owner("ReplicaSet", "cart-6d5f8"),
                "rollouts-pod-template-hash: 6d5f8",
                "cart",
            ),
            (owner("ReplicaSet", "cart-6d5f8"), "", "cart-6d5f8"),
            (owner("ReplicaSet", "6d5f8"), hash, "6d5f8"),
            (owner("StatefulSet", "cart"), hash, "cart"),
            (owner("Job", "bill-29384756"), "", "bill"),
            (owner("Job", "bill-v2"), "", "bill-v2"),
            (
                "{kind: ReplicaSet, name: x, controller: false}".to_owned(),
                hash,
                "cart-6d5f8",
            ),
            (String::new(), hash, "cart-6d5f8"),
        ] {
            assert_eq!(
                of(&owner, labels).as_deref(),
                Some(want),
                "{owner} {labels}"
            );
        }
        let template = object(
            "metadata: {name: cart, ownerReferences: [{kind: X, name: x, controller: true}]}",
        );
        assert_eq!(of_pods(Kind::Deployment, &template), Some("cart"));
    }
}

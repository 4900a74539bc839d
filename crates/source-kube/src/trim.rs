//! What of an object is worth keeping: ten thousand Pods as they come are a hundred megabytes.

use crate::kinds::Kind;
use serde_json::{Map, Value};

/// What `kubectl apply` keeps for itself: the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Takes off what nobody here reads.
pub(crate) fn trim(kind: &Kind, object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        // It is another one after each change of what is taken off, and would make that one of ours.
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
        if let Some(annotations) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.remove(LAST_APPLIED);
        }
    }
    let Some(object) = object.as_object_mut() else {
        return;
    };
    match kind.name {
        "Pod" => trim_pod(object),
        // Of a Node its labels count, which say where it is.
        "Node" => keep(object, &["apiVersion", "kind", "metadata"]),
        _ => drop(object.remove("status")),
    }
}

fn trim_pod(pod: &mut Map<String, Value>) {
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        let kept = [
            "containers",
            "initContainers",
            "nodeName",
            "serviceAccountName",
            "hostNetwork",
        ];
        keep(spec, &kept);
        for list in ["containers", "initContainers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                if let Some(container) = container.as_object_mut() {
                    keep(container, &["name", "ports"]);
                }
            }
        }
    }
    if let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) {
        keep(status, &["phase", "podIP", "podIPs", "conditions"]);
        let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten() {
            if let Some(condition) = condition.as_object_mut() {
                keep(condition, &["type", "status"]);
            }
        }
    }
}

fn keep(of: &mut Map<String, Value>, kept: &[&str]) {
    of.retain(|key, _| kept.contains(&key.as_str()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{KINDS, NODES};
    use serde_json::json;

    #[track_caller]
    fn check(kind: &str, mut object: Value, want: &Value) {
        let mut kinds = KINDS.iter().chain([&NODES]);
        let kind = kinds.find(|one| one.name == kind).unwrap();
        trim(kind, &mut object);
        assert_eq!(&object, want);
    }

    #[test]
    fn a_pod_is_where_it_is_and_what_it_has() {
        check(
            "Pod",
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": "a", "labels": {"app": "a"}, "managedFields": [{}], "resourceVersion": "7",
                    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "other": "1"},
                },
                "spec": {
                    "volumes": [{}], "nodeName": "n", "serviceAccountName": "s",
                    "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1}]}],
                },
                "status": {
                    "podIP": "10.0.0.1", "hostIP": "10.0.0.2",
                    "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}],
                },
            }),
            &json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "a", "labels": {"app": "a"}, "annotations": {"other": "1"}},
                "spec": {
                    "nodeName": "n", "serviceAccountName": "s",
                    "containers": [{"name": "c", "ports": [{"containerPort": 1}]}],
                },
                "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
            }),
        );
    }

    #[test]
    fn a_node_is_its_labels_and_of_others_the_status_goes() {
        check(
            "Node",
            json!({"metadata": {"name": "n", "labels": {"zone": "a"}}, "spec": {}, "status": {}}),
            &json!({"metadata": {"name": "n", "labels": {"zone": "a"}}}),
        );
        check(
            "Service",
            json!({"metadata": {"name": "s"}, "spec": {"ports": []}, "status": {"loadBalancer": {}}}),
            &json!({"metadata": {"name": "s"}, "spec": {"ports": []}}),
        );
    }
}

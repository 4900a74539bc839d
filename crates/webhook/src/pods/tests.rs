use super::*;
use crate::review::Object;

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "cart-6d5f8-",
            "creationTimestamp": null,
            "labels": {"app": "cart", "pod-template-hash": "6d5f8"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-6d5f8", "uid": "1", "controller": true}],
        },
        "spec": {
            "containers": [{
                "name": "app",
                "image": "app:1",
                "args": ["é\u{2028}\u{1f600}\u{85}\u{feff}\u{7f}\u{1}", "- ~", "1e3"],
                "ports": [{"containerPort": 8080}],
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets"}],
                "resources": {},
            }],
            "volumes": [{"name": "token", "emptyDir": {}}],
            "restartPolicy": "Always",
        },
    })
}

fn request(object: Value) -> Request {
    let request = json!({
        "uid": "1", "operation": "CREATE", "namespace": "shop", "object": object,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
    });
    serde_json::from_value(request).unwrap()
}

/// The Pod that the API server goes on with.
#[track_caller]
fn patched(object: &Value, answer: &Answer) -> Value {
    assert_eq!(answer.refusal, None);
    let mut object = object.clone();
    json_patch::patch(&mut object, answer.patch.as_ref().expect("a patch")).unwrap();
    object
}

#[track_caller]
fn given_to(object: &Value) -> Answer {
    give_sidecar(&request(object.clone()), &InjectOptions::default())
}

#[test]
fn a_pod_without_name_and_namespace_gets_its_sidecar() {
    let pod = pod();
    let patched = patched(&pod, &given_to(&pod));
    let containers = patched["spec"]["containers"].as_array().unwrap();
    let names: Vec<_> = containers
        .iter()
        .map(|container| &container["name"])
        .collect();
    assert_eq!(names, ["istio-proxy", "app"]);
    assert_eq!(containers[1], pod["spec"]["containers"][0], "as it was");
    assert_eq!(patched["metadata"].get("namespace"), None);
    assert_eq!(patched["metadata"]["generateName"], "cart-6d5f8-");
    assert!(patched["metadata"]["annotations"]["sidecar.istio.io/status"].is_string());
    let env = containers[0]["env"].as_array().unwrap();
    let workload = env
        .iter()
        .find(|variable| variable["name"] == "ISTIO_META_WORKLOAD_NAME");
    assert_eq!(workload.unwrap()["value"], "cart", "the Deployment's");
}

#[test]
fn one_that_has_it_is_left_alone_when_it_comes_again() {
    let pod = pod();
    let once = patched(&pod, &given_to(&pod));
    assert_eq!(given_to(&once), Answer::default());
}

#[test]
fn what_says_no_and_what_is_no_new_pod_is_left_alone() {
    let mut refuses = pod();
    refuses["metadata"]["labels"]["sidecar.istio.io/inject"] = json!("false");
    let mut on_host = pod();
    on_host["spec"]["hostNetwork"] = json!(true);
    for pod in [refuses, on_host] {
        assert_eq!(given_to(&pod), Answer::default());
    }
    let left_alone = |change: fn(&mut Request)| {
        let mut request = request(pod());
        change(&mut request);
        let answer = give_sidecar(&request, &InjectOptions::default());
        assert_eq!(answer, Answer::default());
    };
    left_alone(|request| request.namespace = "kube-system".to_owned());
    left_alone(|request| request.operation = "UPDATE".to_owned());
    left_alone(|request| request.sub_resource = "ephemeralcontainers".to_owned());
    left_alone(|request| request.kind.kind = "Deployment".to_owned());
    left_alone(|request| request.object = Object::default());
}

#[test]
fn the_namespace_of_the_request_counts() {
    let mut elsewhere = pod();
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    assert!(given_to(&elsewhere).patch.is_some());
}

#[test]
fn one_that_could_not_work_with_a_sidecar_is_refused() {
    let mut pod = pod();
    pod["metadata"]["annotations"] =
        json!({"sidecar.istio.io/proxyCPU": "much", "sidecar.istio.io/logLevel": "loud"});
    let answer = given_to(&pod);
    let refusal = answer.refusal.unwrap();
    assert!(
        refusal.starts_with("no sidecar can be added: 2 errors\n- metadata.annotations["),
        "{refusal}"
    );
    assert_eq!(answer.patch, None);
}

#[test]
fn warnings_come_with_the_sidecar() {
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"sidecar.istio.io/statsInclusionPrefixes": "x"});
    let answer = given_to(&pod);
    assert!(answer.patch.is_some());
    assert!(
        answer.warnings[0].starts_with("metadata.annotations[sidecar.istio.io/"),
        "{:?}",
        answer.warnings
    );
}

#[test]
fn pods_of_any_form_are_answered() {
    for pod in [
        json!({}),
        json!({"metadata": [], "spec": 1}),
        json!({"spec": {"containers": {}}}),
        json!({"metadata": null, "spec": {"containers": [{"name": "a"}]}}),
    ] {
        let answer = given_to(&pod);
        assert!(answer.refusal.is_some() || answer.patch.is_some(), "{pod}");
    }
}

#[test]
fn options_are_checked_before_any_pod_comes() {
    assert_eq!(check_options(&InjectOptions::default()), Ok(()));
    let annotations = [("sidecar.istio.io/proxyCpu".to_owned(), "1".to_owned())];
    let options = InjectOptions {
        annotations: annotations.into(),
        ..InjectOptions::default()
    };
    assert!(
        check_options(&options)
            .unwrap_err()
            .contains("sidecar.istio.io/proxyCpu")
    );
}

use super::*;

fn virtual_service(change: impl FnOnce(&mut Value)) -> Value {
    let mut object = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {
            "name": "cart",
            "namespace": "shop",
            "uid": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "generation": 1,
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
            "annotations": {LAST_APPLIED: "{}"},
        },
        "spec": {
            "hosts": ["cart"],
            "http": [{"route": [{"destination": {"host": "cart"}}], "timeout": "5s"}],
        },
    });
    change(&mut object);
    object
}

fn with_timeout(timeout: &'static str) -> Value {
    virtual_service(|object| object["spec"]["http"][0]["timeout"] = json!(timeout))
}

fn request(operation: &str, object: Value, old: Value) -> Request {
    let version = object["apiVersion"].as_str();
    let version = version.unwrap_or("networking.istio.io/v1");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = object["kind"].as_str().unwrap_or("VirtualService");
    let kind = json!({"group": group, "version": version, "kind": kind});
    serde_json::from_value(json!({
        "uid": "1", "kind": kind, "namespace": "shop", "operation": operation, "object": object, "oldObject": old,
    }))
    .unwrap()
}

#[track_caller]
fn created(object: Value) -> Answer {
    validate(&request("CREATE", object, Value::Null))
}

#[track_caller]
fn updated(object: Value, old: Value) -> Answer {
    validate(&request("UPDATE", object, old))
}

#[test]
fn what_is_good_is_let_through_without_a_word() {
    assert_eq!(created(virtual_service(|_| {})), Answer::default());
}

#[test]
fn what_the_gateway_refuses_is_refused_with_all_that_is_wrong() {
    let answer = created(virtual_service(|object| {
        object["spec"]["http"][0]["timeout"] = json!("5 apples");
        object["spec"]["http"][0]["redirects"] = json!({});
        object["spec"]["hosts"] = json!(7);
    }));
    let refusal = answer.refusal.unwrap();
    for said in [
        "spec.http[0].timeout: ",
        "spec.http[0].redirects",
        "spec.hosts: ",
    ] {
        assert!(refusal.contains(said), "{said} in {refusal}");
    }
    assert!(
        refusal.contains("; did you mean \"redirect\"?"),
        "{refusal}"
    );
}

#[test]
fn warnings_are_passed_on() {
    let answer = created(virtual_service(|object| {
        object["spec"]["http"][0]["match"] = json!([{"uri": {"prefix": "/"}, "statPrefix": "x"}]);
    }));
    assert_eq!(
        answer,
        Answer {
            warnings: vec![
                "spec.http[0].match[0].statPrefix: statPrefix has no effect on Istio's metrics"
                    .to_owned()
            ],
            ..Answer::default()
        }
    );
    let legacy = virtual_service(|object| {
        object["spec"]["http"][0]["fault"] = json!({"abort": {"percent": 10, "httpStatus": 500}});
        object["apiVersion"] = json!("networking.istio.io/v1alpha3");
    });
    let answer = created(legacy);
    assert_eq!(answer.refusal, None, "legacy forms are read");
}

#[test]
fn an_error_that_was_there_before_is_a_warning() {
    let old = with_timeout("never");
    let mut relabelled = old.clone();
    relabelled["metadata"]["labels"] = json!({"team": "shop"});
    let answer = updated(relabelled, old.clone());
    assert_eq!(answer.refusal, None);
    assert_eq!(answer.warnings.len(), 1);
    let warning = &answer.warnings[0];
    assert!(
        warning.starts_with("not in force, as before: spec.http[0].timeout: "),
        "{warning}"
    );
    // Another one is another one, and the old one does not excuse it.
    let mut worse = old.clone();
    worse["spec"]["hosts"] = json!(7);
    let answer = updated(worse, old.clone());
    assert!(answer.refusal.unwrap().starts_with("spec.hosts: "));
    assert_eq!(answer.warnings.len(), 1);
    // What is put in before it moves it.
    let mut moved = old.clone();
    let first = virtual_service(|_| {})["spec"]["http"][0].clone();
    moved["spec"]["http"]
        .as_array_mut()
        .unwrap()
        .insert(0, first);
    let answer = updated(moved.clone(), old.clone());
    assert_eq!((answer.refusal, answer.warnings.len()), (None, 1));
    moved["spec"]["http"][0] = moved["spec"]["http"][1].clone();
    assert!(
        updated(moved, old.clone()).refusal.is_some(),
        "it is there twice"
    );
    let refusal = updated(with_timeout("soon"), old).refusal;
    assert!(refusal.unwrap().contains("spec.http[0].timeout"));
    let refusal = updated(with_timeout("never"), virtual_service(|_| {})).refusal;
    assert!(refusal.is_some(), "it was good before");
}

#[test]
fn what_is_nested_too_deeply_is_refused_unless_it_is_there() {
    let deep = (0..200).fold(json!(1), |deep, _| json!({"a": deep}));
    let deep = virtual_service(|object| object["spec"]["deep"] = deep);
    let refusal = created(deep.clone()).refusal.unwrap();
    assert!(
        refusal.starts_with("the object cannot be read: recursion limit"),
        "{refusal}"
    );
    let answer = updated(deep.clone(), deep.clone());
    assert_eq!((answer.refusal, answer.warnings.len()), (None, 1));
    assert_eq!(updated(virtual_service(|_| {}), deep), Answer::default());
}

#[test]
fn what_is_being_deleted_and_what_is_not_ours_is_let_through() {
    let bad = with_timeout("never");
    let going = virtual_service(|object| {
        object["spec"]["hosts"] = json!(7);
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    assert_eq!(updated(going, virtual_service(|_| {})), Answer::default());
    assert_eq!(
        validate(&request("DELETE", Value::Null, bad.clone())),
        Answer::default()
    );
    let mut status = request("UPDATE", bad.clone(), virtual_service(|_| {}));
    status.sub_resource = "status".to_owned();
    assert_eq!(validate(&status), Answer::default());
    for (version, kind) in [
        ("networking.istio.io/v1alpha3", "EnvoyFilter"),
        ("gateway.networking.k8s.io/v1", "Gateway"),
        ("v1", "Service"),
        ("networking.istio.io/v9", "ServiceMap"),
    ] {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": {"x": 1}});
        assert_eq!(created(object), Answer::default(), "{version} {kind}");
    }
}

#[test]
fn references_to_what_is_not_there_yet_are_fine() {
    let answer = created(virtual_service(|object| {
        object["spec"]["gateways"] = json!(["elsewhere/missing"]);
        object["spec"]["http"][0]["route"][0]["destination"] =
            json!({"host": "missing", "subset": "missing"});
    }));
    assert_eq!(answer, Answer::default());
}

#[test]
fn names_and_namespaces_may_be_to_come() {
    let answer = created(virtual_service(|object| {
        object["metadata"] = json!({"generateName": "cart-"});
    }));
    assert_eq!(answer, Answer::default());
    let answer = created(virtual_service(|object| {
        object["metadata"] = json!({"name": "Cart!"})
    }));
    assert!(answer.refusal.unwrap().contains("metadata.name"));
}

#[test]
fn what_kubernetes_keeps_in_an_object_does_not_count() {
    let answer = created(virtual_service(|object| {
        object["metadata"]["managedFields"] = json!([{"x": "y".repeat(2 << 20)}]);
        object["status"] = json!({"conditions": 7});
    }));
    assert_eq!(answer, Answer::default());
}

#[test]
fn an_object_of_any_form_is_answered() {
    for object in [
        json!(null),
        json!([]),
        json!("x"),
        json!({}),
        json!({"metadata": 1}),
    ] {
        assert!(created(object.clone()).refusal.is_some(), "{object}");
    }
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let answer = created(virtual_service(|object| object["spec"]["http"] = deep));
    assert!(answer.refusal.is_some());
}

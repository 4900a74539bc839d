//! Kinds and versions.

use crate::support::{check_told, parse, told};
use model::Outcome;

fn object(version: &str, kind: &str) -> String {
    format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{hosts: [a.com], http: [{{redirect: {{uri: /}}}}]}}\n"
    )
}

#[test]
fn all_three_versions_are_one() {
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let text = object(&format!("networking.istio.io/{version}"), "VirtualService");
        assert_eq!(told(&text), Vec::<String>::new());
    }
}

#[test]
fn policies_have_two_versions() {
    for kind in ["PeerAuthentication", "AuthorizationPolicy"] {
        for version in ["v1", "v1beta1"] {
            let text = format!(
                "apiVersion: security.istio.io/{version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{}}\n"
            );
            assert_eq!(told(&text), Vec::<String>::new());
        }
    }
    let message = "apiVersion security.istio.io/v1alpha1 of PeerAuthentication is not known";
    let want = format!(
        "error unsupported_version 1:13 apiVersion: {message}; accepted: security.istio.io/v1, security.istio.io/v1beta1"
    );
    check_told(
        "apiVersion: security.istio.io/v1alpha1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {}\n",
        &[&want],
    );
}

#[test]
fn another_version_is_refused_with_those_that_are_known() {
    for (version, message) in [
        (
            "networking.istio.io/v2",
            "apiVersion networking.istio.io/v2 of VirtualService is not known",
        ),
        (
            "istio.io/v1",
            "apiVersion istio.io/v1 of VirtualService is not known",
        ),
    ] {
        let accepted =
            "networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3";
        let want =
            format!("error unsupported_version 1:13 apiVersion: {message}; accepted: {accepted}");
        check_told(&object(version, "VirtualService"), &[&want]);
    }
    check_told(
        "kind: Service\nmetadata: {name: a}\n",
        &["error unsupported_version 1:1 apiVersion: apiVersion is required: v1 for Service"],
    );
}

#[test]
fn kinds_before_istio_0_8_are_refused_with_their_replacement() {
    for (kind, replacement) in [
        ("RouteRule", "VirtualService"),
        ("DestinationPolicy", "DestinationRule"),
        ("EgressRule", "ServiceEntry"),
        ("Ingress", "Gateway and VirtualService"),
    ] {
        let text = object("config.istio.io/v1alpha2", kind);
        let want = format!(
            "error removed_kind 2:7 kind: {kind} was removed from Istio; {replacement} of networking.istio.io replaced it"
        );
        check_told(&text, &[&want]);
        let parsed = parse(&text);
        assert_eq!(parsed.objects[0].outcome, Outcome::Refused);
        assert!(!parsed.unidentified);
    }
}

#[test]
fn other_kinds_are_skipped_with_a_word() {
    for (version, kind, of) in [
        ("apps/v1", "Deployment", "Deployment of apps"),
        ("v1", "ConfigMap", "ConfigMap"),
        (
            "networking.k8s.io/v1",
            "Ingress",
            "Ingress of networking.k8s.io",
        ),
        (
            "gateway.networking.k8s.io/v1",
            "Gateway",
            "Gateway of gateway.networking.k8s.io",
        ),
        (
            "security.istio.io/v1",
            "RequestAuthentication",
            "RequestAuthentication of security.istio.io",
        ),
    ] {
        let text = object(version, kind);
        let want = format!(
            "warning skipped_kind 2:7 kind: kind {of} is not one of those that are read, it is skipped"
        );
        check_told(&text, &[&want]);
        let parsed = parse(&text);
        assert!(parsed.objects.is_empty() && !parsed.unidentified);
        assert_eq!(
            parsed.diagnostics[0].resource.as_ref().unwrap().to_string(),
            format!("{kind} default/a")
        );
    }
}

#[test]
fn metadata_is_kept() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  uid: x\n  managedFields: []\n  labels: {l: '1'}\n  annotations: {n: ''}\n  creationTimestamp: \"2018-07-01T10:00:00Z\"\n";
    let parsed = parse(text);
    let meta = parsed.objects[0].outcome.resource().unwrap().meta();
    assert_eq!(
        (meta.labels["l"].as_str(), meta.annotations["n"].as_str()),
        ("1", "")
    );
    assert_eq!(meta.creation_timestamp.unwrap().seconds, 1_530_439_200);
}

#[test]
fn wrong_metadata_is_told_of() {
    check_told(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels: {l: 1}\n  creationTimestamp: now\n",
        &[
            "error wrong_type 5:15 metadata.labels.l: expected a string, found an integer",
            "error invalid_value 6:22 metadata.creationTimestamp: \"now\" is no time as RFC 3339 writes it",
        ],
    );
}

#[test]
fn unknown_fields_around_the_spec_are_told_of() {
    check_told(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\nspecs: {}\nstatus: {x: 1}\n",
        &[
            "error missing_field 1:1 spec: spec is required",
            "error unknown_field 4:1 specs: unknown field \"specs\"",
        ],
    );
}

//! Which workloads a policy is about.

use crate::decode::{Cursor, Fields};
use crate::{Labels, TargetRef};

/// Groups and kinds that a policy can be attached to in Istio.
const TARGETS: &[(&str, &str)] = &[
    ("", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("gateway.networking.k8s.io", "HTTPRoute"),
];

/// `selector.matchLabels`; empty when there is none.
pub(super) fn selector(fields: &Fields<'_>) -> Labels {
    let Some(cursor) = fields.field("selector") else {
        return Labels::new();
    };
    let labels = cursor.object(|fields| Some(fields.maybe("matchLabels", match_labels)));
    let labels = labels.flatten().unwrap_or_default();
    if labels.is_empty() {
        cursor
            .warning(
                "empty_selector",
                "a selector without labels selects everything",
            )
            .help("leave the selector out, or write the labels of the workloads into matchLabels");
    }
    labels
}

fn match_labels(cursor: &Cursor<'_>) -> Option<Labels> {
    for (name, value) in cursor.entries() {
        if name.is_empty() {
            value.error("invalid_value", "the name of a label must not be empty");
        }
        if name.contains('*') || value.node.as_str().unwrap_or_default().contains('*') {
            value
                .error(
                    "invalid_value",
                    "labels are compared as they are, without wildcards",
                )
                .help("name one label that all of the workloads have");
        }
    }
    Some(cursor.labels())
}

/// `targetRefs`, or the `targetRef` that came before it.
pub(super) fn target_refs(fields: &Fields<'_>) -> Vec<TargetRef> {
    fields.exclusive(&["selector", "targetRef", "targetRefs"]);
    let one = fields.maybe("targetRef", target_ref);
    let many = fields.each("targetRefs", target_ref);
    match many.is_empty() {
        true => one.into_iter().collect(),
        false => many,
    }
}

fn target_ref(cursor: &Cursor<'_>) -> Option<TargetRef> {
    cursor.object(|fields| {
        let group = match fields.string("group").unwrap_or_default() {
            core if core == "core" => String::new(),
            group => group,
        };
        let kind = fields.required("kind").and_then(|kind| kind.text());
        let name = fields.required("name").and_then(|name| name.text());
        if let Some(namespace) = fields.field("namespace")
            && namespace.str().is_some_and(|text| !text.is_empty())
        {
            namespace.error(
                "invalid_value",
                "a target is always in the policy's own namespace",
            );
        }
        let kind = kind?;
        if !TARGETS.contains(&(&group, &kind)) {
            let known: Vec<String> = TARGETS.iter().map(written).collect();
            cursor
                .error(
                    "invalid_enum",
                    format!("{} is no target", written(&(&group, &kind))),
                )
                .help(format!("one of {}", known.join(", ")));
        }
        Some(TargetRef {
            at: fields.at(),
            group,
            kind,
            name: name?,
        })
    })
}

fn written((group, kind): &(&str, &str)) -> String {
    match *group {
        "" => (*kind).to_owned(),
        group => format!("{group}/{kind}"),
    }
}

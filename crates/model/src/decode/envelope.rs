//! What stands around an object's spec: kind, version, identity.

use super::{
    Context, Cursor, destination_rule, gateway, kubernetes, security, service_entry, sidecar,
    virtual_service, workload,
};
use crate::yaml::{Node, Value};
use crate::{
    At, Diagnostic, Labels, Meta, Resource, ResourceRef, Severity, Timestamp, not_honoured,
};
use std::sync::Arc;

/// A kind that is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    group: &'static str,
    versions: &'static [&'static str],
    decode: Decode,
}

#[derive(Clone, Copy, Debug)]
enum Decode {
    /// Handed its `spec`; every field must be known.
    Istio(fn(&Cursor<'_>, Meta) -> Option<Resource>),
    /// Handed the object; only some fields are wanted.
    Kubernetes(fn(&Cursor<'_>, Meta) -> Option<Resource>),
}

const ISTIO: (&str, &[&str]) = ("networking.istio.io", &["v1", "v1beta1", "v1alpha3"]);
const SECURITY: (&str, &[&str]) = ("security.istio.io", &["v1", "v1beta1"]);
const CORE: (&str, &[&str]) = ("", &["v1"]);
const DISCOVERY: (&str, &[&str]) = ("discovery.k8s.io", &["v1"]);

const fn kind(
    name: &'static str,
    at: (&'static str, &'static [&'static str]),
    decode: Decode,
) -> Kind {
    Kind {
        name,
        group: at.0,
        versions: at.1,
        decode,
    }
}

const KINDS: &[Kind] = &[
    kind(
        "Gateway",
        ISTIO,
        Decode::Istio(|spec, meta| gateway::gateway(spec, meta).map(Into::into)),
    ),
    kind(
        "VirtualService",
        ISTIO,
        Decode::Istio(|spec, meta| virtual_service::virtual_service(spec, meta).map(Into::into)),
    ),
    kind(
        "DestinationRule",
        ISTIO,
        Decode::Istio(|spec, meta| destination_rule::destination_rule(spec, meta).map(Into::into)),
    ),
    kind(
        "ServiceEntry",
        ISTIO,
        Decode::Istio(|spec, meta| service_entry::service_entry(spec, meta).map(Into::into)),
    ),
    kind(
        "WorkloadEntry",
        ISTIO,
        Decode::Istio(|spec, meta| workload::workload_entry(spec, meta).map(Into::into)),
    ),
    kind(
        "Sidecar",
        ISTIO,
        Decode::Istio(|spec, meta| sidecar::sidecar(spec, meta).map(Into::into)),
    ),
    kind(
        "PeerAuthentication",
        SECURITY,
        Decode::Istio(|spec, meta| security::peer_authentication(spec, meta).map(Into::into)),
    ),
    kind(
        "AuthorizationPolicy",
        SECURITY,
        Decode::Istio(|spec, meta| security::authorization_policy(spec, meta).map(Into::into)),
    ),
    kind(
        "Service",
        CORE,
        Decode::Kubernetes(|root, meta| kubernetes::service(root, meta).map(Into::into)),
    ),
    kind(
        "Pod",
        CORE,
        Decode::Kubernetes(|root, meta| kubernetes::pod(root, meta).map(Into::into)),
    ),
    kind(
        "Secret",
        CORE,
        Decode::Kubernetes(|root, meta| kubernetes::secret(root, meta).map(Into::into)),
    ),
    kind(
        "Namespace",
        CORE,
        Decode::Kubernetes(|root, meta| kubernetes::namespace(root, meta).map(Into::into)),
    ),
    kind(
        "Node",
        CORE,
        Decode::Kubernetes(|root, meta| kubernetes::node(root, meta).map(Into::into)),
    ),
    kind(
        "EndpointSlice",
        DISCOVERY,
        Decode::Kubernetes(|root, meta| kubernetes::endpoint_slice(root, meta).map(Into::into)),
    ),
];

/// Kinds of Istio before 0.8, and what replaced them.
const REMOVED: &[(&str, &str)] = &[
    ("RouteRule", "VirtualService of networking.istio.io"),
    (
        "DestinationPolicy",
        "DestinationRule of networking.istio.io",
    ),
    ("EgressRule", "ServiceEntry of networking.istio.io"),
];
const REMOVED_GROUP: &str = "config.istio.io";

/// Other groups' kinds that happen to have the name of one of ours.
const NAMESAKES: &[(&str, &str)] = &[
    ("Gateway", "gateway.networking.k8s.io"),
    ("Service", "serving.knative.dev"),
];

/// What is known of an object before its spec is read.
pub(crate) enum Identity {
    /// One of ours.
    Known(&'static Kind, ResourceRef),
    /// One that is refused whatever it says.
    Refused(ResourceRef, Vec<Diagnostic>),
    /// None of ours.
    Skipped(Vec<Diagnostic>),
    /// It does not say.
    Unidentified(Vec<Diagnostic>),
}

/// The part of an object that every kind has.
#[derive(Clone, Copy)]
pub(crate) struct Envelope<'a> {
    pub(crate) file: &'a Arc<str>,
    pub(crate) default_namespace: &'a Arc<str>,
    pub(crate) node: &'a Node,
}

/// Whether Kubernetes has it outside namespaces.
pub(crate) fn is_cluster_wide(kind: &str) -> bool {
    matches!(kind, "Namespace" | "Node")
}

/// Whether the kind is read.
pub(crate) fn is_known(kind: &str) -> bool {
    KINDS.iter().any(|known| known.name == kind)
}

impl<'a> Envelope<'a> {
    /// Kind, namespace and name.
    pub(crate) fn identify(&self) -> Identity {
        let cx = Context::new(self.file, None);
        let found = self.read_identity(&cx);
        let diagnostics = cx.into_diagnostics();
        match found {
            Some(found) => found,
            None => Identity::Unidentified(diagnostics),
        }
    }

    fn read_identity(&self, cx: &Context<'_>) -> Option<Identity> {
        let root = Cursor::root(cx, self.node);
        if !matches!(self.node.value, Value::Mapping(_)) {
            let message = format!("expected a Kubernetes object, found {}", self.node.kind());
            root.error("not_an_object", message)
                .help("apiVersion, kind, metadata and spec are needed");
            return None;
        }
        let kind = root.part_of_object(|fields| fields.required("kind")?.text())?;
        let version = root
            .part_of_object(|fields| fields.field("apiVersion")?.text())
            .unwrap_or_default();
        let (group, version) = version.rsplit_once('/').unwrap_or(("", &version));
        if let Some(replacement) = replacement(&kind, group) {
            let reference = self.reference(&root, &kind)?;
            let message = format!("{kind} was removed from Istio; {replacement} replaced it");
            return Some(self.refused(reference, "kind", "removed_kind", message));
        }
        let known = KINDS.iter().find(|known| known.name == kind);
        let Some(known) = known.filter(|_| !NAMESAKES.contains(&(kind.as_str(), group))) else {
            return Some(Identity::Skipped(vec![self.skipped(&kind, group)]));
        };
        let reference = self.reference(&root, &kind)?;
        if group != known.group || !known.versions.contains(&version) {
            return Some(self.refused(
                reference,
                "apiVersion",
                "unsupported_version",
                known.accepts(group, version),
            ));
        }
        Some(Identity::Known(known, reference))
    }

    fn reference(&self, root: &Cursor<'_>, kind: &str) -> Option<ResourceRef> {
        root.part_of_object(|fields| fields.required("metadata"))?
            .part_of_object(|fields| {
                let name = fields.required("name").and_then(|name| object_name(&name));
                let namespace = match fields
                    .field("namespace")
                    .filter(|field| field.node.as_str() != Some(""))
                {
                    _ if is_cluster_wide(kind) => Some("".into()),
                    Some(namespace) => namespace.dns_label().map(Arc::from),
                    None => Some(self.default_namespace.clone()),
                };
                Some(ResourceRef {
                    kind: kind.into(),
                    namespace: namespace?,
                    name: name?,
                })
            })
    }

    fn refused(
        &self,
        resource: ResourceRef,
        key: &str,
        code: &'static str,
        message: String,
    ) -> Identity {
        let at = self.node.get(key).map_or(self.node.at, |node| node.at);
        let diagnostic = self.diagnostic(Severity::Error, code, message, key, at);
        let diagnostic = Diagnostic {
            resource: Some(resource.clone()),
            ..diagnostic
        };
        Identity::Refused(resource, vec![diagnostic])
    }

    fn skipped(&self, kind: &str, group: &str) -> Diagnostic {
        let of = if group.is_empty() {
            String::new()
        } else {
            format!(" of {group}")
        };
        let message = format!("kind {kind}{of} is not one of those that are read, it is skipped");
        let at = self.node.get("kind").map_or(self.node.at, |node| node.at);
        let metadata = self.node.get("metadata");
        let text = |key| metadata.and_then(|metadata| metadata.get(key)?.as_str());
        let resource = text("name").map(|name| ResourceRef {
            kind: kind.into(),
            namespace: text("namespace").map_or_else(|| self.default_namespace.clone(), Into::into),
            name: name.into(),
        });
        let diagnostic = self.diagnostic(Severity::Warning, "skipped_kind", message, "kind", at);
        Diagnostic {
            resource,
            ..diagnostic
        }
    }

    fn diagnostic(
        &self,
        severity: Severity,
        code: &'static str,
        message: String,
        path: &str,
        at: At,
    ) -> Diagnostic {
        let cx = Context::new(self.file, None);
        let position = cx.position(at);
        Diagnostic {
            severity,
            code,
            resource: None,
            path: path.to_owned(),
            message,
            help: None,
            position,
        }
    }
}

impl Kind {
    fn accepts(&self, group: &str, version: &str) -> String {
        let full = |group: &str, version: &str| match group {
            "" => version.to_owned(),
            _ => format!("{group}/{version}"),
        };
        let accepted: Vec<String> = self
            .versions
            .iter()
            .map(|version| full(self.group, version))
            .collect();
        let accepted = accepted.join(", ");
        if group.is_empty() && version.is_empty() {
            return format!("apiVersion is required: {accepted} for {}", self.name);
        }
        format!(
            "apiVersion {} of {} is not known; accepted: {accepted}",
            full(group, version),
            self.name
        )
    }
}

fn replacement(kind: &str, group: &str) -> Option<&'static str> {
    if kind == "Ingress" && group == REMOVED_GROUP {
        return Some("Gateway and VirtualService of networking.istio.io");
    }
    REMOVED
        .iter()
        .find(|(name, _)| *name == kind)
        .map(|(_, replacement)| *replacement)
}

fn object_name(cursor: &Cursor<'_>) -> Option<Arc<str>> {
    let text = cursor.text()?;
    if !crate::is_dns_subdomain(&text) {
        cursor
            .error("invalid_value", format!("{text:?} is no name of an object"))
            .help("letters, digits, hyphens and dots, 253 characters at most");
        return None;
    }
    Some(text.into())
}

/// Decodes an object of a kind that is read; its problems are in `cx`.
pub(crate) fn decode(kind: &Kind, cx: &Context<'_>, node: &Node) -> Option<Resource> {
    let root = Cursor::root(cx, node);
    let meta = root.part_of_object(|fields| meta(&fields.required("metadata")?, node.at));
    let resource = match kind.decode {
        Decode::Istio(decode) => root.object(|fields| {
            for name in ["apiVersion", "kind", "metadata", "status"] {
                fields.field(name);
            }
            let spec = fields.required("spec")?;
            decode(&spec, meta?)
        }),
        Decode::Kubernetes(decode) => decode(&root, meta?),
    };
    if cx.is_refused() {
        return None;
    }
    not_honoured::warn(&root, kind.name);
    resource
}

fn meta(cursor: &Cursor<'_>, at: At) -> Option<Meta> {
    let reference = cursor.cx.resource.clone()?;
    cursor.part_of_object(|fields| {
        let labels: Labels = fields.labels("labels");
        let annotations = fields
            .field("annotations")
            .map(|annotations| annotations.string_map());
        let creation_timestamp = fields.maybe("creationTimestamp", |cursor| {
            let text = cursor.str()?;
            let time = Timestamp::parse(text);
            if time.is_none() {
                cursor.error(
                    "invalid_value",
                    format!("{text:?} is no time as RFC 3339 writes it"),
                );
            }
            time
        });
        let position = cursor.cx.position(at);
        Some(Meta {
            reference,
            labels,
            annotations: annotations.unwrap_or_default(),
            creation_timestamp,
            position,
        })
    })
}

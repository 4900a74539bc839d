//! AuthorizationPolicy: who may do what with a workload.

use crate::{At, Labels, Located, Meta, NamePattern, PathTemplate, ValueMatch};
use ipnet::IpNet;
use std::fmt;
use std::sync::Arc;

/// Access control of workloads.
///
/// Source: Istio `AuthorizationPolicy`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorizationPolicy {
    /// Identity.
    pub meta: Meta,
    /// `selector.matchLabels`. Empty: all workloads of the namespace, or of the mesh in the root namespace.
    pub selector: Labels,
    /// `targetRefs`, or the one `targetRef`. Not with a selector.
    pub target_refs: Vec<TargetRef>,
    /// What becomes of requests that match a rule. Default `ALLOW`.
    pub action: Located<AuthorizationAction>,
    /// `provider.name`. There with `CUSTOM` only, and then always.
    pub provider: Option<String>,
    /// Alternatives. Empty: nothing matches. Never empty with `DENY` and `CUSTOM`.
    pub rules: Vec<AuthorizationRule>,
    /// Whether its effect is only told: annotation `istio.io/dry-run`.
    pub dry_run: bool,
}

/// An object that a policy is attached to.
///
/// Source: Istio `PolicyTargetReference`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetRef {
    /// Where it stands.
    pub at: At,
    /// Its API group. Empty for the core group.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its name; its namespace is the policy's.
    pub name: String,
}

/// What becomes of requests that match.
///
/// Source: Istio `AuthorizationPolicy.Action`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum AuthorizationAction {
    /// They are allowed, and others are not unless another policy allows them.
    #[default]
    Allow,
    /// They are denied.
    Deny,
    /// They are told of.
    Audit,
    /// An external authorizer is asked.
    Custom,
}

impl AuthorizationAction {
    /// As it is written in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Audit => "AUDIT",
            Self::Custom => "CUSTOM",
        }
    }
}

/// Criteria that must all hold. None: everything matches.
///
/// Source: Istio `Rule`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorizationRule {
    /// Where it stands.
    pub at: At,
    /// Alternatives of `from[].source`. Empty: any source.
    pub from: Vec<Source>,
    /// Alternatives of `to[].operation`. Empty: any operation.
    pub to: Vec<Operation>,
    /// Conditions that must all hold.
    pub when: Vec<Condition>,
}

/// Alternatives of which one must hold, and those of which none may: a field and its `not` form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Values<T> {
    /// One of them must match. Empty: anything does.
    pub values: Vec<T>,
    /// None of them may match.
    pub not_values: Vec<T>,
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            not_values: Vec::new(),
        }
    }
}

impl<T> Values<T> {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.not_values.is_empty()
    }

    /// The same with other values.
    pub fn map<U>(&self, convert: impl Fn(&T) -> U) -> Values<U> {
        Values {
            values: self.values.iter().map(&convert).collect(),
            not_values: self.not_values.iter().map(&convert).collect(),
        }
    }
}

/// Who asks. All fields must hold; at least one is there.
///
/// Source: Istio `Source`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Source {
    /// Where it stands.
    pub at: At,
    /// `trust-domain/ns/namespace/sa/account`, of the client's certificate.
    pub principals: Values<ValueMatch>,
    /// `issuer/subject`, of a token.
    pub request_principals: Values<ValueMatch>,
    /// The namespace of the client's certificate.
    pub namespaces: Values<NamePattern>,
    /// The service account of the client's certificate. Not with principals or namespaces.
    pub service_accounts: Values<ServiceAccountRef>,
    /// The trust domain of the client's certificate.
    pub trust_domains: Values<NamePattern>,
    /// Addresses that connections come from.
    pub ip_blocks: Values<IpNet>,
    /// Addresses of clients as trusted proxies tell them.
    pub remote_ip_blocks: Values<IpNet>,
}

/// What is asked for. All fields must hold; at least one is there.
///
/// Source: Istio `Operation`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Operation {
    /// Where it stands.
    pub at: At,
    /// The request's authority with the port that the client sent; case does not count.
    pub hosts: Values<ValueMatch>,
    /// The port connected to.
    pub ports: Values<u16>,
    /// The method; case counts.
    pub methods: Values<ValueMatch>,
    /// The path, normalised and without query.
    pub paths: Values<PathValue>,
}

/// How a path is compared.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum PathValue {
    /// As a text.
    Text(ValueMatch),
    /// By its segments.
    Template(PathTemplate),
}

impl fmt::Display for PathValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Template(template) => template.fmt(f),
        }
    }
}

/// A service account of a namespace: `namespace/name`, or `name` in the policy's own.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ServiceAccountRef {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ServiceAccountRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One of a rule's further conditions: `when[]`.
///
/// Source: Istio `Condition`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition {
    /// Where it stands.
    pub at: At,
    /// As written: `request.headers[x-user]`.
    pub key: String,
    /// What is compared with what. There is at least one value.
    pub attribute: Attribute,
}

/// What a [`Condition`] looks at, and the values it is compared with.
///
/// Source: Istio, authorization policy conditions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Attribute {
    /// `request.headers[name]`
    RequestHeader {
        /// The header's name, or `:method`, `:authority`, `:path` or `:scheme`.
        name: String,
        /// Values of the header.
        values: Values<ValueMatch>,
    },
    /// `source.ip`, as [`Source::ip_blocks`].
    SourceIp(Values<IpNet>),
    /// `remote.ip`, as [`Source::remote_ip_blocks`].
    RemoteIp(Values<IpNet>),
    /// `source.namespace`, as [`Source::namespaces`].
    SourceNamespace(Values<NamePattern>),
    /// `source.principal`, as [`Source::principals`].
    SourcePrincipal(Values<ValueMatch>),
    /// `source.serviceAccount`, as [`Source::service_accounts`].
    SourceServiceAccount(Values<ServiceAccountRef>),
    /// `source.trustDomain`, as [`Source::trust_domains`].
    SourceTrustDomain(Values<NamePattern>),
    /// `request.auth.principal`, as [`Source::request_principals`].
    RequestPrincipal(Values<ValueMatch>),
    /// `request.auth.audiences`
    RequestAudiences(Values<ValueMatch>),
    /// `request.auth.presenter`
    RequestPresenter(Values<ValueMatch>),
    /// `request.auth.claims[a][b]`
    RequestClaim {
        /// The names of the claim, the outermost first. At least one.
        path: Vec<String>,
        /// Values of the claim.
        values: Values<ValueMatch>,
    },
    /// `destination.ip`
    DestinationIp(Values<IpNet>),
    /// `destination.port`, as [`Operation::ports`].
    DestinationPort(Values<u16>),
    /// `connection.sni`
    Sni(Values<ValueMatch>),
    /// `experimental.envoy.filters.filter[key]`: metadata of one of Envoy's filters.
    EnvoyFilter {
        /// `envoy.filters.…`
        filter: String,
        /// The key in the filter's metadata.
        key: String,
        /// Values there.
        values: Values<ValueMatch>,
    },
}

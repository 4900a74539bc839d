//! Policies and requests by chance, of few values, so that many match.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// A policy as a user writes it.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) action: &'static str,
    pub(crate) rules: Vec<Rule>,
}

/// A rule as a user writes it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) from: Vec<Vec<Field>>,
    pub(crate) to: Vec<Vec<Field>>,
    pub(crate) when: Vec<Field>,
}

/// A field and its `not` form.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) kind: &'static Kind,
    pub(crate) values: Vec<&'static str>,
    pub(crate) not_values: Vec<&'static str>,
}

/// What a field is called, and what stands in it.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Of a source or operation. Empty: it is for further conditions alone.
    field: &'static str,
    /// As the key of a further condition. Empty: it is none.
    key: &'static str,
    values: &'static [&'static str],
    pub(crate) attribute: Attribute,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Attribute {
    Principal,
    Namespace,
    ServiceAccount,
    TrustDomain,
    SourceIp,
    RemoteIp,
    DestinationIp,
    Port,
    Sni,
    Host,
    Method,
    Path,
    Header,
    Token,
    Filter,
}

use Attribute::*;

const fn kind(
    field: &'static str,
    key: &'static str,
    attribute: Attribute,
    values: &'static [&'static str],
) -> Kind {
    Kind {
        field,
        key,
        values,
        attribute,
    }
}

const IPS: &[&str] = &[
    "10.0.0.1",
    "10.0.0.0/8",
    "::1",
    "2001:db8::/32",
    "0.0.0.0/0",
];
const PORTS: &[&str] = &["80", "8080", "443"];

const SOURCES: &[Kind] = &[
    kind(
        "principals",
        "source.principal",
        Principal,
        &[
            "*",
            "cluster.local/ns/shop/sa/web",
            "old/ns/shop/sa/web",
            "other/ns/shop/sa/bad",
            "cluster.local/ns/shop/*",
            "*/sa/web",
            "*/ns/shop/sa/bad",
            "*ld/ns/shop/sa/web",
            "*web",
        ],
    ),
    kind(
        "namespaces",
        "source.namespace",
        Namespace,
        &["shop", "sh*", "*2", "s*p*2", "*", "other"],
    ),
    kind(
        "trustDomains",
        "source.trustDomain",
        TrustDomain,
        &["old", "cluster.local", "o*", "*"],
    ),
    kind("ipBlocks", "source.ip", SourceIp, IPS),
    kind("remoteIpBlocks", "remote.ip", RemoteIp, IPS),
    kind(
        "requestPrincipals",
        "request.auth.principal",
        Token,
        &["*", "a/b"],
    ),
];

/// Not with principals or namespaces.
const ACCOUNTS: &[Kind] = &[kind(
    "serviceAccounts",
    "source.serviceAccount",
    ServiceAccount,
    &["shop/web", "web", "other/web", "shop/bad"],
)];

const OPERATIONS: &[Kind] = &[
    kind(
        "hosts",
        "",
        Host,
        &[
            "shop.test",
            "SHOP.test",
            "shop.test:*",
            "*.test",
            "shop*",
            "*",
        ],
    ),
    kind("ports", "destination.port", Port, PORTS),
    kind("methods", "", Method, &["GET", "P*", "*T", "*"]),
    kind(
        "paths",
        "",
        Path,
        &[
            "/a",
            "/a*",
            "*/b",
            "*",
            "/a/{*}",
            "/{*}/b",
            "/a/{**}/b",
            "/{**}.txt",
            "/a/{*}.txt",
            "/{**}",
        ],
    ),
];

const CONDITIONS: &[Kind] = &[
    kind(
        "",
        "request.headers[x-user]",
        Header,
        &["jason", "j*", "*n", "*"],
    ),
    kind("", "connection.sni", Sni, &["a.test", "*.test", "A.*", "*"]),
    kind("", "destination.ip", DestinationIp, IPS),
    kind("", "request.auth.claims[a][b]", Token, &["*"]),
    kind("", "experimental.envoy.filters.a.b[c]", Filter, &["*"]),
];

/// A request or connection.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) principal: Option<&'static str>,
    pub(crate) source: &'static str,
    pub(crate) remote: &'static str,
    pub(crate) destination: &'static str,
    pub(crate) port: u16,
    pub(crate) sni: Option<&'static str>,
    /// Absent: a connection that is not HTTP.
    pub(crate) request: Option<Request>,
}

/// The head of a request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) authority: &'static str,
    pub(crate) path: &'static str,
    pub(crate) users: Vec<&'static str>,
}

const PRINCIPALS: &[&str] = &[
    "spiffe://cluster.local/ns/shop/sa/web",
    "spiffe://cluster.local/ns/other/sa/web",
    "spiffe://old/ns/shop/sa/web",
    "spiffe://new/ns/shop/sa/bad",
    "spiffe://other/ns/shop/sa/bad",
    "spiffe://cluster.local/ns/shop-2/sa/web/x",
    "spiffe://cluster.local/ns/shop",
    "spiffe://cluster.local",
    "urn:web",
    "",
];

const ADDRESSES: &[&str] = &[
    "10.0.0.1",
    "10.9.9.9",
    "192.0.2.1",
    "::1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
];

fn values(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(of.to_vec(), 0..=of.len().min(3))
}

/// Fields of some of the kinds, each with a value at least.
fn fields(kinds: &'static [Kind]) -> impl Strategy<Value = Vec<Field>> {
    let kinds: Vec<&'static Kind> = kinds.iter().collect();
    let some = subsequence(kinds.clone(), 1..=kinds.len().min(3));
    some.prop_flat_map(|kinds| kinds.into_iter().map(field).collect::<Vec<_>>())
}

fn field(kind: &'static Kind) -> impl Strategy<Value = Field> {
    let first = select(kind.values);
    (values(kind.values), values(kind.values), first).prop_map(
        move |(mut values, not_values, first)| {
            if values.is_empty() && not_values.is_empty() {
                values.push(first);
            }
            Field {
                kind,
                values,
                not_values,
            }
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let source = prop_oneof![4 => fields(SOURCES).boxed(), 1 => fields(ACCOUNTS).boxed()];
    let keys: Vec<&'static Kind> = [SOURCES, ACCOUNTS, OPERATIONS, CONDITIONS]
        .into_iter()
        .flatten()
        .filter(|kind| !kind.key.is_empty())
        .collect();
    let when = select(keys).prop_flat_map(field);
    (
        vec(source, 0..3),
        vec(fields(OPERATIONS), 0..3),
        vec(when, 0..3),
    )
        .prop_map(|(from, to, when)| Rule { from, to, when })
}

fn policy() -> impl Strategy<Value = Policy> {
    let actions = select(vec!["ALLOW", "ALLOW", "DENY", "AUDIT", "CUSTOM"]);
    (actions, vec(rule(), 0..4)).prop_map(|(action, mut rules)| {
        if rules.is_empty() && matches!(action, "DENY" | "CUSTOM") {
            rules.push(Rule {
                from: Vec::new(),
                to: Vec::new(),
                when: Vec::new(),
            });
        }
        Policy { action, rules }
    })
}

pub(crate) fn policies() -> impl Strategy<Value = Vec<Policy>> {
    vec(policy(), 0..4)
}

fn request() -> impl Strategy<Value = Request> {
    (
        select(vec!["GET", "POST", "PUT", "get"]),
        select(vec![
            "shop.test",
            "shop.test:80",
            "Shop.Test",
            "a.test",
            "test",
            "[::1]:80",
        ]),
        select(vec![
            "/", "/a", "/a/b", "/a//b", "/a/x/b", "/a/x/y/b", "/x.txt", "/a/.txt", "/a/c.txt",
            "/b", "*",
        ]),
        vec(select(vec!["jason", "jim", "bob", ""]), 0..3),
    )
        .prop_map(|(method, authority, path, users)| Request {
            method,
            authority,
            path,
            users,
        })
}

pub(crate) fn call() -> impl Strategy<Value = Call> {
    (
        option::of(select(PRINCIPALS)),
        select(ADDRESSES),
        select(ADDRESSES),
        select(ADDRESSES),
        select(vec![80, 8080, 1]),
        option::of(select(vec!["a.test", "A.Test", "b", ""])),
        option::weighted(0.7, request()),
    )
        .prop_map(
            |(principal, source, remote, destination, port, sni, request)| Call {
                principal,
                source,
                remote,
                destination,
                port,
                sni,
                request,
            },
        )
}

/// The policies as YAML, named by their place.
pub(crate) fn yaml(policies: &[Policy]) -> String {
    let documents = policies.iter().enumerate().map(|(index, policy)| {
        let provider = if policy.action == "CUSTOM" {
            ", provider: {name: a}"
        } else {
            ""
        };
        let rules: Vec<_> = policy.rules.iter().map(rule_in_yaml).collect();
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
             metadata: {{name: p{index}, namespace: shop}}\n\
             spec: {{action: {}{provider}, rules: [{}]}}\n",
            policy.action,
            rules.join(", ")
        )
    });
    documents.collect()
}

fn rule_in_yaml(rule: &Rule) -> String {
    let all = |name: &str, inner: &str, alternatives: &[Vec<Field>]| {
        let items: Vec<_> = alternatives
            .iter()
            .map(|fields| {
                let fields: Vec<_> = fields.iter().flat_map(field_in_yaml).collect();
                format!("{{{inner}: {{{}}}}}", fields.join(", "))
            })
            .collect();
        (!items.is_empty()).then(|| format!("{name}: [{}]", items.join(", ")))
    };
    let when: Vec<_> = rule.when.iter().map(condition_in_yaml).collect();
    let when = (!when.is_empty()).then(|| format!("when: [{}]", when.join(", ")));
    let parts = [
        all("from", "source", &rule.from),
        all("to", "operation", &rule.to),
        when,
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!("{{{}}}", parts.join(", "))
}

fn field_in_yaml(field: &Field) -> Vec<String> {
    let name = field.kind.field;
    let not_name = format!("not{}{}", name[..1].to_uppercase(), &name[1..]);
    let both = [
        (name.to_owned(), &field.values),
        (not_name, &field.not_values),
    ];
    let there = both.into_iter().filter(|(_, values)| !values.is_empty());
    there
        .map(|(name, values)| format!("{name}: {}", list(values)))
        .collect()
}

fn condition_in_yaml(field: &Field) -> String {
    let mut text = format!("{{key: '{}'", field.kind.key);
    for (name, values) in [("values", &field.values), ("notValues", &field.not_values)] {
        if !values.is_empty() {
            text += &format!(", {name}: {}", list(values));
        }
    }
    text + "}"
}

fn list(values: &[&str]) -> String {
    format!("['{}']", values.join("', '"))
}

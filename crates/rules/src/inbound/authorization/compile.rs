//! One policy, from its object.

use super::aliases::TrustDomains;
use super::condition::{Condition, Test};
use super::policy::{Policy, Rule, Strictness};
use crate::HeaderKey;
use crate::compile::{Help, error, warning};
use ipnet::IpNet;
use model::{
    At, Attribute, AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Diagnostic,
    Operation, Source, ValueMatch, Values,
};
use std::sync::Arc;

/// A policy that selects the workload, and what is to be said about it.
pub(super) fn policy(
    of: &AuthorizationPolicy,
    domains: &TrustDomains,
    diagnostics: &mut Vec<Diagnostic>,
) -> Policy {
    let action = of.action.value;
    if action == AuthorizationAction::Custom {
        diagnostics.push(custom(of));
    }
    let rules = of.rules.iter().enumerate().map(|(index, one)| {
        let path = format!("spec.rules[{index}]");
        warn_of_trust_domains(of, one, &path, domains, diagnostics);
        let mut rule = Rule {
            origin: Arc::new(of.meta.origin(path, one.at)),
            from: one.from.iter().map(|one| source(one, domains)).collect(),
            to: one.to.iter().map(operation).collect(),
            when: one
                .when
                .iter()
                .map(|one| further(&one.key, &one.attribute, domains))
                .collect(),
            strictness: Strictness::Lenient,
        };
        rule.strictness = strictness(&rule, action);
        rule
    });
    Policy {
        rules: rules.collect(),
        origin: Arc::new(of.meta.origin(String::new(), At::default())),
        action,
        provider: of.provider.as_deref().unwrap_or_default().into(),
        dry_run: of.dry_run,
    }
}

fn strictness(rule: &Rule, action: AuthorizationAction) -> Strictness {
    if action != AuthorizationAction::Allow {
        Strictness::Lenient
    } else if rule.conditions().any(Condition::is_unknowable) {
        Strictness::Never
    } else if rule.conditions().any(Condition::is_for_requests) {
        Strictness::ForRequests
    } else {
        Strictness::Everywhere
    }
}

/// It guards something, so that it is no choice to leave it out.
fn custom(of: &AuthorizationPolicy) -> Diagnostic {
    let message = "external authorizers are not supported: what matches a rule is denied";
    error(&of.meta, "unsupported_action", "spec.action", of.action.at, message)
        .help("write what may be done as a policy with action ALLOW, and what may not as one with action DENY")
}

fn warn_of_trust_domains(
    of: &AuthorizationPolicy,
    rule: &AuthorizationRule,
    path: &str,
    domains: &TrustDomains,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let sources = rule.from.iter().enumerate().map(|(index, source)| {
        let path = format!("{path}.from[{index}].source.principals");
        (path, source.at, &source.principals)
    });
    let conditions = rule.when.iter().enumerate().filter_map(|(index, one)| {
        let Attribute::SourcePrincipal(principals) = &one.attribute else {
            return None;
        };
        Some((format!("{path}.when[{index}]"), one.at, principals))
    });
    for (path, at, principals) in sources.chain(conditions) {
        let all = principals.values.iter().chain(&principals.not_values);
        for principal in all.map(ValueMatch::to_string) {
            let Some(domain) = domains.foreign(&principal) else {
                continue;
            };
            let message = format!(
                "trust domain {domain:?} of {principal:?} is neither the mesh's nor an alias of it"
            );
            diagnostics.push(warning(
                &of.meta,
                "foreign_trust_domain",
                path.clone(),
                at,
                message,
            ));
        }
    }
}

fn source(of: &Source, domains: &TrustDomains) -> Vec<Condition> {
    let Source {
        at: _,
        principals,
        request_principals,
        namespaces,
        service_accounts,
        trust_domains,
        ip_blocks,
        remote_ip_blocks,
    } = of;
    let principals = domains.principals(principals);
    let trust_domains = domains.domains(trust_domains);
    let all = [
        field(
            ("principals", "notPrincipals"),
            &principals,
            Test::Principal,
        ),
        field(
            ("requestPrincipals", "notRequestPrincipals"),
            request_principals,
            Test::Token,
        ),
        field(("namespaces", "notNamespaces"), namespaces, Test::Namespace),
        field(
            ("serviceAccounts", "notServiceAccounts"),
            service_accounts,
            Test::ServiceAccount,
        ),
        field(
            ("trustDomains", "notTrustDomains"),
            &trust_domains,
            Test::TrustDomain,
        ),
        field(
            ("remoteIpBlocks", "notRemoteIpBlocks"),
            &canonical(remote_ip_blocks),
            Test::RemoteIp,
        ),
        field(
            ("ipBlocks", "notIpBlocks"),
            &canonical(ip_blocks),
            Test::SourceIp,
        ),
    ];
    all.into_iter().flatten().collect()
}

fn operation(of: &Operation) -> Vec<Condition> {
    let Operation {
        at: _,
        hosts,
        ports,
        methods,
        paths,
    } = of;
    let all = [
        field(("hosts", "notHosts"), hosts, Test::Host),
        field(("methods", "notMethods"), methods, Test::Method),
        field(("paths", "notPaths"), paths, Test::Path),
        field(("ports", "notPorts"), ports, Test::Port),
    ];
    all.into_iter().flatten().collect()
}

fn field<T: Clone>(
    (name, not_name): (&str, &'static str),
    values: &Values<T>,
    test: fn(Values<T>) -> Test,
) -> Option<Condition> {
    (!values.is_empty()).then(|| Condition {
        name: name.into(),
        not_name: Some(not_name),
        test: test(values.clone()),
    })
}

fn further(key: &str, attribute: &Attribute, domains: &TrustDomains) -> Condition {
    let test = match attribute.clone() {
        Attribute::RequestHeader { name, values } => match HeaderKey::parse(&name) {
            Ok(key) => Test::Header(key, values),
            Err(_) => Test::Unknowable,
        },
        Attribute::SourceIp(networks) => Test::SourceIp(canonical(&networks)),
        Attribute::RemoteIp(networks) => Test::RemoteIp(canonical(&networks)),
        Attribute::SourceNamespace(names) => Test::Namespace(names),
        Attribute::SourcePrincipal(principals) => Test::Principal(domains.principals(&principals)),
        Attribute::SourceServiceAccount(accounts) => Test::ServiceAccount(accounts),
        Attribute::SourceTrustDomain(names) => Test::TrustDomain(domains.domains(&names)),
        Attribute::RequestPrincipal(values)
        | Attribute::RequestAudiences(values)
        | Attribute::RequestPresenter(values)
        | Attribute::RequestClaim { values, .. } => Test::Token(values),
        Attribute::DestinationIp(networks) => Test::DestinationIp(canonical(&networks)),
        Attribute::DestinationPort(ports) => Test::Port(ports),
        Attribute::Sni(values) => Test::Sni(values),
        Attribute::EnvoyFilter { .. } => Test::Unknowable,
    };
    Condition {
        name: key.into(),
        not_name: None,
        test,
    }
}

/// Networks of IPv4 in the form of IPv6 as what they are, since addresses are compared so.
fn canonical(networks: &Values<IpNet>) -> Values<IpNet> {
    networks.map(|network| {
        let IpNet::V6(v6) = network else {
            return *network;
        };
        let inner = v6.addr().to_ipv4_mapped();
        let length = v6.prefix_len().checked_sub(96);
        let v4 = inner
            .zip(length)
            .and_then(|(address, length)| IpNet::new(address.into(), length).ok());
        v4.unwrap_or(*network)
    })
}

//! AuthorizationPolicy.

use super::condition::when;
use super::operation::to;
use super::selection::{selector, target_refs};
use super::source::from;
use crate::decode::{Cursor, Fields};
use crate::{
    At, Attribute, AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Diagnostic,
    Located, Meta, Operation, Severity, Source,
};

const ACTIONS: &[(&str, AuthorizationAction)] = &[
    ("ALLOW", AuthorizationAction::Allow),
    ("DENY", AuthorizationAction::Deny),
    ("AUDIT", AuthorizationAction::Audit),
    ("CUSTOM", AuthorizationAction::Custom),
];

/// The annotation of a policy whose effect is only told.
const DRY_RUN: &str = "istio.io/dry-run";

pub(in crate::decode) fn authorization_policy(
    spec: &Cursor<'_>,
    meta: Meta,
) -> Option<AuthorizationPolicy> {
    let dry_run = dry_run(spec, &meta);
    spec.object(|fields| {
        let action = action(fields)?;
        let provider = provider(fields, action.value);
        let rules = fields.each("rules", |cursor| rule(cursor, action.value));
        check_rules(fields, action.value);
        Some(AuthorizationPolicy {
            meta,
            selector: selector(fields),
            target_refs: target_refs(fields),
            action,
            provider,
            rules,
            dry_run,
        })
    })
}

fn action(fields: &Fields<'_>) -> Option<Located<AuthorizationAction>> {
    let Some(cursor) = fields.field("action") else {
        return Some(Located {
            value: AuthorizationAction::Allow,
            at: At::default(),
        });
    };
    // What else is wrong depends on it, but its fields are known.
    let value = cursor.one_of(ACTIONS).unwrap_or_default();
    Some(Located {
        value,
        at: cursor.at(),
    })
}

fn provider(fields: &Fields<'_>, action: AuthorizationAction) -> Option<String> {
    let is_custom = action == AuthorizationAction::Custom;
    let Some(cursor) = fields.field("provider") else {
        if is_custom {
            fields.missing("provider", "action CUSTOM needs a provider".to_owned());
        }
        return None;
    };
    if !is_custom {
        cursor.error("exclusive_fields", "provider needs action CUSTOM");
    }
    cursor.object(|fields| fields.required("name")?.text())
}

fn check_rules(fields: &Fields<'_>, action: AuthorizationAction) {
    use AuthorizationAction::{Custom, Deny};
    if matches!(action, Deny | Custom) && !fields.has("rules") {
        let action = action.as_str();
        let message = format!(
            "action {action} without rules never applies; write an empty rule, {{}}, for every request"
        );
        fields.missing("rules", message);
    }
}

fn rule(cursor: &Cursor<'_>, action: AuthorizationAction) -> Option<AuthorizationRule> {
    cursor.object(|fields| {
        for name in ["from", "to"] {
            let is_empty = |list: &Cursor<'_>| list.items().is_empty();
            if let Some(list) = fields.field(name).filter(|_| !fields.has(name))
                && is_empty(&list)
            {
                list.error("missing_field", format!("{name} must not be empty"))
                    .help(format!("leave it out for any {name}"));
            }
        }
        let rule = AuthorizationRule {
            at: fields.at(),
            from: fields.each("from", |item| from(item, action)),
            to: fields.each("to", |item| to(item, action)),
            when: fields.each("when", |item| when(item, action)),
        };
        if action == AuthorizationAction::Deny {
            warn_of_tcp(cursor, &rule);
        }
        Some(rule)
    })
}

/// Warns of a rule that denies connections which are not HTTP for less than what it says, since what only
/// requests have is not asked of them.
fn warn_of_tcp(cursor: &Cursor<'_>, rule: &AuthorizationRule) {
    let for_requests = rule.from.iter().any(is_source_for_requests)
        || rule.to.iter().any(is_operation_for_requests)
        || rule.when.iter().any(|one| is_for_requests(&one.attribute));
    let has_port = |operation: &Operation| !operation.ports.is_empty();
    let named_ports = !rule.to.is_empty() && rule.to.iter().all(has_port);
    let port_condition = rule
        .when
        .iter()
        .any(|one| matches!(one.attribute, Attribute::DestinationPort(_)));
    if for_requests && !named_ports && !port_condition {
        cursor
            .warning(
                "denies_tcp",
                "on ports that are not HTTP, what only requests have is not asked for: the rule denies connections there",
            )
            .help("name the ports that are meant in every operation");
    }
}

fn is_source_for_requests(source: &Source) -> bool {
    !source.request_principals.is_empty()
}

fn is_operation_for_requests(operation: &Operation) -> bool {
    let Operation {
        hosts,
        methods,
        paths,
        ..
    } = operation;
    !hosts.is_empty() || !methods.is_empty() || !paths.is_empty()
}

fn is_for_requests(attribute: &Attribute) -> bool {
    matches!(
        attribute,
        Attribute::RequestHeader { .. }
            | Attribute::RequestPrincipal(_)
            | Attribute::RequestAudiences(_)
            | Attribute::RequestPresenter(_)
            | Attribute::RequestClaim { .. }
    )
}

/// The annotation's value, as Go's `ParseBool` reads it.
fn dry_run(spec: &Cursor<'_>, meta: &Meta) -> bool {
    match meta.annotations.get(DRY_RUN).map(String::as_str) {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some(other) => {
            spec.cx.report(Diagnostic {
                severity: Severity::Warning,
                code: "invalid_value",
                resource: Some(meta.reference.clone()),
                path: format!("metadata.annotations[{DRY_RUN:?}]"),
                message: format!("{other:?} is neither true nor false: the policy is in force"),
                help: None,
                position: meta.position.clone(),
            });
            false
        }
    }
}

//! Values of rules, and what their authors may not have meant by them.

use crate::decode::{Cursor, Fields};
use crate::{
    AuthorizationAction, NamePattern, PathTemplate, PathValue, ServiceAccountRef, ValueMatch,
    Values,
};

/// How many service accounts a list has at most, and how long one is, as in Istio.
const MAX_ACCOUNTS: usize = 16;
const MAX_ACCOUNT: usize = 320;

/// The names of a field and of its `not` form.
pub(super) type Pair = (&'static str, &'static str);

/// A field and its `not` form.
pub(super) fn pair<T>(
    fields: &Fields<'_>,
    (name, not_name): Pair,
    decode: impl Fn(&Cursor<'_>) -> Option<T>,
) -> Values<T> {
    for name in [name, not_name] {
        if let Some(list) = fields.field(name).filter(|_| !fields.has(name)) {
            list.warning("empty_list", "an empty list asks for nothing");
        }
    }
    Values {
        values: fields.each(name, &decode),
        not_values: fields.each(not_name, &decode),
    }
}

/// Whether any of the fields, or of their `not` forms, is there.
pub(super) fn has_any(fields: &Fields<'_>, pairs: &[Pair]) -> bool {
    let mut names = pairs.iter().flat_map(|(name, not_name)| [name, not_name]);
    names.any(|name| fields.has(name))
}

pub(super) fn value(cursor: &Cursor<'_>) -> Option<ValueMatch> {
    let value = plain(cursor)?;
    warn_of_star(cursor, value.text());
    Some(value)
}

fn plain(cursor: &Cursor<'_>) -> Option<ValueMatch> {
    let text = cursor.str()?;
    ValueMatch::try_from(text)
        .map_err(|error| drop(cursor.error("invalid_value", error.to_string())))
        .ok()
}

/// As [`value`], of a name in which a star may stand anywhere.
pub(super) fn name(cursor: &Cursor<'_>) -> Option<NamePattern> {
    let text = cursor.str()?;
    NamePattern::try_from(text)
        .map_err(|error| drop(cursor.error("invalid_value", error.to_string())))
        .ok()
}

/// As [`value`], of a principal, whose trust domain can end in a star.
pub(super) fn principal(cursor: &Cursor<'_>) -> Option<ValueMatch> {
    let value = plain(cursor)?;
    let text = value.text();
    if text.starts_with("spiffe://") {
        cursor
            .warning("never_matches", "a principal is compared without spiffe://")
            .help("write trust-domain/ns/namespace/sa/account");
    }
    match text.split_once("*/") {
        Some((domain, rest)) if !domain.contains('/') => warn_of_star(cursor, rest),
        _ => warn_of_star(cursor, text),
    }
    Some(value)
}

/// As [`value`], of a method.
pub(super) fn method(cursor: &Cursor<'_>) -> Option<ValueMatch> {
    let value = value(cursor)?;
    if value.text().contains(|c: char| c.is_ascii_lowercase()) {
        cursor
            .warning("never_matches", "methods are compared with their case")
            .help("write GET, POST…");
    }
    Some(value)
}

/// As [`value`], or a template.
pub(super) fn path(cursor: &Cursor<'_>) -> Option<PathValue> {
    let text = cursor.str()?;
    if PathTemplate::is_template(text) {
        return PathTemplate::try_from(text)
            .map(PathValue::Template)
            .map_err(|error| {
                cursor
                    .error("invalid_path_template", error.to_string())
                    .help("write {*} for a segment, {**} for any number of them, and text between slashes");
            })
            .ok();
    }
    let value = value(cursor)?;
    warn_of_path(cursor, &value);
    Some(PathValue::Text(value))
}

fn warn_of_path(cursor: &Cursor<'_>, value: &ValueMatch) {
    let text = value.text();
    let is_start = matches!(value, ValueMatch::Exact(_) | ValueMatch::Prefix(_));
    if is_start && !text.starts_with('/') {
        let told = cursor.warning("never_matches", "paths begin with \"/\"");
        return told.help(format!(
            "write \"/{text}\", or \"*{text}\" for what a path ends in"
        ));
    }
    if text.contains('?') {
        let told = cursor.warning("never_matches", "paths are compared without their query");
        return told.help("leave out what follows the \"?\"");
    }
    if text.contains(['{', '}']) {
        let told = cursor.warning("literal_template", "braces are compared as they are");
        told.help("write {*} for a segment and {**} for any number of them");
    }
}

fn warn_of_star(cursor: &Cursor<'_>, text: &str) {
    if text.contains('*') {
        let told = cursor.warning("literal_star", "a \"*\" inside is compared as it is");
        told.help("only at the start or at the end it stands for any characters");
    }
}

/// A port as text, as Istio has it.
pub(super) fn port(cursor: &Cursor<'_>) -> Option<u16> {
    let text = cursor.str()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|_| digits);
    if port.is_none() {
        cursor
            .error("invalid_value", format!("{text:?} is no port"))
            .help("write a number from 0 to 65535, in quotes");
    }
    port
}

/// `namespace/name`, or `name` in the policy's own namespace.
pub(super) fn service_account(cursor: &Cursor<'_>) -> Option<ServiceAccountRef> {
    let text = cursor.str()?;
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (namespace.into(), name),
        None => (cursor.cx.namespace(), text),
    };
    let is_name = |text: &str| !text.is_empty() && !text.contains(['/', '*']);
    if !is_name(&namespace) || !is_name(name) || text.len() > MAX_ACCOUNT {
        cursor
            .error("invalid_value", format!("{text:?} is no service account"))
            .help("write namespace/name or name, without wildcards");
        return None;
    }
    Some(ServiceAccountRef {
        namespace,
        name: name.to_owned(),
    })
}

/// Reports lists of service accounts that are longer than they may be.
pub(super) fn check_accounts(fields: &Fields<'_>, (name, not_name): Pair) {
    for name in [name, not_name] {
        let Some(cursor) = fields.field(name) else {
            continue;
        };
        let count = cursor.items().len();
        if count > MAX_ACCOUNTS {
            let message = format!("{count} service accounts, at most {MAX_ACCOUNTS}");
            cursor
                .error("too_large", message)
                .help("write several sources");
        }
    }
}

/// Warns that no request has what only a validated token says.
pub(super) fn warn_of_token(
    fields: &Fields<'_>,
    (name, not_name): Pair,
    action: AuthorizationAction,
) {
    use AuthorizationAction::*;
    if let Some(cursor) = fields.field(name).filter(|_| fields.has(name)) {
        let effect = match action {
            Allow => "nothing is allowed by it",
            Deny | Custom => "nothing is denied by it",
            Audit => "nothing is audited by it",
        };
        let message = format!("no token is validated here, so that this never holds: {effect}");
        cursor.warning("not_honoured", message);
    }
    if let Some(cursor) = fields.field(not_name).filter(|_| fields.has(not_name)) {
        let message = "no token is validated here, so that this holds for every request";
        cursor.warning("not_honoured", message);
    }
}

//! `subjectAltNames`: of these names a certificate must have one.

use crate::decode::{Cursor, Fields};

const FIELD: &str = "subjectAltNames";

/// The names of servers. At the end of a URI a `*` stands for anything.
pub(in crate::decode) fn names_of_servers(fields: &Fields<'_>) -> Vec<String> {
    let name = |cursor: &Cursor<'_>| {
        let name = cursor.string()?;
        let pattern = name.strip_suffix('*').filter(|uri| uri.contains("://"));
        if has_stray_star(pattern.unwrap_or(&name)) {
            warn(cursor, &name, "list the names; a URI may end with a *");
        }
        Some(name)
    };
    fields.each(FIELD, name)
}

/// The names of clients, which are compared as they are.
pub(in crate::decode) fn names_of_clients(fields: &Fields<'_>) -> Vec<String> {
    let name = |cursor: &Cursor<'_>| {
        let name = cursor.string()?;
        if has_stray_star(&name) {
            warn(cursor, &name, "list the names, or none for every name");
        }
        Some(name)
    };
    fields.each(FIELD, name)
}

fn warn(cursor: &Cursor<'_>, name: &str, help: &str) {
    let message =
        format!("the * in {name:?} is a character: only a certificate with that very name will do");
    cursor.warning("literal_wildcard", message).help(help);
}

/// A certificate may be for `*.shop.test`, but for no other name with a `*`.
fn has_stray_star(name: &str) -> bool {
    name.strip_prefix("*.").unwrap_or(name).contains('*')
}

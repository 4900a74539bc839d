//! What is asked for: `to[].operation`.

use super::values::{Pair, has_any, method, pair, path, port, value};
use crate::decode::{Cursor, Fields};
use crate::{AuthorizationAction, Operation, ValueMatch, Values};

const HOSTS: Pair = ("hosts", "notHosts");
const PORTS: Pair = ("ports", "notPorts");
const METHODS: Pair = ("methods", "notMethods");
const PATHS: Pair = ("paths", "notPaths");

const ALL: &[Pair] = &[HOSTS, PORTS, METHODS, PATHS];

/// An item of `to`.
pub(super) fn to(cursor: &Cursor<'_>, action: AuthorizationAction) -> Option<Operation> {
    cursor.object(|fields| {
        let cursor = fields.required("operation")?;
        cursor.object(|fields| Some(operation(fields, action)))
    })
}

fn operation(fields: &Fields<'_>, action: AuthorizationAction) -> Operation {
    if !has_any(fields, ALL) {
        fields
            .cursor
            .error("missing_field", "an operation must have at least one field")
            .help("leave out \"to\" for any operation");
    }
    let operation = Operation {
        at: fields.at(),
        hosts: pair(fields, HOSTS, value),
        ports: pair(fields, PORTS, port),
        methods: pair(fields, METHODS, method),
        paths: pair(fields, PATHS, path),
    };
    warn_of_ports_in_hosts(fields, &operation.hosts, action);
    operation
}

/// Warns of hosts that keep somebody out unless he writes a port behind them, which goes to the same workload.
fn warn_of_ports_in_hosts(
    fields: &Fields<'_>,
    hosts: &Values<ValueMatch>,
    action: AuthorizationAction,
) {
    let (name, keeping_out) = match action {
        AuthorizationAction::Deny | AuthorizationAction::Custom => (HOSTS.0, &hosts.values),
        AuthorizationAction::Allow => (HOSTS.1, &hosts.not_values),
        AuthorizationAction::Audit => return,
    };
    let is_covered = |host: &str| {
        let with_port = ValueMatch::Prefix(format!("{host}:"));
        keeping_out.contains(&with_port) || host.contains(':')
    };
    let open = keeping_out.iter().find_map(|host| match host {
        ValueMatch::Exact(host) if !is_covered(host) => Some(host),
        _ => None,
    });
    if let Some(host) = open
        && let Some(cursor) = fields.field(name)
    {
        let message = format!("a client that asks for {host:?} with a port gets around this");
        let told = cursor.warning("host_without_port", message);
        told.help(format!(
            "hosts are compared with the port that clients send: add \"{host}:*\""
        ));
    }
}

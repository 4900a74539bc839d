//! PeerAuthentication.

use super::selection::selector;
use crate::decode::{Cursor, Fields};
use crate::{Meta, PeerAuthentication, PeerTls, PeerTlsMode};
use std::collections::BTreeMap;

const MODES: &[(&str, PeerTlsMode)] = &[
    ("UNSET", PeerTlsMode::Unset),
    ("DISABLE", PeerTlsMode::Disable),
    ("PERMISSIVE", PeerTlsMode::Permissive),
    ("STRICT", PeerTlsMode::Strict),
];

pub(in crate::decode) fn peer_authentication(
    spec: &Cursor<'_>,
    meta: Meta,
) -> Option<PeerAuthentication> {
    spec.object(|fields| {
        let selector = selector(fields);
        let port_level_mtls = port_level_mtls(fields);
        if selector.is_empty()
            && let Some(cursor) = fields.field("portLevelMtls")
        {
            cursor
                .error("exclusive_fields", "portLevelMtls needs a selector")
                .help("ports are those of a workload: select it by its labels");
        }
        Some(PeerAuthentication {
            meta,
            selector,
            mtls: fields.maybe("mtls", mtls),
            port_level_mtls,
        })
    })
}

fn mtls(cursor: &Cursor<'_>) -> Option<PeerTls> {
    cursor.object(|fields| {
        let mode = fields.field("mode");
        Some(PeerTls {
            at: fields.at(),
            mode: match mode {
                Some(mode) => mode.one_of(MODES)?,
                None => PeerTlsMode::Unset,
            },
        })
    })
}

fn port_level_mtls(fields: &Fields<'_>) -> BTreeMap<u16, PeerTls> {
    let Some(cursor) = fields.field("portLevelMtls") else {
        return BTreeMap::new();
    };
    let entries = cursor.entries();
    if entries.is_empty() {
        cursor.error("missing_field", "portLevelMtls must have at least one port");
    }
    let mut ports = BTreeMap::new();
    for (port, entry) in entries {
        let tls = mtls(&entry);
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.parse().ok().filter(|number| digits && *number > 0);
        let Some(number) = number else {
            let message = format!("{port:?} is no port");
            entry
                .error("invalid_value", message)
                .help("write a number from 1 to 65535");
            continue;
        };
        if ports.contains_key(&number) {
            entry.error("duplicate_name", format!("port {number} is there twice"));
        }
        ports.extend(tls.map(|tls| (number, tls)));
    }
    ports
}

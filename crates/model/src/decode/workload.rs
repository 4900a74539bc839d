//! WorkloadEntry, and the endpoints of a ServiceEntry.

use super::gateway::unix_path;
use super::{Cursor, Fields};
use crate::{Hostname, Meta, Workload, WorkloadAddress, WorkloadEntry};
use std::collections::BTreeMap;

pub(super) fn workload_entry(spec: &Cursor<'_>, mut meta: Meta) -> Option<WorkloadEntry> {
    let mut workload = workload(spec)?;
    // Selectors look at both; the spec's win, as in Istio.
    for (name, value) in &meta.labels {
        workload
            .labels
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    meta.labels.extend(workload.labels.clone());
    Some(WorkloadEntry { meta, workload })
}

pub(super) fn workload(cursor: &Cursor<'_>) -> Option<Workload> {
    cursor.object(|fields| {
        let address = fields.maybe("address", address);
        let network = fields.string("network");
        if network.is_none() && !fields.has("address") {
            fields.missing(
                "address",
                "address is required unless network is set".to_owned(),
            );
        }
        let ports = ports(fields);
        if matches!(address, Some(WorkloadAddress::Unix(_)))
            && let Some(cursor) = fields.field("ports").filter(|_| !ports.is_empty())
        {
            cursor.error("exclusive_fields", "a Unix domain socket has no ports");
        }
        Some(Workload {
            at: fields.at(),
            address,
            ports,
            labels: fields.labels("labels"),
            network,
            locality: fields.string("locality"),
            weight: fields.maybe("weight", Cursor::limit),
            service_account: fields.string("serviceAccount"),
        })
    })
}

fn ports(fields: &Fields<'_>) -> BTreeMap<String, u16> {
    let entries = fields
        .field("ports")
        .map(|cursor| cursor.entries())
        .unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|(name, port)| Some((name.to_owned(), port.port()?)))
        .collect()
}

fn address(cursor: &Cursor<'_>) -> Option<WorkloadAddress> {
    let text = cursor.text()?;
    if let Some(path) = text.strip_prefix("unix://") {
        return unix_path(cursor, path).map(WorkloadAddress::Unix);
    }
    if let Ok(ip) = text.parse() {
        return Some(WorkloadAddress::Ip(ip));
    }
    match Hostname::try_from(text.as_str()) {
        Ok(name) => Some(WorkloadAddress::Host(name)),
        Err(error) => {
            cursor
                .error("invalid_host", error.to_string())
                .help("write an IP address, a DNS name or unix:///path");
            None
        }
    }
}

//! DestinationRule.

use super::traffic_policy::traffic_policy;
use super::values::NobodyAllowed;
use super::{Cursor, Fields};
use crate::{DestinationRule, Labels, Meta, Subset};
use std::collections::HashSet;

pub(super) fn destination_rule(spec: &Cursor<'_>, meta: Meta) -> Option<DestinationRule> {
    spec.object(|fields| {
        let host = fields.required("host").and_then(|host| host.located_host());
        let traffic_policy = fields.maybe("trafficPolicy", traffic_policy);
        let subsets = subsets(fields);
        let export_to = fields.export_to(NobodyAllowed::No);
        let workload_selector = fields.maybe("workloadSelector", match_labels);
        Some(DestinationRule {
            meta,
            host: host?,
            traffic_policy,
            subsets,
            export_to,
            workload_selector,
        })
    })
}

fn match_labels(cursor: &Cursor<'_>) -> Option<Labels> {
    cursor.object(|fields| Some(fields.labels("matchLabels")))
}

fn subsets(fields: &Fields<'_>) -> Vec<Subset> {
    let mut names = HashSet::new();
    let items = fields.items("subsets");
    let mut decoded = Vec::new();
    for cursor in &items {
        let Some(subset) = subset(cursor) else {
            continue;
        };
        if !names.insert(subset.name.clone()) {
            cursor.error(
                "duplicate_name",
                format!("subset {:?} is there twice", subset.name),
            );
        }
        decoded.push(subset);
    }
    decoded
}

fn subset(cursor: &Cursor<'_>) -> Option<Subset> {
    cursor.object(|fields| {
        let name = fields.required("name").and_then(|name| name.dns_label());
        let labels = fields.labels("labels");
        let traffic_policy = fields.maybe("trafficPolicy", traffic_policy);
        Some(Subset {
            at: fields.at(),
            name: name?,
            labels,
            traffic_policy,
        })
    })
}

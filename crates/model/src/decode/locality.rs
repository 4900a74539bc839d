//! Localities of a load balancer.

use super::{Cursor, Fields};
use crate::{LocalityDistribute, LocalityFailover, LocalityLbSetting, ZoneAwareLbSetting};
use std::collections::BTreeMap;

pub(super) fn locality(cursor: &Cursor<'_>) -> Option<LocalityLbSetting> {
    cursor.object(|fields| {
        fields.exclusive(&["distribute", "failover"]);
        fields.exclusive(&["distribute", "failoverPriority"]);
        Some(LocalityLbSetting {
            at: fields.at(),
            enabled: fields.bool("enabled"),
            distribute: distributes(fields),
            failover: fields.each("failover", failover),
            failover_priority: fields.each("failoverPriority", Cursor::text),
        })
    })
}

fn distributes(fields: &Fields<'_>) -> Vec<LocalityDistribute> {
    let mut places = Places::default();
    let items = fields.items("distribute");
    let decoded = items.iter().filter_map(|item| {
        item.object(|fields| {
            let from = fields.required("from");
            let from = from.and_then(|from| places.add(&from, from.text()?));
            let to = fields.required("to").map(|to| shares(&to));
            Some(LocalityDistribute {
                from: from?,
                to: to?,
            })
        })
    });
    decoded.collect()
}

fn shares(cursor: &Cursor<'_>) -> BTreeMap<String, u32> {
    let mut places = Places::default();
    let mut shares = BTreeMap::new();
    for (place, share) in cursor.entries() {
        let percent = share
            .integer(1..=100)
            .and_then(|share| share.try_into().ok());
        if let (Some(place), Some(percent)) = (places.add(&share, place.to_owned()), percent) {
            shares.insert(place, percent);
        }
    }
    if shares.values().sum::<u32>() != 100 {
        cursor.error("invalid_value", "shares of localities must add up to 100");
    }
    shares
}

/// Places named side by side, of which none may be in another, unless that is everything: `*`.
#[derive(Default)]
struct Places(Vec<Vec<String>>);

impl Places {
    fn add(&mut self, cursor: &Cursor<'_>, text: String) -> Option<String> {
        let Some(parts) = parts(&text) else {
            cursor
                .error("invalid_value", format!("{text:?} is no locality"))
                .help("region/zone/subzone, of which the last written may be *");
            return None;
        };
        if self.0.iter().any(|other| overlap(other, &parts)) {
            let message = format!("locality {text:?} overlaps with one before it");
            cursor.error("duplicate_name", message);
            return None;
        }
        self.0.push(parts);
        Some(text)
    }
}

/// The parts that are not free. Empty: `*`.
fn parts(text: &str) -> Option<Vec<String>> {
    let named = text.strip_suffix("/*").unwrap_or(text);
    if named == "*" {
        return (text == "*").then(Vec::new);
    }
    let parts: Vec<String> = named.split('/').map(str::to_owned).collect();
    let is_legal = parts.len() <= 3
        && parts
            .iter()
            .all(|part| !part.is_empty() && !part.contains('*'));
    is_legal.then_some(parts)
}

/// Everything else is what `*` means beside others.
fn overlap(one: &[String], other: &[String]) -> bool {
    if one.is_empty() != other.is_empty() {
        return false;
    }
    one.iter().zip(other).all(|(one, other)| one == other)
}

fn failover(cursor: &Cursor<'_>) -> Option<LocalityFailover> {
    cursor.object(|fields| {
        let region = |name| {
            let cursor = fields.required(name)?;
            let text = cursor.text()?;
            if text.contains(['/', '*']) {
                cursor.error(
                    "invalid_value",
                    "must be a region, without zone and wildcard",
                );
            }
            Some(text)
        };
        let (from, to) = (region("from"), region("to"));
        if from.is_some() && from == to {
            cursor.error("invalid_value", "failover must lead to another region");
        }
        Some(LocalityFailover {
            from: from?,
            to: to?,
        })
    })
}

pub(super) fn zone_aware(cursor: &Cursor<'_>) -> Option<ZoneAwareLbSetting> {
    cursor.object(|fields| {
        Some(ZoneAwareLbSetting {
            enabled: fields.bool("enabled"),
            failover: fields.each("failover", failover),
            failover_priority: fields.strings("failoverPriority"),
            min_cluster_size: fields.maybe("minClusterSize", Cursor::u32),
        })
    })
}

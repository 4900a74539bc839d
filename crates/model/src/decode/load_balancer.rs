//! Load balancing of a traffic policy.

use super::consistent_hash::consistent_hash;
use super::locality::{locality, zone_aware};
use super::{Cursor, Fields};
use crate::{LoadBalancerPolicy, LoadBalancerSettings, Percent, SimpleLb, Warmup};

const SIMPLE: &[(&str, SimpleLb)] = &[
    ("UNSPECIFIED", SimpleLb::LeastRequest),
    ("LEAST_REQUEST", SimpleLb::LeastRequest),
    ("ROUND_ROBIN", SimpleLb::RoundRobin),
    ("RANDOM", SimpleLb::Random),
    ("PASSTHROUGH", SimpleLb::Passthrough),
    ("LEAST_CONN", SimpleLb::LeastRequest),
];

/// What a new endpoint gets at first when nothing is said.
const INITIAL_SHARE: Percent = Percent::whole(10);

pub(super) fn load_balancer(cursor: &Cursor<'_>) -> Option<LoadBalancerSettings> {
    cursor.object(|fields| {
        fields.exclusive(&["simple", "consistentHash"]);
        fields.exclusive(&["localityLbSetting", "zoneAwareLbSetting"]);
        fields.exclusive(&["warmup", "warmupDurationSecs"]);
        let simple = fields
            .maybe("simple", simple)
            .map(LoadBalancerPolicy::Simple);
        let hash = fields
            .maybe("consistentHash", consistent_hash)
            .map(LoadBalancerPolicy::ConsistentHash);
        let policy = simple.or(hash).unwrap_or_default();
        let warmup = fields
            .maybe("warmup", warmup)
            .or_else(|| legacy_warmup(fields));
        if warmup.is_some() && !warms_up(&policy) {
            cursor.warning(
                "ineffective",
                "warmup has an effect on ROUND_ROBIN and LEAST_REQUEST only",
            );
        }
        Some(LoadBalancerSettings {
            at: fields.at(),
            policy,
            locality_lb_setting: fields.maybe("localityLbSetting", locality),
            zone_aware_lb_setting: fields.maybe("zoneAwareLbSetting", zone_aware),
            warmup,
        })
    })
}

fn simple(cursor: &Cursor<'_>) -> Option<SimpleLb> {
    if cursor.node.as_str() == Some("LEAST_CONN") {
        cursor.legacy("LEAST_REQUEST");
    }
    cursor.one_of(SIMPLE)
}

fn warms_up(policy: &LoadBalancerPolicy) -> bool {
    matches!(
        policy,
        LoadBalancerPolicy::Simple(SimpleLb::LeastRequest | SimpleLb::RoundRobin)
    )
}

fn warmup(cursor: &Cursor<'_>) -> Option<Warmup> {
    cursor.object(|fields| {
        let duration = fields
            .required("duration")
            .and_then(|duration| duration.duration());
        let minimum_percent = fields.maybe("minimumPercent", Cursor::percent_number);
        let aggression = fields.maybe("aggression", |aggression| {
            let value = aggression.float()?;
            if !value.is_finite() || value < 1.0 {
                aggression.error("out_of_range", "aggression must be a number from 1");
                return None;
            }
            Some(value)
        });
        Some(Warmup {
            duration: duration?,
            minimum_percent: minimum_percent.unwrap_or(INITIAL_SHARE),
            aggression: aggression.unwrap_or(1.0),
        })
    })
}

fn legacy_warmup(fields: &Fields<'_>) -> Option<Warmup> {
    let cursor = fields.field("warmupDurationSecs")?;
    cursor.legacy("warmup.duration");
    let duration = cursor.duration()?;
    Some(Warmup {
        duration,
        minimum_percent: INITIAL_SHARE,
        aggression: 1.0,
    })
}

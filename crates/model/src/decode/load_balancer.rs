//! Load balancing of a traffic policy.

use super::{Cursor, Fields};
use crate::{
    ConsistentHashLb, CookieAttribute, HashAlgorithm, HashCookie, HashKey, LoadBalancerPolicy,
    LoadBalancerSettings, LocalityDistribute, LocalityFailover, LocalityLbSetting, Percent,
    SimpleLb, Warmup, ZoneAwareLbSetting,
};

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

const MAX_TABLE_SIZE: i128 = 5_000_011;
const MAX_RING_SIZE: i128 = 8 << 20;

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

fn consistent_hash(cursor: &Cursor<'_>) -> Option<ConsistentHashLb> {
    cursor.object(|fields| {
        if let Some(legacy) = fields.field("httpHeader") {
            legacy.legacy("httpHeaderName");
            fields.exclusive(&["httpHeaderName", "httpHeader"]);
        }
        let keys = [
            "httpHeaderName",
            "httpHeader",
            "httpCookie",
            "useSourceIp",
            "httpQueryParameterName",
        ];
        fields.exclusive(&[
            "httpHeaderName",
            "httpCookie",
            "useSourceIp",
            "httpQueryParameterName",
        ]);
        let header = fields.maybe("httpHeaderName", Cursor::text);
        let header = header
            .or_else(|| fields.maybe("httpHeader", Cursor::text))
            .map(HashKey::HttpHeaderName);
        let cookie = fields.maybe("httpCookie", cookie).map(HashKey::HttpCookie);
        let source = fields
            .bool("useSourceIp")
            .and_then(|yes| yes.then_some(HashKey::UseSourceIp));
        let query = fields
            .maybe("httpQueryParameterName", Cursor::text)
            .map(HashKey::HttpQueryParameterName);
        let algorithm = algorithm(fields);
        let key = header.or(cookie).or(source).or(query);
        if key.is_none() && (!keys.iter().any(|key| fields.has(key)) || fields.has("useSourceIp")) {
            cursor
                .error("missing_field", "consistentHash must say what is hashed")
                .help("httpHeaderName, httpCookie, useSourceIp: true or httpQueryParameterName");
        }
        Some(ConsistentHashLb {
            key: key?,
            algorithm,
        })
    })
}

fn cookie(cursor: &Cursor<'_>) -> Option<HashCookie> {
    cursor.object(|fields| {
        let name = fields.required("name").and_then(|name| name.text());
        let path = fields.string("path");
        let ttl = fields.maybe("ttl", Cursor::duration_or_zero);
        let attributes = fields.each("attributes", |attribute| {
            attribute.object(|fields| {
                let name = fields.required("name").and_then(|name| name.text());
                let value = fields.string("value");
                Some(CookieAttribute { name: name?, value })
            })
        });
        Some(HashCookie {
            name: name?,
            path,
            ttl,
            attributes,
        })
    })
}

fn algorithm(fields: &Fields<'_>) -> HashAlgorithm {
    fields.exclusive(&["ringHash", "maglev"]);
    let legacy = fields.field("minimumRingSize").and_then(|size| {
        size.legacy("ringHash.minimumRingSize");
        ring_size(&size)
    });
    let ring = fields.maybe("ringHash", |ring| {
        ring.object(|fields| Some(fields.maybe("minimumRingSize", ring_size).or(legacy)))
    });
    let maglev = fields.maybe("maglev", |maglev| {
        maglev.object(|fields| Some(fields.maybe("tableSize", table_size).unwrap_or(65_537)))
    });
    if let Some(table_size) = maglev {
        return HashAlgorithm::Maglev { table_size };
    }
    match ring.flatten().or(legacy) {
        Some(minimum_ring_size) => HashAlgorithm::RingHash { minimum_ring_size },
        None => HashAlgorithm::default(),
    }
}

fn ring_size(cursor: &Cursor<'_>) -> Option<u64> {
    let size = cursor.integer(0..=MAX_RING_SIZE)?;
    u64::try_from(size).ok().filter(|size| *size > 0)
}

fn table_size(cursor: &Cursor<'_>) -> Option<u64> {
    let size = u64::try_from(cursor.integer(2..=MAX_TABLE_SIZE)?).ok()?;
    let mut candidates = (2..).take_while(|divisor: &u64| divisor * divisor <= size);
    if candidates.any(|divisor| size.is_multiple_of(divisor)) {
        cursor.error(
            "invalid_value",
            format!("tableSize {size} is no prime number"),
        );
        return None;
    }
    Some(size)
}

fn locality(cursor: &Cursor<'_>) -> Option<LocalityLbSetting> {
    cursor.object(|fields| {
        fields.exclusive(&["distribute", "failover"]);
        fields.exclusive(&["distribute", "failoverPriority"]);
        let setting = LocalityLbSetting {
            enabled: fields.bool("enabled"),
            distribute: fields.each("distribute", distribute),
            failover: fields.each("failover", failover),
            failover_priority: fields.strings("failoverPriority"),
        };
        check_priorities(
            fields,
            !setting.failover.is_empty(),
            &setting.failover_priority,
        );
        Some(setting)
    })
}

const REGION: &str = "topology.kubernetes.io/region";

fn check_priorities(fields: &Fields<'_>, has_failover: bool, priorities: &[String]) {
    if has_failover
        && !priorities.is_empty()
        && !priorities.iter().any(|label| label == REGION)
        && let Some(field) = fields.field("failoverPriority")
    {
        field.error(
            "exclusive_fields",
            format!("failoverPriority beside failover must include {REGION}"),
        );
    }
}

fn distribute(cursor: &Cursor<'_>) -> Option<LocalityDistribute> {
    cursor.object(|fields| {
        let from = fields.required("from").and_then(|from| from.text());
        let to = fields.required("to").map(|to| {
            let shares = to.entries().into_iter();
            let shares: std::collections::BTreeMap<String, u32> = shares
                .filter_map(|(locality, share)| {
                    Some((locality.to_owned(), share.percent_integer()?.into()))
                })
                .collect();
            if shares.values().sum::<u32>() != 100 {
                to.error("invalid_value", "shares of localities must add up to 100");
            }
            shares
        });
        Some(LocalityDistribute {
            from: from?,
            to: to?,
        })
    })
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

fn zone_aware(cursor: &Cursor<'_>) -> Option<ZoneAwareLbSetting> {
    cursor.object(|fields| {
        Some(ZoneAwareLbSetting {
            enabled: fields.bool("enabled"),
            failover: fields.each("failover", failover),
            failover_priority: fields.strings("failoverPriority"),
            min_cluster_size: fields.maybe("minClusterSize", Cursor::u32),
        })
    })
}

fn warmup(cursor: &Cursor<'_>) -> Option<Warmup> {
    cursor.object(|fields| {
        let duration = fields
            .required("duration")
            .and_then(|duration| duration.duration());
        let minimum_percent = fields.maybe("minimumPercent", Cursor::percent_number);
        let aggression = fields.maybe("aggression", |aggression| {
            let value = aggression.float()?;
            if value.is_nan() || value < 1.0 {
                aggression.error("out_of_range", "aggression must be at least 1");
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

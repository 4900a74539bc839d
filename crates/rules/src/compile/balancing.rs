//! Istio's `LoadBalancerSettings` to how endpoints are chosen.

use super::Proxy;
use crate::{
    Failover, FailoverLabel, HashKey, LoadBalancing, Localities, LocalityPattern, LocalityShare,
};
use http::HeaderName;
use model::{
    ConsistentHashLb, LoadBalancerPolicy, LoadBalancerSettings, LocalityDistribute,
    LocalityFailover, LocalityLbSetting, SimpleLb, Warmup,
};
use std::sync::Arc;

/// How an endpoint is chosen. Where requests have no original destination, PASSTHROUGH means nothing.
pub(super) fn load_balancing(settings: Option<&LoadBalancerSettings>) -> LoadBalancing {
    match settings.map(|settings| &settings.policy) {
        Some(LoadBalancerPolicy::Simple(SimpleLb::RoundRobin)) => LoadBalancing::RoundRobin,
        Some(LoadBalancerPolicy::Simple(SimpleLb::Random)) => LoadBalancing::Random,
        Some(LoadBalancerPolicy::Simple(SimpleLb::LeastRequest | SimpleLb::Passthrough)) | None => {
            LoadBalancing::LeastRequest
        }
        Some(LoadBalancerPolicy::ConsistentHash(hash)) => consistent_hash(hash),
    }
}

/// A name that no header can have is in no request, and those without the header go anywhere.
fn consistent_hash(hash: &ConsistentHashLb) -> LoadBalancing {
    let key = match &hash.key {
        model::HashKey::HttpHeaderName(name) => match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => HashKey::Header(name),
            Err(_) => return LoadBalancing::Random,
        },
        model::HashKey::HttpCookie(cookie) => HashKey::Cookie(cookie.clone()),
        model::HashKey::UseSourceIp => HashKey::SourceIp,
        model::HashKey::HttpQueryParameterName(name) => HashKey::QueryParameter(name.clone()),
    };
    LoadBalancing::ConsistentHash {
        key,
        algorithm: hash.algorithm,
    }
}

/// A slow start means nothing where shares are not by weight alone.
pub(super) fn warmup(settings: &LoadBalancerSettings) -> Option<Warmup> {
    match settings.policy {
        LoadBalancerPolicy::Simple(SimpleLb::LeastRequest | SimpleLb::RoundRobin) => {
            settings.warmup.clone()
        }
        _ => None,
    }
}

/// Which endpoints are nearer. Failing over needs to know who fails: without outlier detection all are alike.
pub(super) fn localities(
    settings: Option<&LoadBalancerSettings>,
    detects_outliers: bool,
    proxy: &Proxy,
) -> Localities {
    let default = LocalityLbSetting::default();
    let setting = settings.and_then(|settings| settings.locality_lb_setting.as_ref());
    let setting = setting.unwrap_or(&default);
    if setting.enabled == Some(false) {
        return Localities::Alike;
    }
    if !setting.distribute.is_empty() {
        return distribute(&setting.distribute, proxy);
    }
    match failover(setting, proxy) {
        Some(failover) if detects_outliers => Localities::Failover(failover),
        _ => Localities::Alike,
    }
}

/// The shares for clients where the proxy is: of the first entry that means them.
fn distribute(entries: &[LocalityDistribute], proxy: &Proxy) -> Localities {
    let is_meant = |entry: &&LocalityDistribute| {
        !proxy.locality.is_unknown() && LocalityPattern::parse(&entry.from).matches(&proxy.locality)
    };
    let Some(entry) = entries.iter().find(is_meant) else {
        return Localities::Alike;
    };
    let shares = entry.to.iter().map(|(place, percent)| LocalityShare {
        place: LocalityPattern::parse(place),
        percent: *percent,
    });
    let mut shares: Vec<_> = shares.collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.place.parts()));
    Localities::Distribute(shares)
}

/// `None`: nothing tells anybody apart.
fn failover(setting: &LocalityLbSetting, proxy: &Proxy) -> Option<Failover> {
    let labels = &setting.failover_priority;
    let is_known = !proxy.locality.is_unknown();
    let by_place = is_known && (labels.is_empty() || !setting.failover.is_empty());
    if labels.is_empty() && !by_place {
        return None;
    }
    let labels = labels
        .iter()
        .map(|label| FailoverLabel::parse(label, &proxy.locality, &proxy.labels));
    let of_region = |failover: &&LocalityFailover| *failover.from == *proxy.locality.region;
    let to = setting.failover.iter().find(of_region);
    Some(Failover {
        labels: labels.collect(),
        by_place,
        proxy: proxy.locality.clone(),
        to: to.map(|failover| Arc::from(failover.to.as_str())),
    })
}

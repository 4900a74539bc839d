//! What holds for a cluster, in words.

use crate::{
    Cluster, ConnectionPool, CredentialRef, Failover, HashKey, LoadBalancing, Localities,
    NO_IDLE_LIMIT, ServerNames, ServerVerification, UpstreamProtocol, UpstreamSecurity,
    UpstreamTls,
};
use model::{
    HashAlgorithm, HashCookie, OutlierDetection, ProxyProtocolVersion, RetryBudget, TcpKeepalive,
    TunnelProtocol, TunnelSettings, Warmup,
};
use std::time::Duration;

/// What holds for a cluster: names of settings, and what they are. Limits that are not set are left out.
pub type PolicyInWords = Vec<(&'static str, String)>;

impl Cluster {
    /// Its policy in words, the way of choosing an endpoint first.
    pub fn policy_in_words(&self) -> PolicyInWords {
        let mut words = vec![("load_balancing", balancing(&self.load_balancing))];
        let mut say = |name, value: Option<String>| {
            words.extend(value.map(|value| (name, value)));
        };
        say("subset_labels", labels(self));
        say("localities", localities(&self.localities));
        say("warmup", self.warmup.as_ref().map(warmup));
        say(
            "outlier_detection",
            self.outlier_detection.as_ref().map(outlier_detection),
        );
        say("protocol", protocol(self.protocol));
        say("tls", security(&self.tls));
        say("tunnel", self.tunnel.as_ref().map(tunnel));
        say("proxy_protocol", self.proxy_protocol.map(proxy_protocol));
        words.extend(limits(&self.pool));
        words
    }
}

fn labels(cluster: &Cluster) -> Option<String> {
    let labels = cluster.subset_labels.iter();
    let labels: Vec<_> = labels
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    (!labels.is_empty()).then(|| labels.join(", "))
}

fn balancing(balancing: &LoadBalancing) -> String {
    match balancing {
        LoadBalancing::LeastRequest => "least request".to_owned(),
        LoadBalancing::RoundRobin => "round robin".to_owned(),
        LoadBalancing::Random => "random".to_owned(),
        LoadBalancing::ConsistentHash { key, algorithm } => {
            format!("hash of {}, {}", hash_key(key), algorithm_of(*algorithm))
        }
    }
}

fn hash_key(key: &HashKey) -> String {
    match key {
        HashKey::Header(name) => format!("header {name}"),
        HashKey::Cookie(cookie) => hash_cookie(cookie),
        HashKey::SourceIp => "the client's address".to_owned(),
        HashKey::QueryParameter(name) => format!("query parameter {name}"),
    }
}

fn hash_cookie(cookie: &HashCookie) -> String {
    let path = cookie.path.as_deref().map(|path| format!(" of {path}"));
    let made = match cookie.ttl {
        None => String::new(),
        Some(Duration::ZERO) => " made for the session".to_owned(),
        Some(ttl) => format!(" made for {ttl:?}"),
    };
    let attributes = cookie.attributes.iter().map(|one| match &one.value {
        Some(value) => format!("; {}={value}", one.name),
        None => format!("; {}", one.name),
    });
    let attributes: String = attributes.collect();
    let path = path.unwrap_or_default();
    format!("cookie {}{path}{made}{attributes}", cookie.name)
}

fn algorithm_of(algorithm: HashAlgorithm) -> String {
    match algorithm {
        HashAlgorithm::RingHash { minimum_ring_size } => {
            format!("ring of {minimum_ring_size} or more")
        }
        HashAlgorithm::Maglev { table_size } => format!("maglev table of {table_size}"),
    }
}

fn localities(localities: &Localities) -> Option<String> {
    match localities {
        Localities::Alike => None,
        Localities::Distribute(shares) => {
            let shares = shares
                .iter()
                .map(|share| format!("{}% {}", share.percent, share.place));
            Some(shares.collect::<Vec<_>>().join(", "))
        }
        Localities::Failover(order) => Some(failover(order)),
    }
}

fn failover(failover: &Failover) -> String {
    let mut order = Vec::new();
    order.extend(failover.labels.iter().map(|label| match &label.value {
        Some(value) => format!("{}={value}", label.name),
        None => format!("without {}", label.name),
    }));
    if failover.by_place {
        order.push(format!("near {}", failover.proxy));
    }
    order.extend(failover.to.as_ref().map(|to| format!("in {to}")));
    format!("first {}, then others", order.join(", then "))
}

fn warmup(warmup: &Warmup) -> String {
    let Warmup {
        duration,
        minimum_percent,
        aggression,
    } = warmup;
    format!("{duration:?} from {minimum_percent}, aggression {aggression}")
}

fn outlier_detection(outlier: &OutlierDetection) -> String {
    let failures = match outlier.outlier_detection_http_error_codes.as_slice() {
        [] => "5xx".to_owned(),
        codes => {
            let codes: Vec<_> = codes.iter().map(u16::to_string).collect();
            codes.join("|")
        }
    };
    let local = match outlier.split_external_local_origin_errors {
        true => outlier.consecutive_local_origin_failures,
        false => 0,
    };
    let causes = [
        (outlier.consecutive_5xx_errors, failures.as_str()),
        (outlier.consecutive_gateway_errors, "gateway errors"),
        (local, "missing answers"),
    ];
    let causes = causes.iter().filter(|(count, _)| *count > 0);
    let causes: Vec<_> = causes
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let causes = match causes.as_slice() {
        [] => "never".to_owned(),
        causes => format!("after {} in a row", causes.join(" or ")),
    };
    let (out, most) = (outlier.base_ejection_time, outlier.max_ejection_percent);
    let health = match outlier.min_health_percent {
        0 => String::new(),
        least => format!(", unless fewer than {least}% are healthy"),
    };
    let interval = outlier.interval;
    format!("{causes}, for {out:?}, at most {most}%, swept every {interval:?}{health}")
}

/// HTTP/1.1 goes without saying, and so does that connections of clients are not looked into.
fn protocol(protocol: UpstreamProtocol) -> Option<String> {
    match protocol {
        UpstreamProtocol::Http1 | UpstreamProtocol::Tcp => None,
        UpstreamProtocol::Http2 => Some("HTTP/2".to_owned()),
        UpstreamProtocol::AsClient => Some("the client's".to_owned()),
    }
}

fn security(security: &UpstreamSecurity) -> Option<String> {
    match security {
        UpstreamSecurity::ClearText => None,
        UpstreamSecurity::Rule(by_rule) => Some(tls(by_rule)),
        UpstreamSecurity::Auto(of_mesh) => {
            Some(format!("where an endpoint is in the mesh {}", tls(of_mesh)))
        }
    }
}

fn tls(tls: &UpstreamTls) -> String {
    let mode = match (tls.mesh, &tls.certificate) {
        (true, _) => "ISTIO_MUTUAL",
        (false, Some(_)) => "MUTUAL",
        (false, None) => "SIMPLE",
    };
    let sni = tls.sni.as_deref().unwrap_or("the request's host");
    let certificate = tls.certificate.as_ref();
    let certificate = certificate.map(|one| format!(", shows {one}"));
    let verified = verification(&tls.verification);
    format!(
        "{mode}, sni {sni}{}, {verified}",
        certificate.unwrap_or_default()
    )
}

fn verification(verification: &ServerVerification) -> String {
    let ServerVerification::Verified {
        authorities,
        names: of_server,
    } = verification
    else {
        return "verifies nothing".to_owned();
    };
    let by = match authorities {
        None => "the system's authorities".to_owned(),
        Some(by) => format!("{by}{}", revocations(by)),
    };
    format!("verifies {} by {by}", names(of_server))
}

fn names(names: &ServerNames) -> String {
    match names {
        ServerNames::Sent => "the sni".to_owned(),
        ServerNames::Listed(names) => names.join(" or "),
        ServerNames::Workload(names) => {
            let others = names.others.iter().map(|name| format!(" or {name}"));
            let others: String = others.collect();
            let domains = names.trust_domains.join(" or ");
            format!("the endpoint's account in {domains}{others}")
        }
    }
}

fn revocations(authorities: &CredentialRef) -> String {
    match authorities {
        CredentialRef::AuthorityFiles {
            revocations: Some(path),
            ..
        } => format!(" without those revoked in {path}"),
        _ => String::new(),
    }
}

fn tunnel(tunnel: &TunnelSettings) -> String {
    let method = match tunnel.protocol {
        TunnelProtocol::Connect => "CONNECT",
        TunnelProtocol::Post => "POST",
    };
    format!("{method} {}:{}", tunnel.target_host, tunnel.target_port)
}

fn proxy_protocol(version: ProxyProtocolVersion) -> String {
    match version {
        ProxyProtocolVersion::V1 => "version 1".to_owned(),
        ProxyProtocolVersion::V2 => "version 2".to_owned(),
    }
}

fn limits(pool: &ConnectionPool) -> impl Iterator<Item = (&'static str, String)> {
    let count = |limit: Option<u32>| limit.map(|limit| limit.to_string());
    let h2_pings = pool.http2_keep_alive.map(|pings| {
        // Pingora's, whatever the rule says.
        format!("every {:?}, answered within 5s", pings.interval)
    });
    let own = ConnectionPool::default();
    let idle = (pool.idle_timeout != own.idle_timeout).then(|| time(pool.idle_timeout));
    [
        ("max_connections", count(pool.max_connections)),
        ("max_pending_requests", count(pool.max_pending_requests)),
        ("max_requests", count(pool.max_requests)),
        (
            "max_requests_per_connection",
            count(pool.max_requests_per_connection),
        ),
        ("max_retries", count(pool.max_retries)),
        ("retry_budget", pool.retry_budget.as_ref().map(retry_budget)),
        ("connect_timeout", Some(time(pool.connect_timeout))),
        (
            "max_connection_duration",
            pool.max_connection_duration.map(time),
        ),
        ("idle_timeout", idle),
        ("tcp_idle_timeout", pool.tcp_idle_timeout.map(time)),
        ("tcp_keepalive", pool.tcp_keepalive.as_ref().map(keepalive)),
        ("max_concurrent_streams", count(pool.max_concurrent_streams)),
        ("http2_keep_alive", h2_pings),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

fn time(time: Duration) -> String {
    match time {
        NO_IDLE_LIMIT => "no limit".to_owned(),
        time => format!("{time:?}"),
    }
}

fn retry_budget(budget: &RetryBudget) -> String {
    let (percent, least) = (budget.percent, budget.min_retry_concurrency);
    match budget.budget_interval {
        Duration::ZERO => format!("{percent} of active requests, or {least}"),
        interval => format!("{percent} of requests within {interval:?}, or {least}"),
    }
}

fn keepalive(keepalive: &TcpKeepalive) -> String {
    let of = |value: Option<String>| value.unwrap_or_else(|| "the system's".to_owned());
    let time = |time: Option<Duration>| of(time.map(|time| format!("{time:?}")));
    let probes = of(keepalive.probes.map(|probes| probes.to_string()));
    let (after, every) = (time(keepalive.time), time(keepalive.interval));
    format!("after {after}, every {every}, probes {probes}")
}

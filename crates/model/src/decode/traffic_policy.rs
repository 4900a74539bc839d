//! Traffic policies of a DestinationRule.

use super::load_balancer::load_balancer;
use super::tls::client_tls;
use super::{Cursor, Fields};
use crate::{
    ConnectionPoolSettings, H2UpgradePolicy, HostPattern, Http2KeepAlive, HttpSettings,
    OutlierDetection, Percent, PortTrafficPolicy, ProxyProtocolVersion, RetryBudget, TcpKeepalive,
    TcpSettings, TrafficPolicy, TunnelProtocol, TunnelSettings,
};
use std::collections::HashSet;
use std::time::Duration;

pub(super) fn traffic_policy(cursor: &Cursor<'_>) -> Option<TrafficPolicy> {
    cursor.object(|fields| {
        if fields.is_empty() {
            cursor.error(
                "missing_field",
                "traffic policy must have at least one field",
            );
        }
        fields.exclusive(&["tunnel", "proxyProtocol"]);
        Some(TrafficPolicy {
            at: fields.at(),
            load_balancer: fields.maybe("loadBalancer", load_balancer),
            connection_pool: fields.maybe("connectionPool", connection_pool),
            outlier_detection: fields.maybe("outlierDetection", outlier_detection),
            tls: fields.maybe("tls", client_tls),
            port_level_settings: port_level_settings(fields),
            tunnel: fields.maybe("tunnel", tunnel),
            proxy_protocol: fields.maybe("proxyProtocol", proxy_protocol),
            retry_budget: fields.maybe("retryBudget", retry_budget),
        })
    })
}

fn port_level_settings(fields: &Fields<'_>) -> Vec<PortTrafficPolicy> {
    let mut ports = HashSet::new();
    let mut settings = Vec::new();
    for cursor in fields.items("portLevelSettings") {
        let Some(policy) = port_policy(&cursor) else {
            continue;
        };
        if !ports.insert(policy.port) {
            cursor.error(
                "duplicate_name",
                format!("port {} is there twice", policy.port),
            );
        }
        settings.push(policy);
    }
    settings
}

fn port_policy(cursor: &Cursor<'_>) -> Option<PortTrafficPolicy> {
    cursor.object(|fields| {
        let port = fields
            .required("port")
            .and_then(|port| port.port_selector());
        let load_balancer = fields.maybe("loadBalancer", load_balancer);
        let connection_pool = fields.maybe("connectionPool", connection_pool);
        let outlier_detection = fields.maybe("outlierDetection", outlier_detection);
        let tls = fields.maybe("tls", client_tls);
        let at = fields.at();
        Some(PortTrafficPolicy {
            at,
            port: port?,
            load_balancer,
            connection_pool,
            outlier_detection,
            tls,
        })
    })
}

/// `connectionPool`, also of a Sidecar.
pub(super) fn connection_pool(cursor: &Cursor<'_>) -> Option<ConnectionPoolSettings> {
    cursor.object(|fields| {
        if !fields.has("tcp") && !fields.has("http") {
            cursor
                .error(
                    "missing_field",
                    "connection pool must have at least one field",
                )
                .help("tcp or http");
        }
        let (tcp, http) = (fields.maybe("tcp", tcp), fields.maybe("http", http));
        Some(ConnectionPoolSettings {
            at: fields.at(),
            tcp,
            http,
        })
    })
}

fn tcp(cursor: &Cursor<'_>) -> Option<TcpSettings> {
    cursor.object(|fields| {
        Some(TcpSettings {
            max_connections: fields.maybe("maxConnections", Cursor::limit),
            connect_timeout: fields.duration("connectTimeout"),
            tcp_keepalive: fields.maybe("tcpKeepalive", keepalive),
            max_connection_duration: fields.duration("maxConnectionDuration"),
            idle_timeout: fields.maybe("idleTimeout", Cursor::duration_or_zero),
        })
    })
}

fn keepalive(cursor: &Cursor<'_>) -> Option<TcpKeepalive> {
    cursor.object(|fields| {
        Some(TcpKeepalive {
            probes: fields.maybe("probes", Cursor::limit),
            time: fields.duration("time"),
            interval: fields.duration("interval"),
        })
    })
}

const UPGRADE_POLICIES: &[(&str, H2UpgradePolicy)] = &[
    ("DEFAULT", H2UpgradePolicy::Default),
    ("DO_NOT_UPGRADE", H2UpgradePolicy::DoNotUpgrade),
    ("UPGRADE", H2UpgradePolicy::Upgrade),
];

fn http(cursor: &Cursor<'_>) -> Option<HttpSettings> {
    cursor.object(|fields| {
        let upgrade = fields.maybe("h2UpgradePolicy", |policy| policy.one_of(UPGRADE_POLICIES));
        Some(HttpSettings {
            http1_max_pending_requests: fields.maybe("http1MaxPendingRequests", Cursor::limit),
            http2_max_requests: fields.maybe("http2MaxRequests", Cursor::limit),
            max_requests_per_connection: fields.maybe("maxRequestsPerConnection", Cursor::limit),
            max_retries: fields.maybe("maxRetries", Cursor::limit),
            idle_timeout: fields.maybe("idleTimeout", Cursor::duration_or_zero),
            h2_upgrade_policy: upgrade.unwrap_or_default(),
            use_client_protocol: fields.flag("useClientProtocol"),
            max_concurrent_streams: fields.maybe("maxConcurrentStreams", Cursor::limit),
            http2_keep_alive: fields.maybe("http2KeepAlive", http2_keep_alive),
        })
    })
}

fn http2_keep_alive(cursor: &Cursor<'_>) -> Option<Http2KeepAlive> {
    cursor.object(|fields| {
        let interval = fields
            .required("interval")
            .and_then(|interval| interval.duration());
        let timeout = fields
            .required("timeout")
            .and_then(|timeout| timeout.duration());
        Some(Http2KeepAlive {
            interval: interval?,
            timeout: timeout?,
        })
    })
}

/// The block, with Istio 0.8's `http` inside it flattened.
fn outlier_detection(cursor: &Cursor<'_>) -> Option<OutlierDetection> {
    let mut outlier = OutlierDetection {
        at: cursor.at(),
        ..OutlierDetection::default()
    };
    cursor.object(|fields| {
        if let Some(nested) = fields.field("http") {
            nested.legacy("the fields of outlierDetection itself");
            nested.object(|fields| {
                outlier_fields(fields, &mut outlier);
                Some(())
            });
        }
        outlier_fields(fields, &mut outlier);
        if fields.has("consecutiveLocalOriginFailures")
            && !outlier.split_external_local_origin_errors
        {
            cursor.error(
                "exclusive_fields",
                "consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors: true",
            );
        }
        warn_of_gateway_errors(fields, &outlier);
        Some(())
    })?;
    Some(outlier)
}

/// They are among the failures that are counted anyway, unless other statuses are.
fn warn_of_gateway_errors(fields: &Fields<'_>, outlier: &OutlierDetection) {
    let (own, all) = (
        outlier.consecutive_gateway_errors,
        outlier.consecutive_5xx_errors,
    );
    if own >= all
        && all > 0
        && outlier.outlier_detection_http_error_codes.is_empty()
        && let Some(field) = fields.field("consecutiveGatewayErrors")
    {
        let message = format!(
            "consecutiveGatewayErrors has no effect, since {all} consecutive5xxErrors, which count these too, are reached first"
        );
        field
            .warning("ineffective", message)
            .help("make it less than consecutive5xxErrors, or consecutive5xxErrors 0");
    }
}

fn outlier_fields(fields: &Fields<'_>, outlier: &mut OutlierDetection) {
    consecutive_errors(fields, outlier);
    if let Some(errors) = fields.maybe("consecutiveGatewayErrors", Cursor::u32) {
        outlier.consecutive_gateway_errors = errors;
    }
    if let Some(split) = fields.bool("splitExternalLocalOriginErrors") {
        outlier.split_external_local_origin_errors = split;
    }
    if let Some(failures) = fields.maybe("consecutiveLocalOriginFailures", Cursor::u32) {
        outlier.consecutive_local_origin_failures = failures;
    }
    if let Some(interval) = fields.duration("interval") {
        outlier.interval = interval;
    }
    if let Some(time) = fields.duration("baseEjectionTime") {
        outlier.base_ejection_time = time;
    }
    let percent = fields.maybe("maxEjectionPercent", Cursor::percent_integer);
    if let Some(percent) = percent.filter(|percent| *percent > 0) {
        outlier.max_ejection_percent = percent;
    }
    if let Some(percent) = fields.maybe("minHealthPercent", Cursor::percent_integer) {
        outlier.min_health_percent = percent;
    }
    let codes = fields.each("outlierDetectionHttpErrorCodes", |code| {
        code.u16_in(100..=599)
    });
    outlier.outlier_detection_http_error_codes.extend(codes);
}

/// `consecutiveErrors` meant 5xx when the nested form was current. A modern field wins.
fn consecutive_errors(fields: &Fields<'_>, outlier: &mut OutlierDetection) {
    if let Some(legacy) = fields.field("consecutiveErrors") {
        legacy.legacy("consecutive5xxErrors");
        if !fields.has("consecutiveGatewayErrors")
            && let Some(errors) = legacy.limit()
        {
            outlier.consecutive_5xx_errors = errors;
        }
    }
    if let Some(errors) = fields.maybe("consecutive5xxErrors", Cursor::u32) {
        outlier.consecutive_5xx_errors = errors;
    }
}

const TUNNEL_PROTOCOLS: &[(&str, TunnelProtocol)] = &[
    ("CONNECT", TunnelProtocol::Connect),
    ("POST", TunnelProtocol::Post),
];

fn tunnel(cursor: &Cursor<'_>) -> Option<TunnelSettings> {
    cursor.object(|fields| {
        let protocol = fields.maybe("protocol", |protocol| {
            (protocol.str() != Some("")).then(|| protocol.one_of(TUNNEL_PROTOCOLS))?
        });
        let target_host = fields
            .required("targetHost")
            .and_then(|host| target_host(&host));
        let target_port = fields.required("targetPort").and_then(|port| port.port());
        Some(TunnelSettings {
            at: fields.at(),
            protocol: protocol.unwrap_or_default(),
            target_host: target_host?,
            target_port: target_port?,
        })
    })
}

fn target_host(cursor: &Cursor<'_>) -> Option<String> {
    let host: HostPattern = cursor.host()?;
    if host.is_wildcard() {
        cursor.error("invalid_host", "targetHost must be one host or address");
        return None;
    }
    Some(host.to_string())
}

const PROXY_VERSIONS: &[(&str, ProxyProtocolVersion)] = &[
    ("V1", ProxyProtocolVersion::V1),
    ("V2", ProxyProtocolVersion::V2),
];

fn proxy_protocol(cursor: &Cursor<'_>) -> Option<ProxyProtocolVersion> {
    cursor.object(|fields| match fields.field("version") {
        Some(version) => version.one_of(PROXY_VERSIONS),
        None => Some(ProxyProtocolVersion::default()),
    })
}

fn retry_budget(cursor: &Cursor<'_>) -> Option<RetryBudget> {
    cursor.object(|fields| {
        let percent = match fields.field("percent") {
            // Written bare or wrapped, depending on the schema it came through.
            Some(percent) if percent.node.get("value").is_some() => percent.percent(),
            Some(percent) => percent.percent_number(),
            None => Some(Percent::whole(20)),
        };
        Some(RetryBudget {
            percent: percent?,
            min_retry_concurrency: fields
                .maybe("minRetryConcurrency", Cursor::u32)
                .unwrap_or(3),
            budget_interval: fields
                .maybe("budgetInterval", Cursor::duration_or_zero)
                .unwrap_or(Duration::ZERO),
        })
    })
}

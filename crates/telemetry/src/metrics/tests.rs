//! What a scrape shows.

use super::cache::{REST, SERIES_LIMIT, Series};
use super::series::BOUNDS;
use super::*;
use crate::ResponseFlags;
use std::time::{Duration, SystemTime};

fn gateway() -> Workload {
    Workload {
        workload: "istio-ingressgateway".into(),
        namespace: "istio-system".into(),
        canonical_service: "istio-ingressgateway".into(),
        app: "istio-ingressgateway".into(),
        ..Workload::default()
    }
}

fn reviews() -> Destination {
    Destination {
        workload: Workload {
            version: "v2".into(),
            ..Workload::default()
        },
        service: "reviews.default.svc.cluster.local".into(),
        service_name: "reviews".into(),
        service_namespace: "default".into(),
    }
}

fn labels<'l>(source: &'l Workload, destination: &'l Destination) -> RequestLabels<'l> {
    RequestLabels {
        reporter: Reporter::Source,
        source,
        destination,
        security: SecurityPolicy::Unknown,
    }
}

fn record(metrics: &Metrics, destination: u64, outcome: RequestOutcome, sample: RequestSample) {
    let (source, reviews) = (gateway(), reviews());
    metrics.record_request(destination, outcome, sample, || labels(&source, &reviews));
}

fn ok() -> RequestOutcome {
    RequestOutcome::http(200, ResponseFlags::empty())
}

fn lines<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines()
        .filter(|line| line.starts_with(&format!("{name}{{")))
        .collect()
}

fn value<'l>(line: &'l str, label: &str) -> &'l str {
    let (_, rest) = line.split_once(&format!("{label}=\"")).unwrap();
    rest.split_once('"').unwrap().0
}

#[test]
fn labels_are_istios_in_istios_order() {
    let metrics = Metrics::new("0.1.0");
    record(&metrics, 1, ok(), RequestSample::default());
    let text = metrics.text();
    let want = concat!(
        r#"istio_requests_total{reporter="source",source_workload="istio-ingressgateway","#,
        r#"source_canonical_service="istio-ingressgateway",source_canonical_revision="latest","#,
        r#"source_workload_namespace="istio-system",source_principal="unknown","#,
        r#"source_app="istio-ingressgateway",source_version="unknown",source_cluster="unknown","#,
        r#"destination_workload="unknown",destination_workload_namespace="unknown","#,
        r#"destination_principal="unknown",destination_app="unknown",destination_version="v2","#,
        r#"destination_service="reviews.default.svc.cluster.local","#,
        r#"destination_canonical_service="unknown",destination_canonical_revision="latest","#,
        r#"destination_service_name="reviews",destination_service_namespace="default","#,
        r#"destination_cluster="unknown",request_protocol="http",response_code="200","#,
        r#"grpc_response_status="",response_flags="-",connection_security_policy="unknown"} 1"#,
    );
    assert_eq!(lines(&text, "istio_requests_total"), [want]);
    assert_eq!(want.matches("=\"").count(), 25);
    assert!(
        text.contains("istio_build{component=\"proxy\",tag=\"0.1.0\"} 1\n"),
        "{text}"
    );
}

#[test]
fn buckets_are_envoys_and_cumulated() {
    let metrics = Metrics::new("0.1.0");
    let sample = |micros, request_bytes, response_bytes| RequestSample {
        duration: Duration::from_micros(micros),
        request_bytes,
        response_bytes,
    };
    record(&metrics, 1, ok(), sample(500, 0, 5));
    record(&metrics, 1, ok(), sample(501, 1, 6));
    record(&metrics, 1, ok(), sample(3_600_000_250, 2, 4_000_000));
    let text = metrics.text();
    let counts = |name: &str| {
        let lines = lines(&text, &format!("{name}_bucket"));
        let bounds: Vec<_> = lines.iter().map(|line| value(line, "le")).collect();
        assert_eq!(bounds, [&BOUNDS[..], &["+Inf"]].concat());
        lines
            .iter()
            .map(|line| line.rsplit(' ').next().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let durations = "1 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 3";
    assert_eq!(counts("istio_request_duration_milliseconds"), durations);
    assert_eq!(
        counts("istio_request_bytes"),
        "1 2 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3"
    );
    assert_eq!(
        counts("istio_response_bytes"),
        "0 0 1 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 3"
    );
    for (name, sum) in [
        ("istio_request_duration_milliseconds", "3600001.251"),
        ("istio_request_bytes", "3"),
        ("istio_response_bytes", "4000011"),
    ] {
        assert!(
            lines(&text, &format!("{name}_sum"))[0].ends_with(&format!("}} {sum}")),
            "{text}"
        );
        assert!(
            lines(&text, &format!("{name}_count"))[0].ends_with("} 3"),
            "{text}"
        );
    }
}

/// Promise 18: what a peer sends chooses among known values only.
#[test]
fn outcomes_come_from_closed_sets() {
    let none = ResponseFlags::empty();
    assert_eq!(
        RequestOutcome::http(99, none),
        RequestOutcome::http(0, none)
    );
    assert_eq!(
        RequestOutcome::http(600, none),
        RequestOutcome::http(0, none)
    );
    assert_ne!(
        RequestOutcome::http(599, none),
        RequestOutcome::http(0, none)
    );
    assert_eq!(
        RequestOutcome::grpc(200, Some(17), none),
        RequestOutcome::grpc(200, Some(2), none)
    );
    assert_eq!(
        RequestOutcome::grpc(200, Some(u32::MAX), none),
        RequestOutcome::grpc(200, Some(2), none)
    );
    assert_ne!(
        RequestOutcome::grpc(200, Some(16), none),
        RequestOutcome::grpc(200, None, none)
    );
}

#[test]
fn each_outcome_has_its_series() {
    let metrics = Metrics::new("0.1.0");
    let timeout = RequestOutcome::http(504, ResponseFlags::UT);
    let grpc = RequestOutcome::grpc(200, Some(14), ResponseFlags::UH);
    for outcome in [ok(), ok(), timeout, grpc] {
        record(&metrics, 1, outcome, RequestSample::default());
    }
    let text = metrics.text();
    let labels = [
        "request_protocol",
        "response_code",
        "grpc_response_status",
        "response_flags",
    ];
    let got: Vec<_> = lines(&text, "istio_requests_total")
        .into_iter()
        .map(|line| {
            (
                labels.map(|label| value(line, label)),
                line.rsplit(' ').next().unwrap(),
            )
        })
        .collect();
    let want = [
        (["grpc", "200", "14", "UH"], "1"),
        (["http", "200", "", "-"], "2"),
        (["http", "504", "", "UT"], "1"),
    ];
    assert_eq!(got, want);
}

#[test]
fn label_values_are_escaped() {
    let metrics = Metrics::new("0.1.0");
    let (source, mut destination) = (gateway(), reviews());
    destination.service_name = "a\"b\\c\nd".into();
    metrics.record_request(1, ok(), RequestSample::default(), || {
        labels(&source, &destination)
    });
    assert!(
        metrics
            .text()
            .contains(r#"destination_service_name="a\"b\\c\nd""#)
    );
}

#[test]
fn labels_are_asked_for_once_a_combination() {
    let metrics = Metrics::new("0.1.0");
    let (source, reviews) = (gateway(), reviews());
    let mut asked = 0;
    for _ in 0..3 {
        metrics.record_request(1, ok(), RequestSample::default(), || {
            asked += 1;
            labels(&source, &reviews)
        });
    }
    assert_eq!(asked, 1);
}

#[test]
fn destinations_of_the_same_labels_share_a_series() {
    let metrics = Metrics::new("0.1.0");
    for destination in 0..100 {
        record(&metrics, destination, ok(), RequestSample::default());
    }
    let series = metrics.request_series(&labels(&gateway(), &reviews()), ok());
    assert_eq!(series.count(), 100);
    assert_eq!(lines(&metrics.text(), "istio_requests_total").len(), 1);
}

/// Promise 17: configuration that comes and goes leaves nothing behind.
#[test]
fn idle_series_are_forgotten_unless_somebody_holds_them() {
    let metrics = Metrics::new("0.1.0");
    let held = metrics.request_series(
        &labels(&gateway(), &reviews()),
        RequestOutcome::http(404, ResponseFlags::NR),
    );
    record(&metrics, 1, ok(), RequestSample::default());
    metrics.forget_idle_series();
    record(&metrics, 1, ok(), RequestSample::default());
    metrics.forget_idle_series();
    assert_eq!(
        lines(&metrics.text(), "istio_requests_total").len(),
        2,
        "it was in use since"
    );
    metrics.forget_idle_series();
    let text = metrics.text();
    let left = lines(&text, "istio_requests_total");
    assert_eq!((left.len(), value(left[0], "response_code")), (1, "404"));
    drop(held);
    metrics.forget_idle_series();
    assert_eq!(lines(&metrics.text(), "istio_requests_total").len(), 0);
    record(&metrics, 1, ok(), RequestSample::default());
    assert_eq!(
        lines(&metrics.text(), "istio_requests_total").len(),
        1,
        "a new one starts at zero"
    );
}

/// Promise 17.
#[test]
fn the_number_of_series_is_bounded() {
    let metrics = Metrics::new("0.1.0");
    let source = gateway();
    for number in 0..SERIES_LIMIT as u64 + 50 {
        let destination = Destination {
            service: format!("service-{number}"),
            ..Destination::default()
        };
        metrics.record_request(number, ok(), RequestSample::default(), || {
            labels(&source, &destination)
        });
    }
    assert_eq!(metrics.requests.all().len(), SERIES_LIMIT + 1);
    assert_eq!(
        metrics
            .requests
            .all()
            .last()
            .map(|rest| (rest.labels().to_string(), rest.count())),
        Some((REST.into(), 50))
    );
}

#[test]
fn a_scrape_comes_in_chunks_of_bounded_size() {
    let metrics = Metrics::new("0.1.0");
    for code in 100..200 {
        record(
            &metrics,
            1,
            RequestOutcome::http(code, ResponseFlags::empty()),
            RequestSample::default(),
        );
    }
    let sizes: Vec<_> = metrics.exposition().map(|chunk| chunk.len()).collect();
    assert!(
        sizes.len() > 10 && sizes.iter().all(|&size| size < 128 << 10),
        "{sizes:?}"
    );
    let text = metrics.text();
    assert_eq!(
        text.matches("# TYPE istio_request_bytes histogram\n")
            .count(),
        1
    );
    assert_eq!(lines(&text, "istio_requests_total").len(), 100);
}

#[test]
fn threads_count_in_the_same_series() {
    let metrics = Metrics::new("0.1.0");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                (0..500).for_each(|_| record(&metrics, 1, ok(), RequestSample::default()))
            });
        }
    });
    let text = metrics.text();
    assert!(
        lines(&text, "istio_requests_total")[0].ends_with("} 4000"),
        "{text}"
    );
}

#[test]
fn a_listener_that_is_gone_is_gone_from_the_scrape() {
    let metrics = Metrics::new("0.1.0");
    for name in ["0.0.0.0:80", "0.0.0.0:443"] {
        let listener = metrics.own().listener(name);
        listener.up.set(1);
        listener.connections.inc();
        listener.connections_total.inc();
        listener.refused("connection_limit").inc();
    }
    metrics.own().forget_listener("0.0.0.0:80");
    metrics.own().forget_listener("0.0.0.0:1");
    let text = metrics.text();
    assert!(!text.contains("0.0.0.0:80\""), "{text}");
    for line in [
        "tidegate_listener_up{listener=\"0.0.0.0:443\"} 1\n",
        "tidegate_downstream_connections{listener=\"0.0.0.0:443\"} 1\n",
        "tidegate_downstream_connections_total{listener=\"0.0.0.0:443\"} 1\n",
        "tidegate_downstream_refused_total{listener=\"0.0.0.0:443\",reason=\"connection_limit\"} 1\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn a_host_that_is_not_checked_any_more_is_gone_from_the_scrape() {
    let metrics = Metrics::new("0.1.0");
    let own = metrics.own();
    for host in ["a.test", "b.test"] {
        own.health_checks(host, "success").inc();
        own.health_checks(host, "timeout").inc();
        own.unhealthy_endpoints(host).set(2);
    }
    own.forget_health_of("a.test");
    own.forget_health_of("c.test");
    let text = metrics.text();
    assert!(!text.contains("a.test"), "{text}");
    for line in [
        "tidegate_health_checks_total{host=\"b.test\",result=\"success\"} 1\n",
        "tidegate_health_checks_total{host=\"b.test\",result=\"timeout\"} 1\n",
        "tidegate_unhealthy_endpoints{host=\"b.test\"} 2\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn exactly_the_certificates_that_are_served_are_told_with_their_expiry() {
    let metrics = Metrics::new("0.1.0");
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let told = || {
        let text = metrics.text();
        let lines = lines(&text, "tidegate_certificate_expiry_timestamp_seconds");
        lines.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let own = metrics.own();
    own.certificate_expiries([("a", at(7)), ("b", at(8))].into_iter());
    assert_eq!(told().len(), 2);
    own.certificate_expiries([("b", at(9))].into_iter());
    assert_eq!(
        told(),
        [r#"tidegate_certificate_expiry_timestamp_seconds{name="b"} 9"#]
    );
}

#[test]
fn names_are_counted_as_far_as_the_totals_have_come() {
    let metrics = Metrics::new("0.1.0");
    assert_dns(&metrics.text(), [0; 6]);
    let mut totals = NameTotals {
        hits: 10,
        misses: 4,
        stale: 3,
        failures: 2,
        evictions: 1,
        names: 7,
    };
    for _ in 0..2 {
        metrics.own().names(&totals);
        assert_dns(&metrics.text(), [10, 4, 3, 2, 1, 7]);
    }
    totals.hits = 12;
    totals.names = 5;
    metrics.own().names(&totals);
    assert_dns(&metrics.text(), [12, 4, 3, 2, 1, 5]);
}

#[track_caller]
fn assert_dns(text: &str, want: [u64; 6]) {
    let series = [
        "tidegate_dns_lookups_total{result=\"hit\"}",
        "tidegate_dns_lookups_total{result=\"miss\"}",
        "tidegate_dns_lookups_total{result=\"stale\"}",
        "tidegate_dns_failures_total",
        "tidegate_dns_evictions_total",
        "tidegate_dns_names",
    ];
    for (series, want) in series.iter().zip(want) {
        let line = format!("\n{series} {want}\n");
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[test]
fn tidegates_own_metrics_are_there_from_the_start() {
    let metrics = Metrics::new("0.1.0");
    metrics.own().upstream().retries.inc();
    metrics.own().requests_refused("header_limit").inc();
    metrics.own().mirrors("sent").inc();
    let text = metrics.text();
    for line in [
        "tidegate_config_generation 0\n",
        "tidegate_upstream_connections_total 0\n",
        "tidegate_upstream_connect_failures_total 0\n",
        "tidegate_retries_total 1\n",
        "tidegate_requests_refused_total{reason=\"header_limit\"} 1\n",
        "tidegate_mirror_total{result=\"sent\"} 1\n",
        "tidegate_access_log_dropped_total 0\n",
        "\nprocess_resident_memory_bytes ",
        "\nprocess_cpu_seconds_total ",
        "\nprocess_open_fds ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn another_crate_registers_a_metric_once() {
    let metrics = Metrics::new("0.1.0");
    let foreign =
        prometheus::IntGauge::new("tidegate_of_another_crate", "Somebody else's.").unwrap();
    assert!(metrics.register(foreign.clone()).is_ok());
    assert!(metrics.register(foreign).is_err());
    assert!(metrics.text().contains("tidegate_of_another_crate 0\n"));
}

fn connection(metrics: &Metrics, flags: ResponseFlags) -> Arc<TcpSeries> {
    let (source, reviews) = (gateway(), reviews());
    metrics.tcp_series(1, flags, || labels(&source, &reviews))
}

#[test]
fn connections_have_istios_names_and_labels() {
    let metrics = Metrics::new("0.1.0");
    let series = connection(&metrics, ResponseFlags::empty());
    series.opened();
    series.received(10);
    series.sent(20);
    series.sent(5);
    connection(&metrics, ResponseFlags::UF | ResponseFlags::URX).closed();
    let text = metrics.text();
    let own = concat!(
        r#"{reporter="source",source_workload="istio-ingressgateway","#,
        r#"source_canonical_service="istio-ingressgateway",source_canonical_revision="latest","#,
        r#"source_workload_namespace="istio-system",source_principal="unknown","#,
        r#"source_app="istio-ingressgateway",source_version="unknown",source_cluster="unknown","#,
        r#"destination_workload="unknown",destination_workload_namespace="unknown","#,
        r#"destination_principal="unknown",destination_app="unknown",destination_version="v2","#,
        r#"destination_service="reviews.default.svc.cluster.local","#,
        r#"destination_canonical_service="unknown",destination_canonical_revision="latest","#,
        r#"destination_service_name="reviews",destination_service_namespace="default","#,
        r#"destination_cluster="unknown",request_protocol="tcp","#,
        r#"response_flags="-",connection_security_policy="unknown"}"#,
    );
    assert_eq!(own.matches("=\"").count(), 23);
    for (name, count) in [
        ("istio_tcp_connections_opened_total", 1),
        ("istio_tcp_connections_closed_total", 0),
        ("istio_tcp_received_bytes_total", 10),
        ("istio_tcp_sent_bytes_total", 25),
    ] {
        let lines = lines(&text, name);
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0], format!("{name}{own} {count}"));
        assert_eq!(value(lines[1], "response_flags"), "URX,UF");
        assert!(text.contains(&format!("# TYPE {name} counter\n")), "{text}");
    }
    assert!(!text.contains("istio_requests_total"), "{text}");
}

/// Promise 17, and an open connection is still there to be counted in.
#[test]
fn connections_long_gone_are_forgotten_and_open_ones_are_not() {
    let metrics = Metrics::new("0.1.0");
    connection(&metrics, ResponseFlags::UH).closed();
    let open = connection(&metrics, ResponseFlags::empty());
    open.opened();
    for _ in 0..3 {
        metrics.forget_idle_series();
    }
    open.sent(7);
    let text = metrics.text();
    assert_eq!(
        lines(&text, "istio_tcp_sent_bytes_total").len(),
        1,
        "{text}"
    );
    assert!(lines(&text, "istio_tcp_sent_bytes_total")[0].ends_with(" 7"));
}

/// Every client library has metrics of these names, and two of a name would be one too many.
#[test]
fn beside_an_application_the_process_has_a_prefix() {
    let metrics = Metrics::beside("0.1.0", "istio_agent_");
    let text = metrics.text();
    assert!(text.contains("\nistio_agent_process_open_fds "), "{text}");
    assert!(!text.contains("\nprocess_"), "{text}");
}

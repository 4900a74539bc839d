use super::{Snapshot, Surroundings};
use rules::{
    Cluster, ClusterKey, ConnectionPool, Endpoint, EndpointAddr, Endpoints, ServicePort, Table,
    UpstreamProtocol, Workload,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use traffic::Choice;

fn table(connect_timeout: u64, subset: Option<&str>) -> Arc<Table> {
    let key = ClusterKey {
        view: None,
        host: "a.test".into(),
        subset: subset.map(Into::into),
        port: 80,
    };
    let subset_labels = subset.map(|version| ("version".to_owned(), version.to_owned()));
    let cluster = Cluster {
        subset_labels: subset_labels.into_iter().collect(),
        pool: ConnectionPool {
            connect_timeout: Duration::from_secs(connect_timeout),
            ..ConnectionPool::default()
        },
        ..Cluster::plain(key.clone(), UpstreamProtocol::Http1)
    };
    let mut table = Table::default();
    table.clusters.insert(key, Arc::new(cluster));
    Arc::new(table)
}

fn endpoints(addresses: &[(&str, &str)]) -> Endpoints {
    let endpoint = |(address, version): &(&str, &str)| Endpoint {
        workload: Some(Arc::new(of_version(version))),
        ..Endpoint::at(EndpointAddr::Tcp(address.parse().unwrap()))
    };
    let mut endpoints = Endpoints::default();
    let service = ServicePort {
        view: None,
        host: "a.test".into(),
        port: 80,
    };
    endpoints
        .services
        .insert(service, addresses.iter().map(endpoint).collect());
    endpoints
}

fn of_version(version: &str) -> Workload {
    let labels = [("version".to_owned(), version.to_owned())];
    Workload {
        labels: Arc::new(labels.into()),
        ..Workload::default()
    }
}

fn next(before: &Snapshot, table: Arc<Table>, endpoints: &Endpoints) -> Snapshot {
    let metrics = telemetry::Metrics::new("test");
    let around = Surroundings {
        metrics: metrics.own(),
        is_unhealthy: &|_, _| false,
        now: Instant::now(),
    };
    before.next(table, endpoints, Arc::default(), &around)
}

fn only(snapshot: &Snapshot) -> Arc<super::Cluster> {
    snapshot.clusters.values().next().unwrap().clone()
}

#[test]
fn a_cluster_that_did_not_change_is_shared() {
    let first = next(
        &Snapshot::default(),
        table(1, None),
        &endpoints(&[("127.0.0.1:1", "v1")]),
    );
    let second = next(&first, table(1, None), &endpoints(&[("127.0.0.1:1", "v1")]));
    assert!(Arc::ptr_eq(&only(&first), &only(&second)));
}

#[test]
fn endpoints_keep_their_counters_when_others_or_the_policy_change() {
    let first = next(
        &Snapshot::default(),
        table(1, None),
        &endpoints(&[("127.0.0.1:1", "v1")]),
    );
    let _in_flight = only(&first).endpoints.members()[0].state.begin();
    let second = next(
        &first,
        table(2, None),
        &endpoints(&[("127.0.0.1:2", "v1"), ("127.0.0.1:1", "v1")]),
    );
    let active: Vec<_> = only(&second)
        .endpoints
        .members()
        .iter()
        .map(|member| member.state.active())
        .collect();
    assert_eq!(active, [0, 1]);
    assert_eq!(only(&first).labels_id, only(&second).labels_id);
}

#[test]
fn a_subset_has_the_endpoints_with_its_labels() {
    let both = endpoints(&[("127.0.0.1:1", "v1"), ("127.0.0.1:2", "v2")]);
    let snapshot = next(&Snapshot::default(), table(1, Some("v2")), &both);
    let addresses: Vec<_> = only(&snapshot)
        .endpoints
        .members()
        .iter()
        .map(|member| member.value.address.to_string())
        .collect();
    assert_eq!(addresses, ["127.0.0.1:2"]);
    assert_eq!(&*only(&snapshot).name, "outbound|80|v2|a.test");
}

#[test]
fn a_service_without_endpoints_makes_an_empty_cluster() {
    let snapshot = next(&Snapshot::default(), table(1, None), &Endpoints::default());
    assert_eq!(only(&snapshot).select(Choice::default(), &mut |_| 0), None);
}

use super::{Snapshot, Surroundings};
use proptest::{collection, option, prelude::*};
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

/// One of eight clusters, of four service ports.
fn key(number: usize) -> ClusterKey {
    let is = |bit: usize| number & bit != 0;
    ClusterKey {
        host: if is(1) { "b.test" } else { "a.test" }.into(),
        port: if is(2) { 81 } else { 80 },
        subset: is(4).then(|| "v1".into()),
        view: None,
    }
}

/// A change of what is published.
#[derive(Clone, Debug)]
enum Step {
    /// The cluster is there, with this timeout, or is gone.
    Cluster(usize, Option<u64>),
    /// The service port has so many endpoints, or is gone.
    Endpoints(usize, Option<u8>),
}

impl Step {
    fn is_about(&self, key: &ClusterKey) -> bool {
        match *self {
            Self::Cluster(number, _) => *key == self::key(number),
            Self::Endpoints(number, _) => key.service() == self::key(number).service(),
        }
    }
}

fn publications() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let cluster = (0..8_usize, option::of(1..3_u64));
    let endpoints = (0..4_usize, option::of(0..3_u8));
    let step = prop_oneof![
        cluster.prop_map(|(number, timeout)| Step::Cluster(number, timeout)),
        endpoints.prop_map(|(number, count)| Step::Endpoints(number, count)),
    ];
    collection::vec(collection::vec(step, 1..4), 1..12)
}

fn take(step: &Step, table: &mut Table, endpoints: &mut Endpoints) {
    match *step {
        Step::Cluster(number, None) => drop(table.clusters.remove(&key(number))),
        Step::Cluster(number, Some(timeout)) => {
            let mut cluster = Cluster::plain(key(number), UpstreamProtocol::Http1);
            cluster.pool.connect_timeout = Duration::from_secs(timeout);
            table.clusters.insert(key(number), Arc::new(cluster));
        }
        Step::Endpoints(number, None) => drop(endpoints.services.remove(&key(number).service())),
        Step::Endpoints(number, Some(count)) => {
            let address = |last| EndpointAddr::Tcp(([127, 0, 0, last], 80).into());
            let list = (0..count).map(|last| Endpoint::at(address(last)));
            let service = key(number).service();
            endpoints.services.insert(service, list.collect());
        }
    }
}

proptest! {
    /// What is found to have changed is all that has.
    #[test]
    fn clusters_are_as_if_they_were_made_anew(publications in publications()) {
        let (mut table, mut endpoints) = (Table::default(), Endpoints::default());
        let mut snapshot = Snapshot::default();
        for steps in &publications {
            for step in steps {
                take(step, &mut table, &mut endpoints);
            }
            let published = Table { clusters: table.clusters.clone(), ..Table::default() };
            let after = next(&snapshot, Arc::new(published), &endpoints);
            prop_assert_eq!(after.clusters.len(), table.clusters.len());
            for (key, definition) in table.clusters.iter() {
                let cluster = &after.clusters[key];
                prop_assert_eq!(&cluster.definition, definition);
                let members = cluster.endpoints.members().iter();
                let found: Vec<_> = members.map(|member| member.value.address.clone()).collect();
                let list = endpoints.services.get(&key.service());
                let list = list.into_iter().flat_map(|list| list.iter());
                let want: Vec<_> = list.map(|one| one.address.clone()).collect();
                prop_assert_eq!(found, want, "{} after {:?}", key, steps);
                let is_meant = steps.iter().any(|step| step.is_about(key));
                let before = snapshot.clusters.get(key);
                prop_assert!(is_meant || before.is_some_and(|one| Arc::ptr_eq(one, cluster)));
            }
            snapshot = after;
        }
    }
}

//! What one change costs among ten thousand Services, each with a VirtualService and ten endpoints.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up must stop"
)]

use config::{Change, Configuration, Content, CredentialSettings, Settings};
use criterion::{Criterion, criterion_group, criterion_main};
use model::Defaults;
use rules::CompileOptions;
use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

const SERVICES: usize = 10_000;

fn change(kind: &str, number: usize, text: String) -> Change {
    Change {
        file: format!("kubernetes:{kind}/n{}/s{number}", number % 100).into(),
        content: Content::Text(Arc::from(text)),
    }
}

fn head(version: &str, kind: &str, number: usize) -> String {
    format!(
        r#""apiVersion": "{version}", "kind": "{kind}", "metadata": {{"name": "s{number}", "namespace": "n{}""#,
        number % 100
    )
}

fn service(number: usize) -> Change {
    let head = head("v1", "Service", number);
    let text = format!(
        r#"{{{head}}}, "spec": {{"ports": [{{"name": "http", "port": 80}}], "selector": {{"app": "s"}}}}}}"#
    );
    change("Service", number, text)
}

fn slice(number: usize, last: usize) -> Change {
    let head = head("discovery.k8s.io/v1", "EndpointSlice", number);
    let endpoints = (0..10).map(|other| {
        let [_, _, middle, low] = (number as u32).to_be_bytes();
        let first = if other == 9 { 100 + last } else { other };
        format!(r#"{{"addresses": ["10.{first}.{middle}.{low}"]}}"#)
    });
    let endpoints: Vec<_> = endpoints.collect();
    let text = format!(
        r#"{{{head}, "labels": {{"kubernetes.io/service-name": "s{number}"}}}}, "addressType": "IPv4",
        "ports": [{{"name": "http", "port": 8080}}], "endpoints": [{}]}}"#,
        endpoints.join(", ")
    );
    change("EndpointSlice", number, text)
}

fn virtual_service(number: usize, timeout: usize) -> Change {
    let head = head("networking.istio.io/v1", "VirtualService", number);
    let text = format!(
        r#"{{{head}}}, "spec": {{"hosts": ["h{number}.example.com"], "gateways": ["istio-system/edge"], "http": [
        {{"match": [{{"uri": {{"prefix": "/api"}}}}], "timeout": "{}s",
          "route": [{{"destination": {{"host": "s{number}"}}}}]}}]}}}}"#,
        1 + timeout
    );
    change("VirtualService", number, text)
}

fn gateway() -> Change {
    let text = r#"{"apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "istio-system"}, "spec": {"selector": {}, "servers": [
        {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}}"#;
    change("Gateway", 0, text.to_owned())
}

fn full() -> Configuration {
    let settings = Settings {
        defaults: Defaults::default(),
        compile: CompileOptions::default(),
        last_good: None,
        credentials: CredentialSettings::default(),
    };
    let mut configuration = Configuration::new(settings);
    let of_each = (0..SERVICES).flat_map(|number| {
        [
            service(number),
            slice(number, 0),
            virtual_service(number, 0),
        ]
    });
    configuration.apply(of_each.chain([gateway()]).collect());
    let published = configuration.compile(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(published.diagnostics.len(), 0);
    assert_eq!(published.table.clusters.len(), SERVICES);
    configuration
}

/// As the controller does for each change.
fn compiled(configuration: &mut Configuration, change: Change) {
    configuration.apply(vec![change]);
    black_box(configuration.compile(SystemTime::UNIX_EPOCH).unwrap());
}

fn one_change(criterion: &mut Criterion) {
    let mut configuration = full();
    let mut number = 0;
    criterion.bench_function("virtual_service", |bencher| {
        bencher.iter(|| {
            number += 1;
            let changed = virtual_service(number * 37 % SERVICES, number % 90);
            compiled(&mut configuration, changed);
        });
    });
    criterion.bench_function("endpoint_slice", |bencher| {
        bencher.iter(|| {
            number += 1;
            compiled(
                &mut configuration,
                slice(number * 37 % SERVICES, 1 + number % 90),
            );
        });
    });
    criterion.bench_function("service", |bencher| {
        bencher.iter(|| {
            number += 1;
            let Change { file, .. } = service(number * 37 % SERVICES);
            let gone = Change {
                file,
                content: Content::Gone,
            };
            compiled(&mut configuration, gone);
            compiled(&mut configuration, service(number * 37 % SERVICES));
        });
    });
}

criterion_group!(changes, one_change);
criterion_main!(changes);

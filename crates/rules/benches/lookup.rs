//! How long a decision takes as configuration grows: it should not.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use model::{Origin, ResourceRef};
use rules::{
    Action, DirectResponseAction, HeaderKey, HeaderMatch, HeaderOps, PathMatch, Pattern, Predicate,
    RequestHead, Route, RouteSet, TextMatch, VirtualHost, VirtualHosts,
};
use std::hint::black_box;
use std::sync::Arc;

/// The predicate of one of many routes.
type Kind = fn(usize) -> Predicate;

const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn route(predicate: Predicate) -> Arc<Route> {
    let resource = ResourceRef {
        kind: "VirtualService".into(),
        namespace: "default".into(),
        name: "bench".into(),
    };
    let action = DirectResponseAction {
        status: StatusCode::OK,
        body: bytes::Bytes::new(),
        response_headers: HeaderOps::default(),
    };
    Arc::new(Route {
        name: "".into(),
        predicate,
        action: Action::DirectResponse(action),
        origin: Arc::new(Origin {
            resource,
            path: String::new(),
            position: None,
        }),
    })
}

fn virtual_host(domain: &str, routes: Vec<Arc<Route>>) -> Arc<VirtualHost> {
    Arc::new(VirtualHost {
        name: domain.into(),
        domain: domain.into(),
        https_redirect: None,
        routes: Arc::new(RouteSet::new(routes)),
    })
}

fn listener(hosts: impl IntoIterator<Item = Arc<VirtualHost>>) -> VirtualHosts {
    VirtualHosts::new(hosts)
}

fn on_path(uri: PathMatch) -> Predicate {
    Predicate {
        uri: Some(uri),
        ..Predicate::default()
    }
}

fn prefix(at: usize) -> Predicate {
    on_path(PathMatch::Prefix(format!("/service-{at}/")))
}

fn exact(at: usize) -> Predicate {
    on_path(PathMatch::Exact(format!("/service-{at}/item")))
}

fn regex(at: usize) -> Predicate {
    let pattern = Pattern::parse(&format!("/service-{at}/[a-z]+")).expect("a valid expression");
    on_path(PathMatch::Regex(pattern))
}

fn header(at: usize) -> Predicate {
    let key = HeaderKey::Header(HeaderName::from_static("x-tenant"));
    let header = HeaderMatch::required(key, TextMatch::Exact(format!("tenant-{at}")));
    Predicate {
        headers: vec![header],
        ..on_path(PathMatch::Prefix("/".into()))
    }
}

/// The last of many routes of one kind is found.
fn routes(criterion: &mut Criterion) {
    let kinds: [(&str, Kind); 4] = [
        ("prefix", prefix),
        ("exact", exact),
        ("regex", regex),
        ("header", header),
    ];
    for (kind, predicate) in kinds {
        let mut group = criterion.benchmark_group(format!("routes/{kind}"));
        for size in SIZES {
            let routes = (0..size).map(|at| route(predicate(at))).collect();
            let listener = listener([virtual_host("shop.test", routes)]);
            let last = size - 1;
            let path = format!("/service-{last}/item");
            let mut headers = HeaderMap::new();
            let tenant = HeaderValue::from_str(&format!("tenant-{last}")).expect("a valid value");
            headers.insert("x-tenant", tenant);
            let head = head("shop.test", &path, &headers);
            let decision = listener.decide(&head, &mut |_: u32| 0);
            assert!(decision.route.is_some(), "{kind} {size}");
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| {
                    listener
                        .decide(black_box(&head), &mut |_: u32| 0)
                        .route
                        .is_some()
                });
            });
        }
        group.finish();
    }
}

/// One exact and one wildcard host are looked up among many, half of them wildcards.
fn hosts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hosts");
    for size in SIZES {
        let domain = |at: usize| match at % 2 {
            0 => format!("app-{at}.shop.test"),
            _ => format!("*.team-{at}.shop.test"),
        };
        let all = (0..size).map(|at| virtual_host(&domain(at), vec![route(Predicate::default())]));
        let listener = listener(all);
        let (exact, wildcard) = (size - 2, size - 1);
        let cases = [
            ("exact", format!("app-{exact}.shop.test:80")),
            ("wildcard", format!("a.b.team-{wildcard}.shop.test")),
        ];
        for (kind, authority) in cases {
            let headers = HeaderMap::new();
            let head = head(&authority, "/", &headers);
            assert!(
                listener
                    .decide(&head, &mut |_: u32| 0)
                    .virtual_host
                    .is_some(),
                "{authority}"
            );
            group.bench_function(BenchmarkId::new(kind, size), |bencher| {
                bencher.iter(|| {
                    listener
                        .decide(black_box(&head), &mut |_: u32| 0)
                        .route
                        .is_some()
                });
            });
        }
    }
    group.finish();
}

fn head<'a>(authority: &'a str, path: &'a str, headers: &'a HeaderMap) -> RequestHead<'a> {
    RequestHead {
        method: "GET",
        scheme: "http",
        authority,
        path,
        query: None,
        headers,
    }
}

criterion_group!(benches, routes, hosts);
criterion_main!(benches);

//! What a forward proxy's registry costs as it grows: a look-up, a compilation, memory.
//!
//! Half of the ServiceEntries are wildcards. A change and memory are those of table and endpoints; memory without the
//! resources, and with what the next compilation uses again.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up must stop, and says what it measured"
)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use model::{Defaults, Resources};
use rules::{
    CallerOptions, CompileOptions, Compiler, EgressMode, Endpoints, ForwardProxyOptions, HeadFacts,
    NameOptions, Outbound, Reached, RequestHead, Serves, Table, Target,
};
use std::hint::black_box;
use std::sync::Arc;

#[path = "../tests/egress/agreement/nobody.rs"]
mod nobody;

use nobody::Nobody;

const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// What the entries of a registry are like.
#[derive(Clone, Copy)]
enum Kind {
    /// HTTP on port 80.
    Http,
    /// TLS on port 443.
    Tls,
    /// TCP for a network.
    Networks,
    /// TLS, each on a port of its own.
    Ports,
}

/// Whose view of the registry is compiled.
#[derive(Clone, Copy)]
enum Client {
    Own,
    Foreign,
}

fn entry(kind: Kind, at: usize) -> String {
    let host = match at % 2 {
        0 => format!("app-{at}.shop.test"),
        _ => format!("*.team-{at}.shop.test"),
    };
    let (port, protocol, addresses) = match kind {
        Kind::Http => (80, "HTTP", String::new()),
        Kind::Tls => (443, "TLS", String::new()),
        Kind::Networks => (5432, "TCP", network(at)),
        Kind::Ports => (1_000 + at, "TLS", String::new()),
    };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{at}}}\nspec:\n  \
         hosts: [\"{host}\"]\n  addresses: [{addresses}]\n  \
         ports: [{{number: {port}, name: p, protocol: {protocol}}}]\n---\n"
    )
}

/// Networks of several lengths.
fn network(at: usize) -> String {
    let (high, low) = (at / 256, at % 256);
    match at % 3 {
        0 => format!("10.{high}.{low}.0/24"),
        1 => format!("10.{high}.{low}.128/25"),
        _ => format!("10.{high}.{low}.7"),
    }
}

fn parsed(text: &str) -> Resources {
    let parsed = model::parse(&"bench.yaml".into(), text, &Defaults::default());
    let accepted = parsed.objects.iter();
    accepted
        .map(|object| object.outcome.resource().cloned().unwrap())
        .collect()
}

fn registry(kind: Kind, size: usize) -> Resources {
    let mut all = Resources::default();
    for at in 0..size {
        for resource in parsed(&entry(kind, at)).iter() {
            all.insert(resource);
        }
    }
    all
}

fn fresh(client: Client) -> Compiler {
    let caller = match client {
        Client::Own => CallerOptions::default(),
        Client::Foreign => CallerOptions {
            namespace: "client".into(),
            ..CallerOptions::default()
        },
    };
    Compiler::new(CompileOptions {
        forward_proxy: Some(ForwardProxyOptions {
            address: ([127, 0, 0, 1], 3128).into(),
            tls: None,
            clients: Vec::new(),
            others: Some(caller),
            mode: EgressMode::Enforce,
        }),
        ..CompileOptions::default()
    })
}

fn outbound(table: &Table) -> Arc<Outbound> {
    let listeners = table.listeners.values();
    let mut outbounds = listeners.filter_map(|one| match &one.serves {
        Serves::ForwardProxy(proxy) => Some(proxy.others.as_ref()?.outbound.clone()),
        _ => None,
    });
    outbounds.next().unwrap()
}

fn is_reached(outbound: &Outbound, target: &Target) -> bool {
    matches!(outbound.reach(black_box(target)), Reached::Service(_))
}

fn is_decided(outbound: &Outbound, target: &Target, head: &RequestHead<'_>) -> bool {
    let dice = &mut |_: u32| 0;
    let decided = outbound.decide(black_box(target), head, dice, &HeadFacts(head), &mut Nobody);
    decided.1.is_none()
}

/// Look-ups for connections, and for requests where there are any.
fn look_ups(criterion: &mut Criterion) {
    for size in SIZES {
        let (exact, wild) = (size - 2, size - 1);
        let cases = [
            (Kind::Tls, "exact", format!("app-{exact}.shop.test:443")),
            (
                Kind::Tls,
                "wildcard",
                format!("a.b.team-{wild}.shop.test:443"),
            ),
            (Kind::Tls, "denied", "a.b.c.other.test:443".to_owned()),
            (Kind::Http, "exact", format!("app-{exact}.shop.test:80")),
            (
                Kind::Http,
                "wildcard",
                format!("a.b.team-{wild}.shop.test:80"),
            ),
            (Kind::Http, "denied", "a.b.c.other.test:80".to_owned()),
            (
                Kind::Networks,
                "address",
                format!("10.{}.{}.200:5432", exact / 256, exact % 256),
            ),
            (Kind::Networks, "no address", "192.0.2.1:5432".to_owned()),
            (
                Kind::Ports,
                "denied on all ports",
                "a.b.c.other.test:1000".to_owned(),
            ),
            (
                Kind::Ports,
                "denied on this port",
                "app-0.shop.test:999".to_owned(),
            ),
        ];
        for (kind, name, target) in cases {
            let (table, _) = fresh(Client::Own).compile(&registry(kind, size));
            let outbound = outbound(&table);
            let target = Target::parse(&target, None).unwrap();
            let id = |way: &str| format!("{way}/{name}/{size}");
            if !matches!(kind, Kind::Http) {
                criterion.bench_function(&id("reach"), |bencher| {
                    bencher.iter(|| is_reached(&outbound, &target));
                });
                continue;
            }
            let headers = HeaderMap::new();
            let authority = target.to_string();
            let head = RequestHead {
                method: "GET",
                scheme: "http",
                authority: &authority,
                path: "/",
                query: None,
                headers: &headers,
            };
            criterion.bench_function(&id("decide"), |bencher| {
                bencher.iter(|| is_decided(&outbound, &target, &head));
            });
        }
    }
}

/// What names stand for, for a client that may ask for them.
fn names(criterion: &mut Criterion) {
    for size in SIZES {
        let mut options = fresh(Client::Own).options().clone();
        options.names = Some(NameOptions::default());
        let (table, _) = Compiler::new(options).compile(&registry(Kind::Networks, size));
        let (outbound, endpoints) = (outbound(&table), Endpoints::default());
        let (exact, wild) = (size - 2, size - 1);
        for (name, asked) in [
            ("exact", format!("app-{exact}.shop.test")),
            ("wildcard", format!("a.b.team-{wild}.shop.test")),
            ("unknown", "a.b.c.other.test".to_owned()),
        ] {
            criterion.bench_function(&format!("name/{name}/{size}"), |bencher| {
                bencher.iter(|| outbound.names.find(black_box(&asked), &endpoints));
            });
        }
    }
}

/// All for the first time, and again after one of them is another.
fn compilations(criterion: &mut Criterion) {
    for size in SIZES {
        for (name, client) in [("own", Client::Own), ("foreign", Client::Foreign)] {
            let resources = registry(Kind::Http, size);
            criterion.bench_function(&format!("compile/{name}/{size}"), |bencher| {
                let first = |mut compiler: Compiler| {
                    let table = compiler.compile(&resources);
                    (compiler, table)
                };
                bencher.iter_batched(|| fresh(client), first, BatchSize::PerIteration);
            });
            criterion.bench_function(&format!("change/{name}/{size}"), |bencher| {
                let mut compiler = fresh(client);
                let mut resources = resources.clone();
                let mut table = compiler.compile(&resources);
                let answers = Arc::default();
                let mut endpoints = compiler.endpoints(&resources, &answers);
                let changes = [Kind::Http, Kind::Tls].map(|kind| parsed(&entry(kind, 7)));
                let mut turn = 0;
                bencher.iter(|| {
                    turn += 1;
                    for resource in changes[turn % 2].iter() {
                        resources.insert(resource);
                    }
                    table = compiler.compile(&resources);
                    endpoints = compiler.endpoints(&resources, &answers);
                });
            });
        }
    }
}

/// Bytes that stay in use for each entry.
fn memory(_: &mut Criterion) {
    for (name, kind) in [
        ("http", Kind::Http),
        ("tls", Kind::Tls),
        ("networks", Kind::Networks),
    ] {
        for (whose, client) in [("own", Client::Own), ("foreign", Client::Foreign)] {
            let size = 10_000;
            let resources = registry(kind, size);
            let mut kept = None;
            let all = allocation_counter::measure(|| {
                let mut compiler = fresh(client);
                let compiled = (
                    compiler.compile(&resources),
                    compiler.endpoints(&resources, &Arc::default()),
                );
                kept = Some((compiler, compiled));
            });
            let of_table = allocation_counter::measure(|| {
                kept = kept.take().map(|(_, compiled)| (fresh(client), compiled));
            });
            let each = |bytes: i64| bytes / size as i64;
            println!(
                "memory/{name}/{whose}: {} bytes for each of {size} entries, {} of them of table and endpoints",
                each(all.bytes_current),
                each(all.bytes_current + of_table.bytes_current),
            );
        }
    }
}

criterion_group!(benches, memory, look_ups, names, compilations);
criterion_main!(benches);

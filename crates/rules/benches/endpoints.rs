//! That a change of one service's endpoints costs little, however many others there are.
//!
//! A hundred services with ten endpoints each; one of them has another address each time, in an EndpointSlice, as a
//! Pod, or behind a name.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up must stop"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use model::{Defaults, Resources};
use rules::{CompileOptions, Compiler, NameAnswer, NameAnswers};
use std::hint::black_box;
use std::sync::Arc;

const SERVICES: usize = 100;

fn parsed(text: &str) -> Resources {
    let parsed = model::parse(&"bench.yaml".into(), text, &Defaults::default());
    let accepted = parsed.objects.iter();
    accepted
        .map(|object| object.outcome.resource().cloned().unwrap())
        .collect()
}

fn service(number: usize) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec:\n  selector: {{app: s{number}}}\n  \
         ports: [{{name: http, port: 80}}]\n---\n"
    )
}

fn slice(number: usize, last: usize) -> String {
    let endpoints = (0..10).map(|other| match other {
        9 => format!("{{addresses: [10.1.{number}.{last}]}}"),
        _ => format!("{{addresses: [10.0.{number}.{other}]}}"),
    });
    let endpoints: Vec<_> = endpoints.collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: s{number}-1, labels: {{kubernetes.io/service-name: s{number}}}}}\naddressType: IPv4\n\
         ports: [{{name: http, port: 80}}]\nendpoints: [{}]\n---\n",
        endpoints.join(", ")
    )
}

fn pod(number: usize, other: usize, last: usize) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: s{number}-{other}, labels: {{app: s{number}}}}}\n\
         status: {{podIP: 10.{other}.{number}.{last}}}\n---\n"
    )
}

fn entry(number: usize) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{number}}}\nspec:\n  \
         hosts: [e{number}.test]\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  resolution: DNS\n---\n"
    )
}

fn changed_in_turn(criterion: &mut Criterion, name: &str, all: String, changes: [String; 2]) {
    let mut resources = parsed(&all);
    let changes = changes.map(|text| parsed(&text));
    let mut compiler = Compiler::new(CompileOptions::default());
    let answers = Arc::default();
    compiler.endpoints(&resources, &answers);
    let mut turn = 0;
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            turn += 1;
            for resource in changes[turn % 2].iter() {
                resources.insert(resource);
            }
            black_box(compiler.endpoints(&resources, &answers))
        });
    });
}

fn slices(criterion: &mut Criterion) {
    let all = (0..SERVICES).map(|number| service(number) + &slice(number, 1));
    let changes = [slice(7, 2), slice(7, 3)];
    changed_in_turn(criterion, "one slice of 100", all.collect(), changes);
}

fn pods(criterion: &mut Criterion) {
    let all = (0..SERVICES).map(|number| {
        let pods = (0..10).map(|other| pod(number, other, 1));
        service(number) + &pods.collect::<String>()
    });
    let changes = [pod(7, 7, 2), pod(7, 7, 3)];
    changed_in_turn(criterion, "one pod of 1000", all.collect(), changes);
}

fn names(criterion: &mut Criterion) {
    let all: String = (0..SERVICES).map(entry).collect();
    let resources = parsed(&all);
    let mut compiler = Compiler::new(CompileOptions::default());
    let mut answers = Arc::new(NameAnswers::new());
    compiler.endpoints(&resources, &answers);
    let mut turn = 0;
    criterion.bench_function("one name of 100", |bencher| {
        bencher.iter(|| {
            turn += 1;
            let answer = NameAnswer {
                addresses: vec![[192, 0, 2, turn].into()],
                ..NameAnswer::default()
            };
            turn %= 100;
            Arc::make_mut(&mut answers).insert("e7.test".try_into().unwrap(), answer);
            black_box(compiler.endpoints(&resources, &answers))
        });
    });
}

fn everything(criterion: &mut Criterion) {
    let all = (0..SERVICES).map(|number| service(number) + &slice(number, 1));
    let resources = parsed(&all.collect::<String>());
    criterion.bench_function("everything for the first time", |bencher| {
        bencher.iter(|| {
            let mut compiler = Compiler::new(CompileOptions::default());
            black_box(compiler.endpoints(&resources, &Arc::default()))
        });
    });
}

criterion_group!(benches, slices, pods, names, everything);
criterion_main!(benches);

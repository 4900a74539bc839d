//! What holds for every file.

use crate::render::{Quotes, Style, render};
use crate::support::{Case, cases, injected};
use inject::{InjectOptions, inject};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::{Arc, OnceLock};

fn style() -> impl Strategy<Value = Style> {
    let layout = (
        prop_oneof![Just(2_usize), Just(4)],
        any::<bool>(),
        prop_oneof![3 => Just(99_usize), 1 => 0_usize..8],
    );
    let rest = (
        any::<bool>(),
        any::<bool>(),
        prop_oneof![3 => Just("\n"), 1 => Just("\r\n")],
        any::<bool>(),
        any::<bool>(),
    );
    (layout, rest).prop_map(
        |((step, dashes, brackets_from), (quotes, has_comments, newline, end, has_marker))| Style {
            step,
            dash: if dashes { step } else { 0 },
            brackets_from,
            quotes: if quotes {
                Quotes::Single
            } else {
                Quotes::Double
            },
            has_comments,
            newline,
            ends_with_newline: end,
            has_marker,
        },
    )
}

fn probe() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"httpGet": {"path": "/health?x='y'", "port": "web"}, "periodSeconds": 5})),
        Just(
            json!({"httpGet": {"host": "localhost", "path": "/", "port": 8080, "scheme": "HTTPS"}})
        ),
        Just(json!({"timeoutSeconds": 2, "tcpSocket": {"host": "127.0.0.1", "port": 8080}})),
        Just(json!({"tcpSocket": {"port": 8080}})),
        Just(json!({"grpc": {"port": 9000, "service": "a.B"}})),
        Just(json!({"exec": {"command": ["cat", "/tmp/x"]}})),
    ]
}

/// Some of these entries.
fn some_of(entries: Vec<(&'static str, Value)>) -> impl Strategy<Value = Map<String, Value>> {
    let count = entries.len();
    prop::sample::subsequence(entries, 0..=count).prop_map(|entries| {
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    })
}

fn container(name: String) -> impl Strategy<Value = Value> {
    let probes = prop::collection::btree_map(
        prop_oneof![
            Just("readinessProbe"),
            Just("livenessProbe"),
            Just("startupProbe")
        ],
        probe(),
        0..3,
    );
    let rest = some_of(vec![
        ("args", json!(["-x", "a b", "yes", "# no comment", "{}"])),
        (
            "env",
            json!([{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        ),
        ("resources", json!({})),
        ("command", json!(["sh", "-c", "echo \"x\"\nsleep 1\n"])),
        (
            "lifecycle",
            json!({"preStop": {"httpGet": {"path": "/bye", "port": "web"}}}),
        ),
        ("volumeMounts", json!([])),
    ]);
    (probes, rest).prop_map(move |(probes, mut map)| {
        map.insert("name".to_owned(), json!(name));
        map.insert("image".to_owned(), json!("registry.example/app:1"));
        map.insert(
            "ports".to_owned(),
            json!([{"name": "web", "containerPort": 8080}]),
        );
        map.extend(
            probes
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value)),
        );
        Value::Object(map)
    })
}

fn containers(
    prefix: &'static str,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<Value>> {
    count.prop_flat_map(move |count| {
        (0..count)
            .map(|index| container(format!("{prefix}{index}")))
            .collect::<Vec<_>>()
    })
}

fn metadata() -> impl Strategy<Value = Map<String, Value>> {
    let labels = some_of(vec![
        ("app", json!("shop")),
        ("version", json!("1.2")),
        ("security.istio.io/tlsMode", json!("istio")),
    ]);
    let annotations = some_of(vec![
        ("prometheus.io/scrape", json!("true")),
        ("prometheus.io/port", json!("9090")),
        ("prometheus.io.path", json!("/m")),
        ("sidecar.istio.io/proxyCPU", json!("1")),
        (
            "traffic.sidecar.istio.io/excludeOutboundPorts",
            json!("5432,3306"),
        ),
        (
            "proxy.istio.io/config",
            json!("concurrency: 1\nproxyMetadata:\n  A: \"b\"\n"),
        ),
        ("note", json!("two\nlines")),
    ]);
    let null_or = |map: Map<String, Value>, is_null: bool| {
        if map.is_empty() && is_null {
            Value::Null
        } else {
            Value::Object(map)
        }
    };
    (labels, annotations, any::<bool>(), 0..4_u8).prop_map(
        move |(labels, annotations, is_null, keys)| {
            let mut metadata = Map::new();
            if keys & 1 > 0 {
                metadata.insert("labels".to_owned(), null_or(labels, is_null));
            }
            if keys & 2 > 0 {
                metadata.insert("annotations".to_owned(), null_or(annotations, is_null));
            }
            metadata
        },
    )
}

fn pod() -> impl Strategy<Value = Value> {
    let rest = some_of(vec![
        ("volumes", json!([{"name": "tmp", "emptyDir": {}}])),
        ("imagePullSecrets", json!([])),
        ("serviceAccountName", json!("shop")),
        ("nodeSelector", json!({"disk": "ssd"})),
        ("tolerations", Value::Null),
    ]);
    (
        metadata(),
        containers("app", 1..3),
        containers("init", 0..2),
        rest,
    )
        .prop_map(|(metadata, apps, inits, mut spec)| {
            spec.insert("containers".to_owned(), Value::Array(apps));
            if !inits.is_empty() {
                spec.insert("initContainers".to_owned(), Value::Array(inits));
            }
            json!({"metadata": metadata, "spec": spec})
        })
}

/// An object that makes pods, or a List of one.
fn workload() -> impl Strategy<Value = Value> {
    let kinds = prop_oneof![
        Just("Deployment"),
        Just("Job"),
        Just("CronJob"),
        Just("Pod"),
        Just("List")
    ];
    (kinds, pod()).prop_map(|(kind, mut pod)| match kind {
        "Pod" => {
            pod["metadata"]["name"] = json!("a-pod");
            pod["apiVersion"] = json!("v1");
            pod["kind"] = json!("Pod");
            pod
        }
        "CronJob" => json!({"apiVersion": "batch/v1", "kind": kind, "metadata": {"name": "w"},
            "spec": {"jobTemplate": {"spec": {"template": pod}}, "schedule": "* * * * *"}}),
        "Job" => json!({"apiVersion": "batch/v1", "kind": kind, "metadata": {"name": "w"}, "spec": {"template": pod}}),
        "List" => json!({"apiVersion": "v1", "kind": kind, "items": [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "w"}},
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "w"}, "spec": {"template": pod}},
        ]}),
        _ => json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "w"}, "spec": {"replicas": 1, "template": pod}}),
    })
}

fn parsed(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.trim_end_matches('\r'))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// The style of a document decides about its layout and about nothing else.
    #[test]
    fn what_is_added_does_not_depend_on_the_style(workload in workload(), style in style()) {
        let options = InjectOptions::default();
        let text = render(&workload, style);
        prop_assert_eq!(&parsed(&text), &workload, "{}", text);
        let of_style = injected(&text, &options);
        let of_json = injected(&workload.to_string(), &options);
        prop_assert_eq!(parsed(&of_style.text), parsed(&of_json.text), "{}", of_style.text);
        let is_anew = |code: &str| code == "written_anew";
        prop_assert!(!of_style.warnings.iter().any(|warning| is_anew(warning.diagnostic.code)), "{}", text);
    }

    /// But for the lines in which values change, the text has all of its lines, in their order.
    #[test]
    fn everything_else_stays(workload in workload(), style in style()) {
        let text = render(&workload, style);
        let injected = injected(&text, &InjectOptions::default());
        let is_kept = |line: &&str| {
            let is_comment = line.trim_start().starts_with('#');
            is_comment || (style.brackets_from > 20 && !CHANGED.iter().any(|word| line.contains(word)))
        };
        let mut rest = lines(&injected.text);
        for line in lines(&text).filter(is_kept) {
            prop_assert!(rest.any(|other| other == line), "{line:?} is not in its order in\n{}", injected.text);
        }
        prop_assert_eq!(injected.text.contains('\r'), text.contains('\r'));
        prop_assert_eq!(injected.text.ends_with('\n'), text.ends_with('\n'));
    }

    #[test]
    fn once_is_enough(workload in workload(), style in style()) {
        let options = InjectOptions::default();
        let once = injected(&render(&workload, style), &options);
        prop_assert_eq!(&injected(&once.text, &options).text, &once.text);
    }

    /// Promise 19: no file takes the process down.
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}") {
        let _ = inject(&Arc::from("x"), &text, &InjectOptions::default());
    }

    #[test]
    fn no_yaml_makes_it_panic(text in "([ \\-:?\\[\\]{}&*!|>'\"%#,\n\r\tab~]|kind: Pod\n|spec:|containers:|metadata:|apiVersion: v1\n|name: ){0,60}") {
        let _ = inject(&Arc::from("x"), &text, &InjectOptions::default());
    }

    /// A damaged file is refused, or what comes out is sound.
    #[test]
    fn damaged_files_are_no_danger(file in any::<prop::sample::Index>(), edits in prop::collection::vec(edit(), 1..4)) {
        let cases = CASES.get_or_init(|| cases(""));
        let case = &cases[file.index(cases.len())];
        let text = edits.iter().fold(case.text.clone(), |text, edit| edit.apply(&text));
        let Ok(once) = inject(&Arc::from("x"), &text, &case.options) else { return Ok(()) };
        let twice = inject(&Arc::from("x"), &once.text, &case.options);
        prop_assert_eq!(twice.map(|twice| twice.text), Ok(once.text), "{}", text);
    }
}

/// What is in lines whose values change: those of probes and of Prometheus, and those where there was nothing.
const CHANGED: [&str; 12] = [
    "grpc:",
    "host:",
    "httpGet:",
    "path:",
    "port:",
    "prometheus",
    "scheme:",
    "service:",
    "tcpSocket:",
    " {}",
    " []",
    " null",
];

static CASES: OnceLock<Vec<Case>> = OnceLock::new();

/// Damage to a text.
#[derive(Clone, Debug)]
struct Edit {
    at: prop::sample::Index,
    removed: usize,
    put: String,
}

fn edit() -> impl Strategy<Value = Edit> {
    let put = prop_oneof![
        "[ \\-:?\\[\\]{}&*|'\"#\n\ta~]{0,3}",
        Just("\n---\n".to_owned()),
        Just("&x ".to_owned()),
        Just("*x".to_owned())
    ];
    (any::<prop::sample::Index>(), 0..30_usize, put).prop_map(|(at, removed, put)| Edit {
        at,
        removed,
        put,
    })
}

impl Edit {
    fn apply(&self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let at = self.at.index(chars.len() + 1);
        let end = (at + self.removed).min(chars.len());
        chars[..at]
            .iter()
            .copied()
            .chain(self.put.chars())
            .chain(chars[end..].iter().copied())
            .collect()
    }
}

use super::*;
use crate::{
    Change, Configuration, Content, CredentialSettings, Followers, Message, Published, QUEUE,
    Resolve, Settings, start,
};
use model::Defaults;
use rules::{CompileOptions, ServicePort};
use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Instant;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

fn later(seconds: u64) -> SystemTime {
    now() + Duration::from_secs(seconds)
}

fn configuration() -> Configuration {
    Configuration::new(Settings {
        defaults: Defaults::default(),
        compile: CompileOptions::default(),
        last_good: None,
        credentials: CredentialSettings::default(),
    })
}

/// A gateway that sends everything to a ServiceEntry, whose endpoints have these names.
fn entry(names: &[&str]) -> Change {
    let endpoints = names.iter().map(|name| format!("{{address: {name}}}"));
    let endpoints: Vec<_> = endpoints.collect();
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\nspec:\n  servers:\n  - \
         {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: api}}\nspec:\n  \
         hosts: [api.test]\n  gateways: [edge]\n  http: [{{route: [{{destination: {{host: api.test}}}}]}}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: api}}\nspec:\n  \
         hosts: [api.test]\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  resolution: DNS\n  \
         endpoints: [{}]\n",
        endpoints.join(", ")
    );
    Change {
        file: "entry.yaml".into(),
        content: Content::Text(text.into()),
    }
}

fn name(text: &str) -> Hostname {
    Hostname::try_from(text).unwrap()
}

fn told(text: &str, addresses: &[&str], failure: Option<&str>) -> ResolvedName {
    let addresses = addresses.iter().map(|one| one.parse::<IpAddr>().unwrap());
    ResolvedName {
        name: name(text),
        answer: NameAnswer {
            addresses: addresses.collect(),
            failure: failure.map(str::to_owned),
            ..NameAnswer::default()
        },
    }
}

fn addresses(published: &Published) -> Vec<String> {
    let port = ServicePort {
        view: None,
        host: "api.test".into(),
        port: 80,
    };
    let list = published.endpoints.services[&port].iter();
    list.map(|one| one.address.to_string()).collect()
}

fn wanted(configuration: &Configuration) -> Vec<&str> {
    let names = configuration.wanted_names().iter();
    names.map(Hostname::as_str).collect()
}

#[test]
fn an_answer_changes_endpoints_and_never_routes() {
    let mut configuration = configuration();
    configuration.apply(vec![entry(&["a.test", "b.test"])]);
    let first = configuration.compile(now()).unwrap();
    assert_eq!(addresses(&first), [""; 0]);
    assert_eq!(wanted(&configuration), ["a.test", "b.test"]);
    configuration.apply_names(vec![told("b.test", &["192.0.2.2", "192.0.2.3"], None)]);
    let second = configuration.compile(now()).unwrap();
    assert_eq!(addresses(&second), ["192.0.2.2:80", "192.0.2.3:80"]);
    assert!(Arc::ptr_eq(&first.table, &second.table));
    assert!(Arc::ptr_eq(&first.resources, &second.resources));
    let changes = |published: &Published| {
        let changes = published.receipt.changes.iter().map(ToString::to_string);
        changes.collect::<Vec<_>>()
    };
    assert_eq!(changes(&second), ["name b.test added"]);
    configuration.apply_names(vec![told("b.test", &["192.0.2.2"], None)]);
    let third = configuration.compile(now()).unwrap();
    assert_eq!(changes(&third), ["name b.test changed"]);
}

#[test]
fn the_same_answer_again_publishes_nothing() {
    let mut configuration = configuration();
    configuration.apply(vec![entry(&["a.test"])]);
    configuration.compile(now()).unwrap();
    for is_news in [true, false] {
        configuration.apply_names(vec![told("a.test", &["192.0.2.1"], None)]);
        assert_eq!(configuration.compile(now()).is_some(), is_news);
    }
}

#[test]
fn a_failure_is_a_warning_until_it_is_over() {
    let mut configuration = configuration();
    configuration.apply(vec![entry(&["a.test"])]);
    configuration.compile(now()).unwrap();
    let mut warnings = |told: ResolvedName| {
        configuration.apply_names(vec![told]);
        let published = configuration.compile(now()).unwrap();
        let diagnostics = published.diagnostics.iter().map(ToString::to_string);
        (diagnostics.collect::<Vec<_>>(), addresses(&published))
    };
    let (told_of, kept) = warnings(told("a.test", &["192.0.2.1"], Some("timed out")));
    let [warning] = &told_of[..] else {
        panic!("{told_of:?}")
    };
    assert!(
        warning.starts_with("ServiceEntry default/api: spec.endpoints[0].address: a.test"),
        "{warning}"
    );
    assert_eq!(kept, ["192.0.2.1:80"]);
    let (told_of, _) = warnings(told("a.test", &["192.0.2.1"], None));
    assert_eq!(told_of, [""; 0]);
}

#[test]
fn what_is_not_wanted_any_more_is_forgotten_and_asked_for_anew() {
    let mut configuration = configuration();
    configuration.apply(vec![entry(&["a.test"])]);
    configuration.compile(now()).unwrap();
    configuration.apply_names(vec![told("a.test", &["192.0.2.1"], None)]);
    configuration.apply(vec![entry(&["b.test"])]);
    configuration.compile(now()).unwrap();
    assert_eq!(wanted(&configuration), ["b.test"]);
    // A last word, which was on its way.
    configuration.apply_names(vec![told("a.test", &["192.0.2.1"], None)]);
    assert!(configuration.compile(now()).is_none());
    configuration.apply(vec![entry(&["a.test"])]);
    let published = configuration.compile(now()).unwrap();
    assert_eq!(addresses(&published), [""; 0]);
}

#[test]
fn answers_are_waited_for_and_not_for_ever() {
    let mut configuration = configuration();
    configuration.apply(vec![entry(&["a.test"])]);
    configuration.prepare(now());
    assert_eq!(configuration.waits_for_names_until(now()), Some(later(3)));
    // Names that come while others are awaited do not prolong the wait.
    configuration.apply(vec![entry(&["a.test", "b.test"])]);
    configuration.prepare(later(2));
    assert_eq!(
        configuration.waits_for_names_until(later(2)),
        Some(later(3))
    );
    assert_eq!(configuration.waits_for_names_until(later(3)), None);
    let told_of_both = vec![
        told("a.test", &["192.0.2.1"], None),
        told("b.test", &[], Some("no such name")),
    ];
    configuration.apply_names(told_of_both);
    configuration.prepare(later(2));
    assert_eq!(configuration.waits_for_names_until(later(2)), None);
    // What goes is not waited for.
    configuration.apply(vec![entry(&["a.test"])]);
    configuration.prepare(later(4));
    assert_eq!(configuration.waits_for_names_until(later(4)), None);
}

/// Nobody fails for want of an answer that is on its way.
#[test]
fn the_first_publication_has_the_first_answers() {
    let (sender, receiver) = tokio::sync::mpsc::channel(QUEUE);
    let (ask, asked) = mpsc::channel();
    let resolve: Resolve = Box::new(move |names| ask.send(names.clone()).unwrap());
    let followers = Followers {
        files: None,
        objects: None,
        names: Some(resolve),
    };
    let publications = start(configuration(), 1, followers, receiver).unwrap();
    let change = Message::Changes(vec![entry(&["a.test"])]);
    sender.blocking_send(change).unwrap();
    sender.blocking_send(Message::Synced).unwrap();
    let names = asked.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(names, BTreeSet::from([name("a.test")]));
    let answer = Message::Names(vec![told("a.test", &["192.0.2.1"], None)]);
    sender.blocking_send(answer).unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    let mut published = None;
    while published.is_none() {
        assert!(Instant::now() < end, "nothing was published");
        std::thread::yield_now();
        published = publications.borrow().clone();
    }
    assert_eq!(addresses(&published.unwrap()), ["192.0.2.1:80"]);
}

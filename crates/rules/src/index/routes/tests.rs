use super::*;
use crate::testing::{request, route};
use crate::{HeaderKey, HeaderMatch, Pattern, Predicate, QueryMatch, TextMatch};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn path() -> impl Strategy<Value = String> {
    "/[abA]{0,2}(/[abA]{0,2}){0,2}"
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let sources = [
        "/a.*",
        "/(a|b)/.*",
        ".*",
        "/a?b",
        "(?i)/a",
        "/[ab]{1,2}",
        "a|/b",
        "^/a/b$",
        "(/a)?/b",
    ];
    proptest::sample::select(sources.to_vec()).prop_map(|source| Pattern::parse(source).unwrap())
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        path().prop_map(PathMatch::Exact),
        path().prop_map(PathMatch::Prefix),
        Just(PathMatch::Prefix(String::new())),
        path().prop_map(PathMatch::ExactIgnoreCase),
        path().prop_map(PathMatch::PrefixIgnoreCase),
        pattern().prop_map(PathMatch::Regex),
    ]
}

fn text_match() -> impl Strategy<Value = TextMatch> {
    prop_oneof![
        4 => "[ab]{0,2}".prop_map(TextMatch::Exact),
        1 => "[ab]".prop_map(TextMatch::Prefix),
        1 => Just(TextMatch::Present),
        1 => Just(TextMatch::Regex(Pattern::parse("a|b.").unwrap())),
    ]
}

fn header_match() -> impl Strategy<Value = HeaderMatch> {
    let key = prop_oneof![
        Just("x-a"),
        Just("x-b"),
        Just(":method"),
        Just(":path"),
        Just("host")
    ];
    (key, text_match(), any::<bool>()).prop_map(|(key, value, forbidden)| {
        let key = HeaderKey::parse(key).unwrap();
        match forbidden {
            true => HeaderMatch::forbidden(key, value),
            false => HeaderMatch::required(key, value),
        }
    })
}

fn query_match() -> impl Strategy<Value = QueryMatch> {
    ("[pq]", text_match()).prop_map(|(name, value)| QueryMatch { name, value })
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let method = option::weighted(0.2, prop_oneof![Just("a"), Just("b")]);
    let authority = option::weighted(0.2, text_match());
    (
        option::weighted(0.7, path_match()),
        method,
        authority,
        vec(header_match(), 0..3),
        vec(query_match(), 0..2),
    )
        .prop_map(|(uri, method, authority, headers, query)| Predicate {
            uri,
            scheme: None,
            method: method.map(|method| TextMatch::Exact(method.into())),
            authority,
            headers,
            query,
        })
}

/// Predicates without a uri, so that the splitting of one bucket is what is tested.
fn crowded() -> impl Strategy<Value = Predicate> {
    predicate().prop_map(|predicate| Predicate {
        uri: None,
        ..predicate
    })
}

#[derive(Clone, Debug)]
struct OwnedHead {
    method: String,
    authority: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl OwnedHead {
    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            scheme: "http",
            authority: &self.authority,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }
}

fn head() -> impl Strategy<Value = OwnedHead> {
    let header = ("x-[ab]", "[ab]{0,2}");
    let query = option::of("[pq]=[ab]{0,2}(&[pq](=[ab])?){0,2}");
    ("[ab]", "[ab]{0,2}", path(), query, vec(header, 0..4)).prop_map(
        |(method, authority, path, query, pairs)| {
            let pairs = pairs.into_iter().map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_str(&value).unwrap())
            });
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, value);
            }
            OwnedHead {
                method,
                authority,
                path,
                query,
                headers,
            }
        },
    )
}

fn naive(set: &RouteSet, head: &RequestHead<'_>) -> Option<usize> {
    set.routes()
        .iter()
        .position(|route| route.predicate.matches(head))
}

proptest! {
    #[test]
    fn the_index_finds_the_first_match_in_document_order(
        predicates in vec(predicate(), 0..60),
        heads in vec(head(), 1..12),
    ) {
        let set = RouteSet::new(predicates.into_iter().map(route).collect());
        for head in &heads {
            prop_assert_eq!(set.position(&head.head()), naive(&set, &head.head()), "{:?}", head);
        }
    }

    #[test]
    fn a_crowded_path_finds_the_first_match_too(
        predicates in vec(crowded(), 20..120),
        heads in vec(head(), 1..12),
    ) {
        let set = RouteSet::new(predicates.into_iter().map(route).collect());
        for head in &heads {
            prop_assert_eq!(set.position(&head.head()), naive(&set, &head.head()), "{:?}", head);
        }
    }
}

/// How many routes are candidates for a request.
fn candidates(set: &RouteSet, head: &RequestHead<'_>) -> usize {
    let mut lists = Lists::new();
    let index = set.index.as_ref().expect("there are many routes");
    index.candidates(head, &mut lists);
    lists.iter().map(|list| list.len()).sum()
}

fn set_of(count: usize, predicate: impl Fn(usize) -> Predicate) -> RouteSet {
    RouteSet::new((0..count).map(predicate).map(route).collect())
}

#[test]
fn routes_with_different_paths_are_no_candidates() {
    let kinds: [fn(String) -> PathMatch; 5] = [
        PathMatch::Exact,
        PathMatch::Prefix,
        PathMatch::ExactIgnoreCase,
        PathMatch::PrefixIgnoreCase,
        |path| PathMatch::Regex(Pattern::parse(&format!("{path}(/.*)?")).unwrap()),
    ];
    for kind in kinds {
        let uri = |at: usize| Some(kind(format!("/r{at:05}")));
        let set = set_of(2_000, |at| Predicate {
            uri: uri(at),
            ..Predicate::default()
        });
        let head = RequestHead {
            path: "/r01234",
            ..request()
        };
        assert_eq!(
            (set.position(&head), candidates(&set, &head)),
            (Some(1_234), 1),
            "{:?}",
            uri(0)
        );
    }
}

#[test]
fn routes_on_one_path_that_differ_by_a_header_are_no_candidates() {
    let set = set_of(2_000, |at| {
        let key = HeaderKey::parse("x-tenant").unwrap();
        let header = HeaderMatch::required(key, TextMatch::Exact(format!("t{at}")));
        Predicate {
            uri: Some(PathMatch::Prefix("/".into())),
            headers: vec![header],
            ..Predicate::default()
        }
    });
    let headers = crate::testing::headers(&[("x-tenant", "t1234")]);
    let head = RequestHead {
        headers: &headers,
        ..request()
    };
    assert_eq!(
        (set.position(&head), candidates(&set, &head)),
        (Some(1_234), 1)
    );
    assert_eq!(candidates(&set, &request()), 0);
}

#[test]
fn routes_on_one_path_that_differ_by_two_things_are_few_candidates() {
    let set = set_of(2_000, |at| {
        let query = QueryMatch {
            name: "user".into(),
            value: TextMatch::Exact(format!("u{}", at / 2)),
        };
        let method = TextMatch::Exact(["GET", "POST"][at % 2].into());
        Predicate {
            method: Some(method),
            query: vec![query],
            ..Predicate::default()
        }
    });
    let head = RequestHead {
        query: Some("user=u617"),
        method: "POST",
        ..request()
    };
    assert_eq!(set.position(&head), Some(1_235));
    assert!(candidates(&set, &head) <= 2);
}

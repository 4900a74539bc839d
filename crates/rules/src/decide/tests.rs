use super::*;
use crate::testing::{
    forward, headers, listener, loaded, origin, request, route, route_to, virtual_host,
};
use crate::{
    CorsPolicy, Criterion, Fault, FaultDelay, HeaderOps, HeaderTemplate, OriginMatch,
    PartsPerMillion, PathMatch, Predicate, RedirectPath, RedirectPort, Route, RouteSet, TextMatch,
};
use http::HeaderName;
use std::sync::Arc;

fn answer(decision: Decision<'_>) -> Answer {
    match decision.outcome {
        Outcome::Answer(answer) => answer,
        Outcome::Forward(forward) => panic!("forwarded: {forward:?}"),
    }
}

fn forwarding(action: ForwardAction) -> Arc<Route> {
    route_to(Predicate::default(), Action::Forward(Box::new(action)))
}

fn lines(answer: &Answer) -> Vec<String> {
    let line =
        |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    answer.headers.iter().map(line).collect()
}

fn prefix(path: &str) -> Predicate {
    Predicate {
        uri: Some(PathMatch::Prefix(path.into())),
        ..Predicate::default()
    }
}

fn set(name: &'static str, value: &str) -> HeaderOps {
    let entry = (
        HeaderName::from_static(name),
        HeaderTemplate::parse(value).unwrap(),
    );
    HeaderOps {
        set: vec![entry],
        ..HeaderOps::default()
    }
}

#[test]
fn an_unknown_host_is_not_found() {
    let listener = listener(vec![route(Predicate::default())]);
    let decision = listener.decide(
        &RequestHead {
            authority: "other.test",
            ..request()
        },
        &mut loaded(0.0),
    );
    assert!(decision.virtual_host.is_none() && decision.route.is_none());
    let answer = answer(decision);
    assert_eq!(
        (answer.status.as_u16(), answer.reason, answer.body.len()),
        (404, Reason::NoHost, 0)
    );
}

#[test]
fn an_unmatched_path_is_not_found_even_when_a_less_specific_host_would_take_it() {
    let exact = virtual_host("shop.test", vec![route(prefix("/a"))]);
    let any = virtual_host("*", vec![route(Predicate::default())]);
    let listener = VirtualHosts::new([any, exact]);
    let decision = listener.decide(
        &RequestHead {
            path: "/b",
            ..request()
        },
        &mut loaded(0.0),
    );
    assert_eq!(&*decision.virtual_host.unwrap().domain, "shop.test");
    let answer = answer(decision);
    assert_eq!(
        (answer.status.as_u16(), answer.reason, answer.body.len()),
        (404, Reason::NoRoute, 0)
    );
}

#[test]
fn the_first_match_wins_not_the_longest() {
    let routes = vec![route(prefix("/")), route(prefix("/a"))];
    let listener = listener(routes.clone());
    let decision = listener.decide(
        &RequestHead {
            path: "/a",
            ..request()
        },
        &mut loaded(0.0),
    );
    assert!(Arc::ptr_eq(decision.route.unwrap(), &routes[0]));
}

#[test]
fn https_redirect_comes_before_routes_and_drops_the_port() {
    let host = VirtualHost {
        name: "shop.test:80".into(),
        domain: "shop.test".into(),
        https_redirect: Some(origin()),
        routes: Arc::new(RouteSet::new(vec![route(Predicate::default())])),
    };
    let listener = VirtualHosts::new([Arc::new(host)]);
    let head = RequestHead {
        authority: "shop.test:80",
        path: "/a",
        query: Some("b=c"),
        ..request()
    };
    let redirected = answer(listener.decide(&head, &mut loaded(0.0)));
    assert_eq!(
        (redirected.status.as_u16(), redirected.reason),
        (301, Reason::HttpsRedirect)
    );
    assert_eq!(lines(&redirected), ["location: https://shop.test/a?b=c"]);

    let secure = listener.decide(
        &RequestHead {
            scheme: "https",
            ..head
        },
        &mut loaded(0.0),
    );
    assert_eq!(answer(secure).reason, Reason::DirectResponse);
}

#[test]
fn a_redirect_is_answered_with_its_location_and_header_operations() {
    let action = RedirectAction {
        code: StatusCode::FOUND,
        scheme: None,
        authority: Some("new.test".into()),
        port: RedirectPort::ProtocolDefault,
        path: RedirectPath::Keep,
        response_headers: set("x-from", "%REQ(:authority)%"),
    };
    let listener = listener(vec![route_to(
        Predicate::default(),
        Action::Redirect(Box::new(action)),
    )]);
    let answer = answer(listener.decide(&request(), &mut loaded(0.0)));
    assert_eq!(
        (answer.status.as_u16(), answer.reason, answer.body.len()),
        (302, Reason::Redirect, 0)
    );
    assert_eq!(
        lines(&answer),
        ["location: http://new.test/", "x-from: shop.test"]
    );
}

fn direct(body: &'static str, response_headers: HeaderOps) -> Answer {
    let body = Bytes::from_static(body.as_bytes());
    let action = DirectResponseAction {
        status: StatusCode::IM_A_TEAPOT,
        body,
        response_headers,
    };
    let listener = listener(vec![route_to(
        Predicate::default(),
        Action::DirectResponse(action),
    )]);
    answer(listener.decide(&request(), &mut loaded(0.0)))
}

#[test]
fn a_direct_response_is_plain_text_unless_it_is_empty_or_says_otherwise() {
    let plain = direct("hello", HeaderOps::default());
    assert_eq!(
        (plain.status.as_u16(), plain.reason, &*plain.body),
        (418, Reason::DirectResponse, &b"hello"[..])
    );
    assert_eq!(lines(&plain), ["content-type: text/plain"]);
    assert_eq!(lines(&direct("", HeaderOps::default())), [""; 0]);
    let json = direct("{}", set("content-type", "application/json"));
    assert_eq!(lines(&json), ["content-type: application/json"]);
}

fn faulty(delay: u32, abort: u32, status: AbortStatus) -> VirtualHosts {
    let delay = FaultDelay {
        duration: Duration::from_secs(5),
        share: PartsPerMillion(delay),
    };
    let abort = FaultAbort {
        status,
        share: PartsPerMillion(abort),
    };
    let fault = Some(Fault {
        delay: Some(delay),
        abort: Some(abort),
    });
    listener(vec![forwarding(ForwardAction {
        fault,
        ..forward(&[1])
    })])
}

const ALWAYS: u32 = 1_000_000;

#[test]
fn an_abort_answers_instead_of_forwarding() {
    let listener = faulty(0, ALWAYS, AbortStatus::Http(StatusCode::BAD_GATEWAY));
    let decision = listener.decide(&request(), &mut loaded(0.0));
    assert_eq!(decision.delay, None);
    let answer = answer(decision);
    assert_eq!(
        (answer.status.as_u16(), answer.reason, answer.grpc_status),
        (502, Reason::FaultAbort, None)
    );
    assert_eq!(
        (&*answer.body, lines(&answer)),
        (
            &b"fault filter abort"[..],
            vec!["content-type: text/plain".into()]
        )
    );
}

#[test]
fn a_grpc_abort_carries_its_status() {
    let listener = faulty(0, ALWAYS, AbortStatus::Grpc(14));
    let answer = answer(listener.decide(&request(), &mut loaded(0.0)));
    assert_eq!(
        (answer.status.as_u16(), answer.grpc_status),
        (200, Some(14))
    );
}

#[test]
fn delay_and_abort_are_drawn_one_after_the_other_and_independently() {
    let listener = faulty(500_000, 500_000, AbortStatus::Http(StatusCode::BAD_GATEWAY));
    for (rolls, delayed, aborts) in [
        ([0, 0], true, true),
        ([0, 999_999], true, false),
        ([999_999, 0], false, true),
        ([999_999; 2], false, false),
    ] {
        let mut rolls = rolls.into_iter();
        let decision = listener.decide(&request(), &mut |_: u32| rolls.next().unwrap());
        assert_eq!(decision.delay.is_some(), delayed);
        assert_eq!(matches!(decision.outcome, Outcome::Answer(_)), aborts);
    }
}

fn cors() -> CorsPolicy {
    CorsPolicy {
        allow_origins: vec![OriginMatch::Any],
        allow_methods: None,
        allow_headers: None,
        expose_headers: None,
        max_age: None,
        allow_credentials: None,
        forward_unmatched_preflights: true,
    }
}

const ORIGIN: (&str, &str) = ("origin", "https://a.test");
const ASKS: (&str, &str) = ("access-control-request-method", "PUT");

#[test]
fn a_preflight_is_answered_with_the_origin_itself() {
    let listener = listener(vec![forwarding(ForwardAction {
        cors: Some(cors()),
        ..forward(&[1])
    })]);
    let headers = headers(&[ORIGIN, ASKS]);
    let head = RequestHead {
        method: "OPTIONS",
        headers: &headers,
        ..request()
    };
    let answer = answer(listener.decide(&head, &mut loaded(0.0)));
    assert_eq!(
        (answer.status.as_u16(), answer.reason),
        (200, Reason::CorsPreflight)
    );
    assert_eq!(
        lines(&answer),
        ["access-control-allow-origin: https://a.test"]
    );
}

#[test]
fn a_fault_hits_a_preflight_too() {
    let abort = FaultAbort {
        status: AbortStatus::Http(StatusCode::BAD_GATEWAY),
        share: PartsPerMillion::ALWAYS,
    };
    let fault = Some(Fault {
        delay: None,
        abort: Some(abort),
    });
    let listener = listener(vec![forwarding(ForwardAction {
        cors: Some(cors()),
        fault,
        ..forward(&[1])
    })]);
    let headers = headers(&[ORIGIN, ASKS]);
    let head = RequestHead {
        method: "OPTIONS",
        headers: &headers,
        ..request()
    };
    assert_eq!(
        answer(listener.decide(&head, &mut loaded(0.0))).reason,
        Reason::FaultAbort
    );
}

#[test]
fn a_forwarded_request_knows_its_destination_and_response_headers() {
    let listener = listener(vec![forwarding(ForwardAction {
        cors: Some(cors()),
        ..forward(&[1, 1])
    })]);
    let headers = headers(&[ORIGIN]);
    let head = RequestHead {
        headers: &headers,
        ..request()
    };
    let Outcome::Forward(forward) = listener.decide(&head, &mut loaded(1.0)).outcome else {
        panic!("answered");
    };
    assert_eq!(
        (
            forward.destination,
            forward.cors_headers.len(),
            forward.mirrors.len()
        ),
        (1, 1, 0)
    );
}

/// Remembers what it was told.
#[derive(Default)]
struct Notes(Vec<String>);

impl Observer for Notes {
    fn passed_over(&mut self, _: &Arc<Route>, criterion: Criterion<'_>, head: &RequestHead<'_>) {
        self.0.push(criterion.explain(head));
    }
}

#[test]
fn an_observer_hears_of_every_route_before_the_winner() {
    // Promise 2.
    let post = Predicate {
        method: Some(TextMatch::Exact("POST".into())),
        ..Predicate::default()
    };
    let routes = vec![
        route(prefix("/a")),
        route(post),
        route(prefix("/")),
        route(prefix("/b")),
    ];
    let listener = listener(routes.clone());
    let mut notes = Notes::default();
    let decision = listener.decide_observed(&request(), &mut loaded(0.0), &mut notes);
    assert!(Arc::ptr_eq(decision.route.unwrap(), &routes[2]));
    assert_eq!(
        notes.0,
        [
            "uri: wants prefix \"/a\", has \"/\"",
            "method: wants exact \"POST\", has \"GET\""
        ]
    );
}

#[test]
fn an_observer_hears_of_all_routes_when_none_matches() {
    let listener = listener(vec![route(prefix("/a")), route(prefix("/b"))]);
    let mut notes = Notes::default();
    listener.decide_observed(&request(), &mut loaded(0.0), &mut notes);
    assert_eq!(notes.0.len(), 2);
}

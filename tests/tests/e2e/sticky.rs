//! The same client meets the same endpoint.

use crate::{SHOP, TO_SHOP, plain_tcp, shop};
use e2e::{
    Connection, Gateway, Origin, Request, Response, TcpOrigin, destination_rule, eventually,
    service_at, virtual_service,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

const CLUSTER: &str = "outbound|8000||shop.default.svc.cluster.local";

/// How many sessions there are.
const KEYS: usize = 1000;

fn addresses(count: u8) -> Vec<Ipv4Addr> {
    (1..=count)
        .map(|number| Ipv4Addr::new(127, 0, 0, number))
        .collect()
}

/// As many endpoints, which answer with their own addresses.
fn shop_of(origin: &Origin, count: u8, hash: &str) -> Gateway {
    let policy = format!("trafficPolicy: {{loadBalancer: {{consistentHash: {{{hash}}}}}}}\n");
    let service = service_at("shop", 8000, &addresses(count), origin.port());
    shop(TO_SHOP, &[])
        .file("shop-service.yaml", service)
        .file("policy.yaml", destination_rule("shop", &policy))
        .start()
}

fn scale(gateway: &Gateway, origin: &Origin, count: u8) {
    let service = service_at("shop", 8000, &addresses(count), origin.port());
    gateway.write("shop-service.yaml", service);
    eventually(&format!("there are {count} endpoints"), || {
        let cluster = gateway.cluster(CLUSTER);
        cluster["endpoints"].as_array().map(Vec::len) == Some(usize::from(count))
    });
}

/// Whom each key meets.
fn meetings(gateway: &Gateway) -> Vec<String> {
    let mut connection = gateway.connect();
    let meet = |key| {
        let request = Request::get(SHOP, "/").header("x-user", &format!("user-{key}"));
        let response = connection.send(&request).expect("an answer");
        assert_eq!(response.status, 200);
        response.text()
    };
    (0..KEYS).map(meet).collect()
}

/// The keys that meet another one than before.
fn moved<'a>(before: &'a [String], after: &'a [String]) -> Vec<&'a str> {
    let pairs = before.iter().zip(after);
    pairs
        .filter(|(before, after)| before != after)
        .map(|(_, after)| after.as_str())
        .collect()
}

/// From ten endpoints to eleven and back.
fn scaling_moves_few(hash: &str) {
    let origin = Origin::everywhere();
    let gateway = shop_of(&origin, 10, &format!("httpHeaderName: x-user, {hash}"));
    let ten = meetings(&gateway);
    let used: BTreeSet<_> = ten.iter().collect();
    assert_eq!(used.len(), 10, "everybody has a part");
    assert_eq!(meetings(&gateway), ten, "the same key meets the same one");

    scale(&gateway, &origin, 11);
    let eleven = meetings(&gateway);
    let went = moved(&ten, &eleven);
    let to_new = went.iter().filter(|after| **after == "127.0.0.11").count();
    eprintln!(
        "{hash}: from 10 to 11 endpoints {} of {KEYS} sessions moved, {to_new} of them to the new one",
        went.len()
    );
    assert!(!went.is_empty() && went.len() < KEYS / 4, "{}", went.len());
    assert!(to_new >= KEYS / 33, "the new one got {to_new}");

    scale(&gateway, &origin, 10);
    let again = meetings(&gateway);
    eprintln!(
        "{hash}: from 11 to 10 endpoints {} of {KEYS} sessions moved",
        moved(&eleven, &again).len()
    );
    assert_eq!(again, ten, "everybody is back where they were");
}

#[test]
fn a_ring_moves_few_sessions_when_an_endpoint_comes_or_goes() {
    scaling_moves_few("ringHash: {minimumRingSize: 4096}");
}

#[test]
fn maglev_moves_few_sessions_when_an_endpoint_comes_or_goes() {
    scaling_moves_few("maglev: {}");
}

#[test]
fn a_change_of_rules_moves_nobody() {
    let origin = Origin::everywhere();
    let gateway = shop_of(&origin, 10, "httpHeaderName: x-user");
    let before = meetings(&gateway);
    let rules = format!("{TO_SHOP}  headers: {{response: {{set: {{x-revision: '2'}}}}}}\n");
    gateway.write("shop.yaml", virtual_service("shop", SHOP, &rules));
    eventually("the change is live", || {
        gateway.get(SHOP, "/").header("x-revision") == Some("2")
    });
    assert_eq!(meetings(&gateway), before);
}

/// What is hashed is known from outside only by its effect: a restart must not move anybody.
#[test]
fn a_restart_moves_nobody() {
    let origin = Origin::everywhere();
    let mut gateway = shop_of(&origin, 10, "httpHeaderName: x-user");
    let before = meetings(&gateway);
    gateway.restart();
    assert_eq!(meetings(&gateway), before);
}

#[test]
fn requests_without_the_key_go_anywhere() {
    let origin = Origin::everywhere();
    let gateway = shop_of(&origin, 5, "httpHeaderName: x-user");
    let seen: BTreeSet<String> = (0..100).map(|_| gateway.get(SHOP, "/").text()).collect();
    assert!(seen.len() > 1, "{seen:?}");
}

#[test]
fn a_query_parameter_can_be_the_key() {
    let origin = Origin::everywhere();
    let gateway = shop_of(&origin, 5, "httpQueryParameterName: user");
    let mut all = BTreeSet::new();
    for user in 0..30 {
        let first = gateway.get(SHOP, &format!("/a?user={user}")).text();
        for path in ["/b?x=1&user=", "/c?user="] {
            let target = format!("{path}{user}");
            assert_eq!(gateway.get(SHOP, &target).text(), first, "{target}");
        }
        all.insert(first);
    }
    assert!(all.len() > 1, "{all:?}");
}

#[test]
fn the_source_address_can_be_the_key() {
    let origin = Origin::everywhere();
    let gateway = shop_of(&origin, 5, "useSourceIp: true");
    let get = |source| {
        let mut connection = Connection::try_open_from(source, gateway.http())?;
        Ok::<_, std::io::Error>(connection.send(&Request::get(SHOP, "/"))?.text())
    };
    let mut all = BTreeSet::new();
    for number in 1..=30 {
        let source = Ipv4Addr::new(127, 1, 2, number);
        let met: BTreeSet<_> = (0..3).map(|_| get(source).expect("an answer")).collect();
        assert_eq!(met.len(), 1, "{source} met {met:?}");
        all.extend(met);
    }
    assert!(all.len() > 1, "{all:?}");
}

#[test]
fn the_source_address_holds_for_tcp_too() {
    let origins = ["a", "b", "c", "d"].map(TcpOrigin::named);
    let policy = "trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}\n";
    let gateway = plain_tcp(&origins.each_ref().map(TcpOrigin::port))
        .file("policy.yaml", destination_rule("shop", policy))
        .start();
    let mut all = BTreeSet::new();
    for number in 1..=30 {
        let source = Ipv4Addr::new(127, 1, 2, number);
        let met: BTreeSet<_> = (0..3)
            .map(|_| {
                let connection = Connection::try_open_from(source, gateway.bound(9000));
                connection.expect("it accepts").read_to_end()
            })
            .collect();
        assert_eq!(met.len(), 1, "{source} met {met:?}");
        all.extend(met);
    }
    assert!(all.len() > 1, "{all:?}");
}

/// The name and value of a cookie, and what is said about it.
fn parts(cookie: &str) -> (String, BTreeMap<String, String>) {
    let mut parts = cookie.split(';').map(str::trim);
    let pair = parts.next().unwrap_or_default().to_owned();
    let attributes = parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (name.to_ascii_lowercase(), value.to_owned())
    });
    (pair, attributes.collect())
}

#[track_caller]
fn made(response: &Response) -> (String, BTreeMap<String, String>) {
    let cookies = response.values("set-cookie");
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    parts(cookies[0])
}

#[test]
fn a_cookie_is_made_once_and_leads_back() {
    let origin = Origin::everywhere();
    let gateway = shop_of(
        &origin,
        10,
        "httpCookie: {name: sid, path: /shop, ttl: 60s}",
    );
    let mut all = BTreeSet::new();
    let mut values = BTreeSet::new();
    for _ in 0..30 {
        let response = gateway.get(SHOP, "/");
        let (pair, attributes) = made(&response);
        assert!(pair.starts_with("sid=") && pair.len() > 6, "{pair}");
        assert_eq!(attributes["max-age"], "60", "{attributes:?}");
        assert_eq!(attributes["path"], "/shop", "{attributes:?}");
        assert!(attributes.contains_key("httponly"), "{attributes:?}");
        for _ in 0..3 {
            let request = Request::get(SHOP, "/").header("Cookie", &format!("a=b; {pair}"));
            let again = gateway.send(&request);
            assert_eq!(again.text(), response.text(), "{pair}");
            assert_eq!(again.header("set-cookie"), None, "a second cookie");
        }
        all.insert(response.text());
        values.insert(pair);
    }
    assert!(all.len() > 1, "{all:?}");
    assert_eq!(values.len(), 30, "clients share a cookie");
}

#[test]
fn a_cookie_of_the_session_has_no_age_and_no_ttl_makes_none() {
    let origin = Origin::everywhere();
    let session = shop_of(&origin, 3, "httpCookie: {name: sid, ttl: 0s}");
    let (_, attributes) = made(&session.get(SHOP, "/"));
    assert!(!attributes.contains_key("max-age"), "{attributes:?}");

    let none = shop_of(&origin, 3, "httpCookie: {name: sid}");
    assert_eq!(none.get(SHOP, "/").header("set-cookie"), None);
    let request = Request::get(SHOP, "/").header("Cookie", "sid=mine");
    let met: BTreeSet<String> = (0..20).map(|_| none.send(&request).text()).collect();
    assert_eq!(met.len(), 1, "{met:?}");
}

/// What the origin sets stays beside what is made here.
#[test]
fn cookies_of_the_origin_are_kept() {
    let origin = Origin::serving(|exchange| {
        exchange.reply(200, &[("Set-Cookie", "theirs=1")], b"ok")?;
        Ok(e2e::After::Keep)
    });
    let policy = "\
trafficPolicy:
  loadBalancer: {consistentHash: {httpCookie: {name: sid, path: /, ttl: 5s}}}
";
    let gateway = crate::shop_with(policy, &[origin.port()]).start();
    let response = gateway.get(SHOP, "/");
    let mut names: Vec<_> = response
        .values("set-cookie")
        .iter()
        .filter_map(|cookie| cookie.split('=').next())
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["sid", "theirs"]);
}

//! Names that are known.

use super::upstream::{Upstream, only, response};
use super::world::{World, absolute, check, query, told, with_edns};
use crate::BeforeNames;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{RData, Record, RecordType};
use std::collections::BTreeSet;

const CART: (&str, &[&str]) = ("cart.shop.svc.cluster.local", &["10.96.0.1"]);
const NO_ERROR: ResponseCode = ResponseCode::NoError;

#[tokio::test]
async fn a_known_name_is_answered_as_by_its_authority() {
    let upstream = Upstream::silent().await;
    let world = World::start(&[CART], &upstream).await;
    let mut asked = query("Cart.SHOP.svc.cluster.local", RecordType::A);
    asked.metadata.checking_disabled = true;
    let answer = world.udp(&asked).await;
    check(
        &answer,
        NO_ERROR,
        &["Cart.SHOP.svc.cluster.local. 30 10.96.0.1"],
    );
    let metadata = &answer.metadata;
    assert!(metadata.authoritative && metadata.recursion_available && !metadata.truncation);
    assert!(metadata.recursion_desired && metadata.checking_disabled && !metadata.authentic_data);
    assert!(answer.queries[0].name().eq_case(asked.queries[0].name()));
    assert_eq!(answer.edns, None);
    assert!(upstream.asked().is_empty());
    let stats = world.stats();
    assert_eq!((stats.queries, stats.answered, stats.forwarded), (1, 1, 0));
}

#[tokio::test]
async fn who_speaks_edns_is_answered_in_it() {
    let upstream = Upstream::silent().await;
    let world = World::start(&[CART], &upstream).await;
    let mut asked = with_edns(query(CART.0, RecordType::A), 4096);
    asked.edns.as_mut().unwrap().set_dnssec_ok(true);
    let edns = world.udp(&asked).await.edns.unwrap();
    assert_eq!((edns.version(), edns.max_payload()), (0, 1232));
    assert!(edns.flags().dnssec_ok);
    asked.edns.as_mut().unwrap().set_version(1);
    let refused = world.udp(&asked).await;
    // BADVERS, which has its number in common with BADSIG.
    assert_eq!(u16::from(refused.metadata.response_code), 16);
    assert_eq!(refused.edns.unwrap().version(), 0);
}

/// Never NXDOMAIN: that would say that there is no address of either kind.
#[tokio::test]
async fn a_known_name_without_addresses_of_a_kind_has_an_empty_answer() {
    let upstream = Upstream::saying(ResponseCode::NXDomain).await;
    let names: &[(&str, &[&str])] = &[CART, ("six.test", &["fd00::1"]), ("none.test", &[])];
    let world = World::start(names, &upstream).await;
    for (name, kind, want) in [
        ("six.test", RecordType::AAAA, &["six.test. 30 fd00::1"][..]),
        ("six.test", RecordType::A, &[]),
        (CART.0, RecordType::AAAA, &[]),
        ("none.test", RecordType::A, &[]),
        ("none.test", RecordType::AAAA, &[]),
        ("none.test", RecordType::CNAME, &[]),
        (CART.0, RecordType::HTTPS, &[]),
        (CART.0, RecordType::SVCB, &[]),
    ] {
        let answer = world.ask(name, kind).await;
        check(&answer, NO_ERROR, want);
        assert!(answer.metadata.authoritative, "{name} {kind}");
    }
    assert!(upstream.asked().is_empty());
}

#[tokio::test]
async fn each_address_comes_first_in_turn() {
    let upstream = Upstream::silent().await;
    let both: &[&str] = &["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2"];
    let world = World::start(&[("db.test", both)], &upstream).await;
    let mut firsts = BTreeSet::new();
    // Resolvers ask for both kinds, one after the other.
    for _ in 0..24 {
        for (kind, count) in [(RecordType::A, 3), (RecordType::AAAA, 2)] {
            let (_, records) = told(&world.ask("db.test", kind).await);
            let distinct: BTreeSet<_> = records.iter().collect();
            assert_eq!((records.len(), distinct.len()), (count, count));
            firsts.insert(records[0].clone());
        }
    }
    assert_eq!(firsts.len(), both.len(), "{firsts:?}");
    let all = world.ask("db.test", RecordType::ANY).await;
    assert_eq!(all.answers.len(), both.len());
}

/// Resolvers put the search domain behind a name before they ask for it as it is.
#[tokio::test]
async fn a_known_name_in_the_search_domain_is_another_name_of_it() {
    let upstream = Upstream::saying(ResponseCode::NXDomain).await;
    let names: &[(&str, &[&str])] = &[CART, ("www.example.com", &["240.240.0.9"])];
    let world = World::start(names, &upstream).await;
    let expanded = "www.example.com.shop.svc.cluster.local";
    check(
        &world.ask(expanded, RecordType::A).await,
        NO_ERROR,
        &[
            "www.example.com.shop.svc.cluster.local. 30 -> www.example.com.",
            "www.example.com. 30 240.240.0.9",
        ],
    );
    let alias = ["www.example.com.shop.svc.cluster.local. 30 -> www.example.com."];
    check(
        &world.ask(expanded, RecordType::AAAA).await,
        NO_ERROR,
        &alias,
    );
    check(
        &world.ask(expanded, RecordType::CNAME).await,
        NO_ERROR,
        &alias,
    );
    assert!(upstream.asked().is_empty());
    // Only the first search domain, and only as a whole.
    for name in [
        "www.example.com.svc.cluster.local",
        "www.example.comshop.svc.cluster.local",
        "shop.svc.cluster.local",
        "other.example.com.shop.svc.cluster.local",
    ] {
        check(
            &world.ask(name, RecordType::A).await,
            ResponseCode::NXDomain,
            &[],
        );
    }
    assert_eq!(upstream.asked().len(), 4);
}

#[tokio::test]
async fn another_name_is_followed_here_and_then_elsewhere() {
    let upstream = Upstream::knowing_all().await;
    let names: &[(&str, &[&str])] = &[
        CART,
        ("inside.test", &["->", "second.test"]),
        ("second.test", &["->", CART.0]),
        ("outside.test", &["->", "www.example.com"]),
        ("one.test", &["->", "two.test"]),
        ("two.test", &["->", "one.test"]),
        ("odd.test", &["->", "a..b"]),
    ];
    let world = World::start(names, &upstream).await;
    check(
        &world.ask("inside.test", RecordType::A).await,
        NO_ERROR,
        &[
            "inside.test. 30 -> second.test.",
            "second.test. 30 -> cart.shop.svc.cluster.local.",
            "cart.shop.svc.cluster.local. 30 10.96.0.1",
        ],
    );
    assert!(upstream.asked().is_empty());
    let mut asked = with_edns(query("Outside.test", RecordType::A), 1400);
    asked.metadata.checking_disabled = true;
    let answer = world.udp(&asked).await;
    check(
        &answer,
        NO_ERROR,
        &[
            "Outside.test. 30 -> www.example.com.",
            "www.example.com. 77 192.0.2.53",
        ],
    );
    assert!(answer.metadata.authoritative && answer.edns.is_some());
    let (_, packet) = upstream.asked().remove(0);
    let asked_on = Message::from_vec(&packet).unwrap();
    assert_eq!(asked_on.queries[0].name(), &absolute("www.example.com"));
    assert!(asked_on.metadata.recursion_desired && asked_on.metadata.checking_disabled);
    assert_eq!(asked_on.edns.unwrap().max_payload(), 1400);
    for name in ["one.test", "odd.test"] {
        check(
            &world.ask(name, RecordType::A).await,
            ResponseCode::ServFail,
            &[],
        );
    }
}

#[tokio::test]
async fn that_another_name_does_not_exist_is_said_on() {
    let upstream = Upstream::saying(ResponseCode::NXDomain).await;
    let world = World::start(&[("gone.test", &["->", "www.example.com"])], &upstream).await;
    let answer = world.ask("gone.test", RecordType::A).await;
    check(
        &answer,
        ResponseCode::NXDomain,
        &["gone.test. 30 -> www.example.com."],
    );
}

/// A host of a ServiceEntry may have mail, too.
#[tokio::test]
async fn other_records_of_a_known_name_are_those_that_others_know() {
    let upstream = Upstream::start(|query, _| {
        let mut message = response(query);
        let name = message.queries[0].name().clone();
        if name == absolute("gone.test") {
            return vec![only(query, ResponseCode::NXDomain)];
        }
        let text = RData::TXT(TXT::new(vec!["v=spf1".to_owned()]));
        message.add_answer(Record::from_rdata(name, 77, text));
        vec![message.to_vec().unwrap()]
    });
    let upstream = upstream.await;
    let names: &[(&str, &[&str])] = &[("mail.test", &["10.0.0.1"]), ("gone.test", &["10.0.0.2"])];
    let world = World::start(names, &upstream).await;
    let answer = world.ask("mail.test", RecordType::TXT).await;
    check(&answer, NO_ERROR, &["mail.test. 77 v=spf1"]);
    assert!(!answer.metadata.authoritative, "it came as it was");
    check(
        &world
            .ask("mail.test.shop.svc.cluster.local", RecordType::TXT)
            .await,
        NO_ERROR,
        &[
            "mail.test.shop.svc.cluster.local. 30 -> mail.test.",
            "mail.test. 77 v=spf1",
        ],
    );
    // What others do not know at all is known here all the same.
    check(
        &world.ask("gone.test", RecordType::TXT).await,
        NO_ERROR,
        &[],
    );
    check(
        &world
            .ask("gone.test.shop.svc.cluster.local", RecordType::TXT)
            .await,
        NO_ERROR,
        &["gone.test.shop.svc.cluster.local. 30 -> gone.test."],
    );
}

#[tokio::test]
async fn an_address_of_a_known_name_has_it() {
    let upstream = Upstream::saying(ResponseCode::NXDomain).await;
    let names: &[(&str, &[&str])] = &[CART, ("six.test", &["2001:db8::1"])];
    let world = World::start(names, &upstream).await;
    let v4 = "1.0.96.10.in-addr.arpa";
    let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.IP6.arpa";
    check(
        &world.ask(v4, RecordType::PTR).await,
        NO_ERROR,
        &["1.0.96.10.in-addr.arpa. 30 is cart.shop.svc.cluster.local."],
    );
    check(
        &world.ask(v6, RecordType::PTR).await,
        NO_ERROR,
        &[&format!("{v6}. 30 is six.test.")],
    );
    assert!(upstream.asked().is_empty());
    for name in [
        "2.0.96.10.in-addr.arpa",
        "96.10.in-addr.arpa",
        "x.in-addr.arpa",
        CART.0,
    ] {
        world.ask(name, RecordType::PTR).await;
    }
    assert_eq!(upstream.asked().len(), 4);
}

#[tokio::test]
async fn what_is_published_holds_for_the_next_query() {
    let upstream = Upstream::saying(ResponseCode::NXDomain).await;
    let world = World::start(&[CART], &upstream).await;
    world.publish(&[("new.test", &["10.0.0.9"])]);
    let new = world.ask("new.test", RecordType::A).await;
    check(&new, NO_ERROR, &["new.test. 30 10.0.0.9"]);
    check(
        &world.ask(CART.0, RecordType::A).await,
        ResponseCode::NXDomain,
        &[],
    );
}

#[tokio::test]
async fn before_the_names_are_known_nothing_is_or_all_is_asked_on() {
    let upstream = Upstream::knowing_all().await;
    let world = World::with(None, [upstream.address], |_| {}).await;
    let early = world.ask(CART.0, RecordType::A).await;
    check(&early, ResponseCode::ServFail, &[]);
    assert_eq!((world.stats().early, upstream.asked().len()), (1, 0));
    world.publish(&[CART]);
    let later = world.ask(CART.0, RecordType::A).await;
    check(
        &later,
        NO_ERROR,
        &["cart.shop.svc.cluster.local. 30 10.96.0.1"],
    );

    let forwarding = World::with(None, [upstream.address], |settings| {
        settings.before_names = BeforeNames::Forward;
    });
    let early = forwarding.await.ask(CART.0, RecordType::A).await;
    check(
        &early,
        NO_ERROR,
        &["cart.shop.svc.cluster.local. 77 192.0.2.53"],
    );
}

use super::*;
use crate::keys::{AUTHORITY_LIFE, LEAF_LIFE, SKEW};

const MINUTE: Duration = Duration::from_secs(60);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + days(365 * 56)
}

fn names() -> Vec<String> {
    vec!["webhook.tidegate.svc".to_owned()]
}

fn made(at: SystemTime) -> Keys {
    renewed(None, &names(), at, false).unwrap().unwrap()
}

#[track_caller]
fn stays(keys: &Keys, at: SystemTime, is_told: bool) {
    let renewed = renewed(Some(keys), &names(), at, is_told).unwrap();
    assert!(renewed.is_none());
}

#[track_caller]
fn becomes(keys: &Keys, at: SystemTime, is_told: bool) -> Keys {
    let renewed = renewed(Some(keys), &names(), at, is_told).unwrap();
    renewed.expect("a change")
}

/// Which authorities are trusted, by when they were made, and which of them signs.
fn shape(keys: &Keys) -> (Vec<SystemTime>, SystemTime, Option<SystemTime>) {
    let made = |trusted: &crate::keys::Trusted| trusted.validity.made();
    (
        keys.retired.iter().map(made).collect(),
        made(&keys.current.trusted),
        keys.next.as_ref().map(|next| made(&next.trusted)),
    )
}

#[test]
fn a_certificate_is_replaced_when_two_thirds_of_its_life_are_over() {
    let keys = made(start());
    stays(&keys, start(), true);
    stays(&keys, start() + days(20) - MINUTE, true);
    let renewed = becomes(&keys, start() + days(20), false);
    assert_eq!(shape(&renewed), shape(&keys), "of the same authority");
    assert_eq!(renewed.leaf.validity().made(), start() + days(20));
    assert_ne!(renewed.write()["tls.key"], keys.write()["tls.key"]);
}

#[test]
fn an_authority_signs_only_when_it_is_trusted_for_a_day() {
    let due = start() + AUTHORITY_LIFE / 3 * 2;
    let with_next = becomes(&made(start()), due, true);
    assert_eq!(shape(&with_next), (vec![], start(), Some(due)));
    stays(&with_next, due + OVERLAP - MINUTE, true);
    stays(&with_next, due + OVERLAP + MINUTE, false);
    let turned = becomes(&with_next, due + OVERLAP, true);
    assert_eq!(shape(&turned), (vec![start()], due, None));
    assert!(!turned.write().contains_key("next-ca.key"));
    assert_ne!(turned.write()["ca.key"], with_next.write()["ca.key"]);
    // The old one is trusted for as long as it lives, which is longer than anything that it has signed.
    let before = start() + AUTHORITY_LIFE;
    let later = becomes(&turned, before, true);
    assert_eq!(shape(&later), (vec![start()], due, None));
    let over = becomes(&turned, before + SKEW, true);
    assert_eq!(shape(&over), (vec![], due, None));
}

#[test]
fn one_that_nobody_can_be_told_of_does_not_keep_certificates_from_being_renewed() {
    let mut keys = made(start());
    let mut at = start();
    while at < start() + AUTHORITY_LIFE - days(5) {
        at += days(5);
        keys = renewed(Some(&keys), &names(), at, false)
            .unwrap()
            .unwrap_or(keys);
        assert!(keys.leaf.validity().is_usable(at));
    }
    // Until it cannot be helped any more: nothing is verified either way, and then by what is told longest.
    let made_last = shape(&keys).2.unwrap();
    let turned = becomes(&keys, start() + AUTHORITY_LIFE, false);
    assert_eq!(shape(&turned), (vec![], made_last, None));
}

#[test]
fn after_a_long_sleep_everything_is_made_anew() {
    let keys = made(start());
    let awake = start() + days(3 * 365);
    let renewed = becomes(&keys, awake, true);
    assert_eq!(shape(&renewed), (vec![], awake, None));
    stays(&renewed, awake, true);
    let slept_in = becomes(&keys, start() + LEAF_LIFE + days(1), true);
    assert_eq!(shape(&slept_in), shape(&keys));
    assert!(
        slept_in
            .leaf
            .validity()
            .is_usable(start() + LEAF_LIFE + days(1))
    );
}

#[test]
fn clocks_may_be_apart() {
    let keys = made(start() + SKEW);
    stays(&keys, start(), true);
    let ahead = made(start() + days(400));
    let renewed = becomes(&ahead, start(), true);
    assert_eq!(
        shape(&renewed),
        (vec![], start(), None),
        "that of a clock that is wrong is no use"
    );
}

#[test]
fn another_name_takes_another_certificate() {
    let keys = made(start());
    let names = ["other.tidegate.svc".to_owned()];
    let renewed = renewed(Some(&keys), &names, start(), true)
        .unwrap()
        .unwrap();
    assert_eq!(renewed.leaf.credential.names, names);
    assert_eq!(shape(&renewed), shape(&keys));
}

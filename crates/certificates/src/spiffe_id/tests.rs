use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn parse(text: &str) -> Result<SpiffeId, InvalidSpiffeId> {
    text.parse()
}

#[test]
fn the_parts_of_an_identity_are_read() {
    for (text, domain, path, workload) in [
        (
            "spiffe://cluster.local/ns/shop/sa/cart",
            "cluster.local",
            "/ns/shop/sa/cart",
            Some(("shop", "cart")),
        ),
        ("spiffe://a-b_c.1/x", "a-b_c.1", "/x", None),
        ("spiffe://td/ns/shop/sa", "td", "/ns/shop/sa", None),
        ("spiffe://td/ns/shop/sa/a/b", "td", "/ns/shop/sa/a/b", None),
        ("spiffe://td/NS/shop/SA/a", "td", "/NS/shop/SA/a", None),
        ("spiffe://td/.../..a", "td", "/.../..a", None),
    ] {
        let id = parse(text).unwrap();
        assert_eq!(
            (id.as_str(), id.trust_domain(), id.path()),
            (text, domain, path)
        );
        let of = id.namespace().zip(id.service_account());
        assert_eq!(of, workload, "{text}");
        assert_eq!(format!("{id} {id:?}"), format!("{text} {text:?}"));
    }
}

#[test]
fn what_the_standard_forbids_is_refused_and_says_why() {
    use InvalidSpiffeId::*;
    for (text, want) in [
        ("", Scheme),
        ("cluster.local/ns/a/sa/b", Scheme),
        ("https://td/a", Scheme),
        ("SPIFFE://td/a", Scheme),
        ("spiffe:/td/a", Scheme),
        ("spiffe:///a", NoTrustDomain),
        ("spiffe://", NoTrustDomain),
        ("spiffe://Td/a", TrustDomain('T')),
        ("spiffe://td:80/a", TrustDomain(':')),
        ("spiffe://user@td/a", TrustDomain('@')),
        ("spiffe://t%64/a", TrustDomain('%')),
        ("spiffe://[::1]/a", TrustDomain('[')),
        ("spiffe://tä/a", TrustDomain('ä')),
        ("spiffe://td?a", TrustDomain('?')),
        ("spiffe://td", NoPath),
        ("spiffe://td/", NoPath),
        ("spiffe://td//a", EmptySegment),
        ("spiffe://td/a//b", EmptySegment),
        ("spiffe://td/a/", EmptySegment),
        ("spiffe://td/./a", Relative),
        ("spiffe://td/a/..", Relative),
        ("spiffe://td/a?b", Path('?')),
        ("spiffe://td/a#b", Path('#')),
        ("spiffe://td/a%20b", Path('%')),
        ("spiffe://td/a b", Path(' ')),
        ("spiffe://td/a\0", Path('\0')),
        ("spiffe://td/ä", Path('ä')),
    ] {
        assert_eq!(parse(text), Err(want), "{text:?}");
    }
}

#[test]
fn lengths_are_bounded() {
    let of_length = |length: usize| format!("spiffe://td/{}", "a".repeat(length - 12));
    assert!(parse(&of_length(2048)).is_ok());
    assert_eq!(parse(&of_length(2049)), Err(InvalidSpiffeId::TooLong));
    let in_domain = |length: usize| format!("spiffe://{}/a", "d".repeat(length));
    assert!(parse(&in_domain(255)).is_ok());
    let long = parse(&in_domain(256));
    assert_eq!(long, Err(InvalidSpiffeId::LongTrustDomain));
}

#[test]
fn a_trust_domain_is_known_by_its_name_or_its_identity() {
    for text in ["example.org", "spiffe://example.org"] {
        let domain: TrustDomain = text.parse().unwrap();
        assert_eq!(domain.as_str(), "example.org");
    }
    for (text, want) in [
        ("", InvalidSpiffeId::NoTrustDomain),
        ("spiffe://", InvalidSpiffeId::NoTrustDomain),
        ("spiffe://a/b", InvalidSpiffeId::TrustDomain('/')),
        ("Example.org", InvalidSpiffeId::TrustDomain('E')),
    ] {
        assert_eq!(text.parse::<TrustDomain>(), Err(want), "{text:?}");
    }
    let domain: TrustDomain = "td".parse().unwrap();
    let of = BTreeMap::from([(domain, 1)]);
    assert_eq!(
        of.get(parse("spiffe://td/a").unwrap().trust_domain()),
        Some(&1)
    );
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "\\PC*|spiffe://\\PC*|spiffe://[a-z./]*") {
        if let Ok(id) = parse(&text) {
            prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
            prop_assert!(id.trust_domain().parse::<TrustDomain>().is_ok());
        }
    }
}

use super::*;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
};
use std::time::Duration;

/// An authority and a list of what it revoked, PEM.
fn authority(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let revoked = RevokedCertParams {
        serial_number: 7u64.into(),
        revocation_time: rcgen::date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2030, 1, 1),
        crl_number: 1u64.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let issuer = Issuer::new(params, key);
    let list = list.signed_by(&issuer).unwrap().pem().unwrap();
    (certificate.pem(), list)
}

/// The values of a PEM text, one after the other.
fn der(pem: &str) -> Vec<u8> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    let lists = CertificateRevocationListDer::pem_slice_iter(pem.as_bytes());
    let certificates = certificates.map(|one| one.unwrap().to_vec());
    let values = certificates.chain(lists.map(|one| one.unwrap().to_vec()));
    values.collect::<Vec<_>>().concat()
}

#[test]
fn der_is_read_as_pem_is() {
    let (one, list) = authority("one");
    let (two, other_list) = authority("two");
    let (authorities, lists) = (one + &two, list + &other_list);
    let of_pem = Authorities::from_pem(authorities.as_bytes(), Some(lists.as_bytes()));
    let (authorities, lists) = (der(&authorities), der(&lists));
    let of_der = Authorities::from_der(&authorities, Some(&lists));
    assert_eq!(of_der, of_pem);
    let cut = &authorities[..authorities.len() - 1];
    let not_der = "it is not DER";
    for (authorities, lists, want) in [
        (&b""[..], None, InvalidAuthorities::NoCertificate),
        (cut, None, InvalidAuthorities::Encoding(not_der)),
        (
            &authorities,
            Some(&b"junk"[..]),
            InvalidAuthorities::Revocations(not_der.to_owned()),
        ),
        (
            &authorities,
            Some(b""),
            InvalidAuthorities::Revocations("there is none in it".to_owned()),
        ),
    ] {
        assert_eq!(Authorities::from_der(authorities, lists), Err(want));
    }
}

#[test]
fn others_are_trusted_with_other_federated_domains() {
    let (own, other) = (authority("own").0, authority("other").0);
    let read = |pem: &str| Authorities::from_pem(pem.as_bytes(), None).unwrap();
    let mut federated = read(&own);
    let domain = "other.test".parse().unwrap();
    federated.federated.insert(domain, Arc::new(read(&other)));
    assert_ne!(federated, read(&own));
    assert_eq!(federated.roots.len(), 1, "they are kept apart");
    assert_eq!(federated, federated.clone());
}

#[test]
fn several_authorities_and_their_revocations_are_read() {
    let (one, list) = authority("one");
    let (two, other_list) = authority("two");
    let all = Authorities::from_pem(
        (one + &two).as_bytes(),
        Some((list + &other_list).as_bytes()),
    )
    .unwrap();
    assert_eq!(
        (
            all.certificates.len(),
            all.roots.len(),
            all.revocations.len()
        ),
        (2, 2, 2)
    );
    assert!(
        all.names[0].contains("CN=one") && all.names[1].contains("CN=two"),
        "{:?}",
        all.names
    );
    let years = all
        .not_after
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(years, Duration::from_secs(1_893_456_000));
}

#[test]
fn what_is_no_authority_is_refused_and_says_why() {
    let (good, list) = authority("one");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (text, want) in [
        (String::new(), "there is no certificate in it"),
        (list, "there is no certificate in it"),
        (
            good[..200].to_owned(),
            "the authorities cannot be read: it is cut off",
        ),
        (
            good + broken,
            "certificate 2 cannot be used as an authority: ",
        ),
    ] {
        let refused = Authorities::from_pem(text.as_bytes(), None)
            .unwrap_err()
            .to_string();
        assert!(refused.starts_with(want), "{refused}");
    }
}

#[test]
fn what_is_no_revocation_list_is_refused_and_says_why() {
    let (good, list) = authority("one");
    let broken = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    for (text, want) in [
        ("", "the revocations cannot be read: there is none in it"),
        (&good, "the revocations cannot be read: there is none in it"),
        (
            &list[..200],
            "the revocations cannot be read: it is cut off",
        ),
        (broken, "the revocations cannot be read: "),
    ] {
        let refused = Authorities::from_pem(good.as_bytes(), Some(text.as_bytes()));
        let refused = refused.unwrap_err().to_string();
        assert!(refused.starts_with(want), "{refused}");
    }
}

/// Clients may send an authority in between, with a list of its own.
#[test]
fn of_the_lists_one_must_be_of_an_authority() {
    let (one, list) = authority("one");
    let (_, other) = authority("other");
    let read = |lists: &str| Authorities::from_pem(one.as_bytes(), Some(lists.as_bytes()));
    let refused = read(&other).unwrap_err().to_string();
    assert!(
        refused.contains("CN=other, which is none of the authorities"),
        "{refused}"
    );
    assert_eq!(read(&(list + &other)).unwrap().revocations.len(), 2);
}

#[test]
fn a_list_wants_a_newer_one_after_its_next_update() {
    let (one, list) = authority("one");
    let all = Authorities::from_pem(one.as_bytes(), Some(list.as_bytes())).unwrap();
    let until = all.next_update.unwrap();
    assert_eq!(until, all.not_after);
    assert_eq!(all.check_lists(until), Ok(()));
    let lapsed = all.check_lists(until + Duration::from_secs(1)).unwrap_err();
    assert_eq!(
        lapsed.to_string(),
        "its nextUpdate was Jan  1 00:00:00 2030 +00:00"
    );
    let none = Authorities::from_pem(one.as_bytes(), None).unwrap();
    assert_eq!(none.next_update, None);
}

proptest! {
    #[test]
    fn junk_never_panics(authorities in any::<Vec<u8>>(), lists in any::<Vec<u8>>()) {
        let _ = Authorities::from_pem(&authorities, Some(&lists));
    }

    #[test]
    fn junk_in_pem_never_panics(junk in "[A-Za-z0-9+/]{0,200}") {
        let certificate = format!("-----BEGIN CERTIFICATE-----\n{junk}\n-----END CERTIFICATE-----\n");
        let list = format!("-----BEGIN X509 CRL-----\n{junk}\n-----END X509 CRL-----\n");
        let _ = Authorities::from_pem(certificate.as_bytes(), None);
        let _ = lists(list.as_bytes());
    }
}

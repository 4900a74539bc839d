use super::*;
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};

const RSA: &[u8] = include_bytes!("../../testdata/rsa.crt");
const RSA_PKCS1: &[u8] = include_bytes!("../../testdata/rsa.pkcs1");
const RSA_PKCS8: &[u8] = include_bytes!("../../testdata/rsa.pkcs8");
const EC: &[u8] = include_bytes!("../../testdata/ec.crt");
const EC_SEC1: &[u8] = include_bytes!("../../testdata/ec.sec1");

/// A certificate and its key.
fn made(names: &[&str], key: &KeyPair) -> (Vec<u8>, Vec<u8>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names)
        .unwrap()
        .self_signed(key)
        .unwrap();
    (
        certificate.pem().into_bytes(),
        key.serialize_pem().into_bytes(),
    )
}

#[track_caller]
fn check_refused(chain: &[u8], key: &[u8], want: &InvalidCredential) {
    let refused = Credential::from_pem(chain, key).unwrap_err();
    assert_eq!(refused, *want);
}

#[test]
fn every_kind_of_key_in_every_form_is_read() {
    for (chain, key, names) in [
        (
            RSA,
            RSA_PKCS1,
            &["rsa.test", "192.0.2.7", "2001:db8::7"][..],
        ),
        (RSA, RSA_PKCS8, &["rsa.test", "192.0.2.7", "2001:db8::7"]),
        (EC, EC_SEC1, &["ec.test"]),
    ] {
        assert_eq!(Credential::from_pem(chain, key).unwrap().names, names);
    }
    for algorithm in [
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let (chain, key) = made(&["a.test", "*.a.test"], &key);
        let credential = Credential::from_pem(&chain, &key).unwrap();
        assert_eq!(credential.names, ["a.test", "*.a.test"]);
    }
}

#[test]
fn a_chain_stays_in_its_order_and_other_sections_are_skipped() {
    let (leaf, key) = made(&["leaf.test"], &KeyPair::generate().unwrap());
    let chain = [b"text before\n", &leaf[..], b"text between\n", EC_SEC1, RSA].concat();
    let credential = Credential::from_pem(&chain, &key).unwrap();
    assert_eq!(credential.names, ["leaf.test"]);
    assert_eq!(credential.certified_key.cert.len(), 2);
    // Both in one file, as HAProxy has them.
    let one_file = [&chain[..], &key].concat();
    assert!(
        Credential::from_pem(&chain, &one_file).is_err(),
        "the first key counts"
    );
    let one_file = [&leaf[..], &key].concat();
    assert!(Credential::from_pem(&one_file, &one_file).is_ok());
}

#[test]
fn der_is_read_as_pem_is() {
    let key = KeyPair::generate().unwrap();
    let (leaf, _) = made(&["leaf.test"], &key);
    let chain = certificates(&[&leaf[..], RSA].concat()).unwrap();
    let chain: Vec<u8> = chain.iter().flat_map(|one| one.to_vec()).collect();
    let credential = Credential::from_der(&chain, &key.serialize_der()).unwrap();
    assert_eq!(credential.names, ["leaf.test"]);
    assert_eq!(credential.certified_key.cert.len(), 2);
    let other = KeyPair::generate().unwrap().serialize_der();
    for (chain, key, want) in [
        (&b""[..], &other[..], InvalidCredential::NoCertificate),
        (b"junk", &other, InvalidCredential::Chain("it is not DER")),
        (&leaf, &other, InvalidCredential::Chain("it is not DER")),
        (&chain, &other, InvalidCredential::Mismatch),
        (&chain, b"junk", InvalidCredential::KeyKind),
        (&chain, b"", InvalidCredential::KeyKind),
    ] {
        assert_eq!(Credential::from_der(chain, key).unwrap_err(), want);
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (leaf, key) = made(&["leaf.test"], &KeyPair::generate().unwrap());
    check_refused(&leaf, RSA_PKCS8, &InvalidCredential::Mismatch);
    check_refused(RSA, &key, &InvalidCredential::Mismatch);
    let wrong_way_round = [RSA, &leaf].concat();
    check_refused(&wrong_way_round, &key, &InvalidCredential::Order(2));
}

#[test]
fn what_is_no_certificate_is_refused_and_says_why() {
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (chain, want) in [
        (&b""[..], InvalidCredential::NoCertificate),
        (b"\x30\x82\x01\x00", InvalidCredential::NoCertificate),
        (RSA_PKCS8, InvalidCredential::NoCertificate),
        (
            &RSA[..RSA.len() / 2],
            InvalidCredential::Chain("it is cut off"),
        ),
        (
            b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n",
            InvalidCredential::Chain("it is not valid Base64"),
        ),
        (&RSA.repeat(MAX_CHAIN + 1), InvalidCredential::TooLong),
    ] {
        check_refused(chain, RSA_PKCS8, &want);
    }
    let refused = Credential::from_pem(broken, RSA_PKCS8).unwrap_err();
    assert!(matches!(refused, InvalidCredential::Leaf(_)), "{refused}");
}

#[test]
fn what_is_no_key_is_refused_and_says_why() {
    let damaged = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (key, want) in [
        (&b""[..], InvalidCredential::Key("there is none in it")),
        (RSA, InvalidCredential::Key("there is none in it")),
        (
            &RSA_PKCS8[..RSA_PKCS8.len() / 2],
            InvalidCredential::Key("it is cut off"),
        ),
        (
            include_bytes!("../../testdata/encrypted.pkcs8"),
            InvalidCredential::EncryptedKey,
        ),
        (
            include_bytes!("../../testdata/encrypted.pkcs1"),
            InvalidCredential::EncryptedKey,
        ),
        (damaged, InvalidCredential::KeyKind),
    ] {
        check_refused(RSA, key, &want);
    }
}

#[test]
fn time_is_checked_to_the_second() {
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 4, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let key = key.serialize_pem();
    let credential = Credential::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let (from, until) = (credential.not_before, credential.not_after);
    let second = Duration::from_secs(1);
    assert_eq!(
        until.duration_since(from).unwrap(),
        Duration::from_secs(90 * 86_400)
    );
    for (now, want) in [
        (from - second, Err(InvalidCredential::NotYetValid)),
        (from, Ok(())),
        (until, Ok(())),
        (until + second, Err(InvalidCredential::Expired)),
    ] {
        assert_eq!(credential.check_time(now), want, "{now:?}");
    }
}

#[test]
fn an_ocsp_answer_is_stapled_unless_it_is_none() {
    let credential = Credential::from_pem(RSA, RSA_PKCS8).unwrap();
    let stapled = credential
        .clone()
        .with_staple(&[0x30, 0x03, 0x0a, 0x01, 0x06])
        .unwrap();
    assert!(stapled.certified_key.ocsp.is_some());
    assert_eq!(stapled.names, credential.names);
    for junk in [&b""[..], b"hello", &[0x30, 0x03, 0x0a], &[0x30, 0x00, 0x00]] {
        let refused = credential.clone().with_staple(junk).unwrap_err();
        assert_eq!(refused, InvalidCredential::Staple, "{junk:?}");
    }
}

#[test]
fn nothing_of_a_key_is_shown() {
    let key = KeyPair::generate().unwrap();
    let (chain, pem) = made(&["a.test"], &key);
    let shown = format!("{:?}", Credential::from_pem(&chain, &pem).unwrap());
    assert_eq!(&shown[..43], "Credential { certificates: 1, names: [\"a.te");
    let secret = String::from_utf8(pem.clone()).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    // A key where a certificate belongs, and a line that is no PEM.
    let garbled = secret.replace('=', "") + "\n-----BEGIN";
    for (chain, key) in [
        (&pem[..], &pem[..]),
        (garbled.as_bytes(), &pem),
        (&chain, garbled.as_bytes()),
    ] {
        let refused = Credential::from_pem(chain, key).unwrap_err();
        assert!(
            !format!("{refused} {refused:?}").contains(secret),
            "{refused}"
        );
    }
    assert_eq!(key.algorithm(), &rcgen::PKCS_ECDSA_P256_SHA256);
}

proptest! {
    #[test]
    fn junk_never_panics(chain in any::<Vec<u8>>(), key in any::<Vec<u8>>()) {
        let _ = Credential::from_pem(&chain, &key);
        let _ = Credential::from_pem(&chain, RSA_PKCS8);
        let _ = Credential::from_pem(RSA, &key);
        let _ = Credential::from_der(&chain, &key);
    }

    #[test]
    fn damage_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for (file, other) in [(RSA, RSA_PKCS1), (EC, EC_SEC1)] {
            let mut damaged = file.to_vec();
            *at.get_mut(&mut damaged[..]) = byte;
            let _ = Credential::from_pem(&damaged, other);
            let mut damaged = other.to_vec();
            *at.get_mut(&mut damaged[..]) = byte;
            let _ = Credential::from_pem(file, &damaged);
        }
    }

    /// As Base64 of anything, behind the right words.
    #[test]
    fn junk_in_pem_never_panics(junk in "[A-Za-z0-9+/]{0,200}") {
        for kind in ["CERTIFICATE", "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
            let pem = format!("-----BEGIN {kind}-----\n{junk}\n-----END {kind}-----\n");
            let _ = Credential::from_pem(pem.as_bytes(), RSA_PKCS8);
            let _ = Credential::from_pem(RSA, pem.as_bytes());
        }
    }
}

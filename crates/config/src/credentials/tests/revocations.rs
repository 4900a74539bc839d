//! Lists of revocations: what was revoked stays so until somebody says otherwise.

use super::*;
use rcgen::{
    BasicConstraints, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, RevokedCertParams,
};

const FILES: &str = "mode: MUTUAL, serverCertificate: a.crt, privateKey: a.key, \
                     caCertificates: ca.crt, caCrl: ca.crl";

/// An authority and its list of revocations, PEM.
struct Clients {
    authorities: String,
    list: String,
}

/// Whose list is to be followed by a newer one in the beginning of a year.
fn clients(name: &str, until: i32) -> Clients {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    let authorities = params.self_signed(&key).unwrap().pem();
    let revoked = RevokedCertParams {
        serial_number: 7u64.into(),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: 1u64.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&Issuer::new(params, key)).unwrap();
    let list = list.pem().unwrap();
    Clients { authorities, list }
}

fn list(text: &str) -> Vec<CertificateFile> {
    vec![file("certs/web/ca.crl", text, ANYBODYS)]
}

/// A server of mode MUTUAL, whose authorities lie beside its certificate.
fn watched(authorities: &str, revocations: &str) -> (Watched, Published) {
    let mut files = in_folder("certs/web", &pair("web.test"));
    files.push(file("certs/web/ca.crt", authorities, ANYBODYS));
    files.extend(list(revocations));
    Watched::new(&[server(443, MUTUAL)], files)
}

#[track_caller]
fn says(published: &Published, words: &str) {
    let one = only(published);
    assert!(one.message.contains(words), "{}", one.message);
}

#[track_caller]
fn stays(first: &Published, next: &Published) {
    assert!(Arc::ptr_eq(&first.credentials, &next.credentials));
    let help = only(next).help.as_deref().unwrap();
    assert!(
        help.ends_with("until then the last good one stays"),
        "{help}"
    );
}

#[test]
fn a_list_that_is_emptied_or_taken_away_goes_on_counting() {
    let good = clients("clients", 2030);
    let emptied = "its list of revocations is unusable, certs/web/ca.crl is empty";
    let gone = "its list of revocations certs/web/ca.crl is gone";
    for (change, code, words) in [
        (list(""), "incomplete_certificate", emptied),
        (vec![absent("certs/web/ca.crl")], "revocations_gone", gone),
    ] {
        let (mut watched, first) = watched(&good.authorities, &good.list);
        assert!(first.diagnostics.is_empty(), "{:?}", first.diagnostics);
        assert!(watched.write(change, later(1)).is_none(), "may pass");
        let next = watched.write(Vec::new(), later(2)).unwrap();
        assert_eq!(told(&next), [(code, Severity::Error)]);
        says(&next, words);
        stays(&first, &next);
        let healed = watched.write(list(&good.list), later(3)).unwrap();
        assert!(healed.diagnostics.is_empty());
    }
}

#[test]
fn a_list_of_a_secret_that_is_emptied_or_taken_away_goes_on_counting() {
    let (web, good) = (pair("web.test"), clients("clients", 2030));
    let whole = [
        ("tls.crt", &*web.certificate),
        ("tls.key", &*web.key),
        ("ca.crt", &*good.authorities),
        ("ca.crl", &*good.list),
    ];
    let mut emptied = whole;
    emptied[3].1 = "";
    let elsewhere = [("cacert", &*good.authorities)];
    for (change, words) in [
        (
            secret("web", &emptied),
            "ca.crl of Secret istio-system/web is empty",
        ),
        (
            secret("web", &whole[..3]),
            "ca.crl of Secret istio-system/web is gone",
        ),
        (
            secret("web-cacert", &elsewhere),
            "ca.crl of Secret istio-system/web is gone",
        ),
    ] {
        let (mut watched, _) = Watched::new(&[server(443, MUTUAL)], Vec::new());
        let first = watched.apply(vec![secret("web", &whole)], later(1));
        let first = first.unwrap();
        assert!(first.diagnostics.is_empty(), "{:?}", first.diagnostics);
        let next = watched.apply(vec![change], later(2)).unwrap();
        assert_eq!(only(&next).severity, Severity::Error);
        says(&next, words);
        stays(&first, &next);
    }
}

#[test]
fn at_first_an_empty_list_fails_closed_and_none_is_none() {
    let good = clients("clients", 2030);
    let (mut watched, first) = watched(&good.authorities, "");
    assert!(first.credentials.authorities.is_empty());
    assert_eq!(told(&first), [("incomplete_certificate", Severity::Error)]);
    says(&first, "certs/web/ca.crl is empty");
    let without = watched.write(vec![absent("certs/web/ca.crl")], later(1));
    let without = without.unwrap();
    assert_eq!(without.credentials.authorities.len(), 1);
    assert!(without.diagnostics.is_empty());
}

#[test]
fn a_list_at_a_path_is_told_at_its_own_field() {
    let (web, good) = (pair("web.test"), clients("clients", 2030));
    let files = vec![
        file("conf/a.crt", &web.certificate, ANYBODYS),
        file("conf/a.key", &web.key, OWNERS_ALONE),
        file("conf/ca.crt", &good.authorities, ANYBODYS),
    ];
    let (mut watched, first) = Watched::new(&[server(443, FILES)], files);
    says(
        &first,
        "its list of revocations is missing, there is no conf/ca.crl",
    );
    for (text, words) in [("", "conf/ca.crl is empty"), ("junk", "(conf/ca.crl)")] {
        let next = watched.write(vec![file("conf/ca.crl", text, ANYBODYS)], later(1));
        let next = next.unwrap();
        says(&next, words);
        assert_eq!(only(&next).path, "spec.servers[0].tls.caCrl");
        assert!(next.credentials.authorities.is_empty());
    }
}

#[test]
fn a_list_of_another_authority_does_not_lock_everybody_out() {
    let (good, other) = (clients("clients", 2030), clients("others", 2030));
    let (mut watched, first) = watched(&good.authorities, &good.list);
    assert!(watched.write(list(&other.list), later(1)).is_none());
    let next = watched.write(Vec::new(), later(2)).unwrap();
    says(&next, "CN=others, which is none of the authorities");
    stays(&first, &next);
}

#[test]
fn a_list_that_runs_out_counts_and_is_told_when_it_does() {
    let good = clients("clients", 2027);
    let (mut watched, first) = watched(&good.authorities, &good.list);
    let status = first.credential_status.iter();
    let until = status.filter_map(|one| one.next_update).next().unwrap();
    let due = until + Duration::from_secs(1);
    assert_eq!(watched.configuration.due(), Some(due));
    assert!(watched.apply(Vec::new(), until).is_none());
    let next = watched.apply(Vec::new(), due).unwrap();
    assert!(Arc::ptr_eq(&first.credentials, &next.credentials));
    assert_eq!(
        told(&next),
        [("revocations_out_of_time", Severity::Warning)]
    );
    says(&next, "its nextUpdate was Jan  1 00:00:00 2027");
    says(&next, "(certs/web/ca.crl)");
    let help = only(&next).help.as_deref().unwrap();
    assert!(help.ends_with("until then it goes on counting"), "{help}");
}

/// One that is out of date is still what the operator put there.
#[test]
fn a_list_that_ran_out_replaces_one_that_did_not() {
    let (good, old) = (clients("clients", 2030), clients("clients", 2021));
    let both = format!("{}{}", good.authorities, old.authorities);
    let (mut watched, first) = watched(&both, &good.list);
    let next = watched.write(list(&old.list), later(1)).unwrap();
    assert!(!Arc::ptr_eq(&first.credentials, &next.credentials));
    assert_eq!(
        told(&next),
        [("revocations_out_of_time", Severity::Warning)]
    );
}

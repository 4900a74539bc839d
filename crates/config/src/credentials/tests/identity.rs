//! The proxy's identity in the mesh: whose it must be, and where a source tells it.

use super::*;
use crate::{Identity, IdentitySource, IssuedIdentity};
use certificates::{Authorities, TrustDomain};
use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, KeyUsagePurpose};

const SOURCE: &str = "the Workload API unix:///agent.sock";

/// An authority of a trust domain.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let issuer = Issuer::new(params, key);
        Self { issuer, der }
    }

    /// Valid from 2025 to 2030.
    fn issue(&self, id: &str) -> IssuedIdentity {
        self.issue_until(id, 2030)
    }

    fn issue_until(&self, id: &str, year: i32) -> IssuedIdentity {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        IssuedIdentity {
            id: id.parse().unwrap(),
            chain: certificate.der().to_vec(),
            key: SecretBytes::new(key.serialize_der()),
            authorities: self.der.clone(),
            revocations: Vec::new(),
            federated: BTreeMap::new(),
        }
    }

    /// A list that revokes nothing yet.
    fn list(&self) -> Vec<u8> {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(2030, 1, 1),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

/// What needs the identity.
fn servers() -> [String; 1] {
    [server(443, "mode: ISTIO_MUTUAL")]
}

fn settings() -> CredentialSettings {
    CredentialSettings {
        identity: Some(IdentitySource::Told(SOURCE.into())),
        ..credential_settings()
    }
}

/// A configuration of which nothing was told yet, as it was published.
fn untold() -> (Watched, Published) {
    Watched::with(settings(), &servers(), Vec::new())
}

/// One that was told this first.
fn issued(identity: IssuedIdentity) -> (Watched, Published) {
    let (mut watched, _) = untold();
    let published = watched.issue(identity, later(1)).unwrap();
    (watched, published)
}

impl Watched {
    fn tell(&mut self, news: Identity, now: SystemTime) -> Option<Published> {
        self.configuration.apply_identity(news);
        self.configuration.compile(now)
    }

    fn issue(&mut self, identity: IssuedIdentity, now: SystemTime) -> Option<Published> {
        self.tell(Identity::Issued(Box::new(identity)), now)
    }

    fn stall(&mut self, why: &str, now: SystemTime) -> Option<Published> {
        self.tell(Identity::Unavailable(why.to_owned()), now)
    }
}

fn authorities(published: &Published) -> Option<&Arc<Authorities>> {
    let authorities = &published.credentials.authorities;
    authorities.get(&CredentialRef::WorkloadAuthorities)
}

/// What is wrong.
fn problems(published: &Published) -> Vec<(&'static str, Severity, String)> {
    let told = published.diagnostics.iter();
    let told = told.map(|one| (one.code, one.severity, one.message.clone()));
    told.collect()
}

/// Promise 8.
#[test]
fn what_is_told_is_served_and_followed() {
    let authority = Authority::new();
    let (mut watched, first) = issued(authority.issue(OWN));
    assert_eq!(identity(&first), Some(OWN));
    assert_eq!(authorities(&first).unwrap().certificates.len(), 1);
    assert!(first.diagnostics.is_empty(), "{:?}", first.diagnostics);
    assert_eq!(
        changes(&first),
        [
            "credential mesh identity added",
            "authorities mesh identity added"
        ]
    );
    for status in &*first.credential_status {
        assert_eq!(status.state, CredentialState::Served);
        assert_eq!(status.source.as_deref(), Some(SOURCE));
    }
    assert_eq!(first.credential_status[0].names, [OWN]);

    let newer = authority.issue(OWN);
    let next = watched.issue(newer.clone(), later(2)).unwrap();
    assert_eq!(changes(&next), ["credential mesh identity changed"]);
    assert!(Arc::ptr_eq(&first.table, &next.table));
    assert!(Arc::ptr_eq(
        authorities(&first).unwrap(),
        authorities(&next).unwrap()
    ));
    assert!(watched.issue(newer, later(3)).is_none(), "nothing is new");
}

/// Promise 8.
#[test]
fn what_is_no_good_is_told_at_once_and_the_last_good_one_stays() {
    let authority = Authority::new();
    let good = authority.issue(OWN);
    let other = authority.issue(OTHER);
    for (broken, code, words) in [
        (
            IssuedIdentity {
                chain: b"junk".to_vec(),
                ..good.clone()
            },
            "invalid_certificate",
            "it is not DER",
        ),
        (
            IssuedIdentity {
                key: other.key.clone(),
                ..good.clone()
            },
            "invalid_certificate",
            "the private key is not that of the certificate",
        ),
        (
            IssuedIdentity {
                id: OTHER.parse().unwrap(),
                ..good.clone()
            },
            "invalid_certificate",
            "the certificate is spiffe://mesh.test/ns/istio-system/sa/edge's and was issued for \
             spiffe://mesh.test/ns/istio-system/sa/other",
        ),
        (
            IssuedIdentity {
                authorities: b"0\0".to_vec(),
                ..good.clone()
            },
            "invalid_certificate",
            "certificate 1 cannot be used as an authority",
        ),
        (
            IssuedIdentity {
                revocations: b"junk".to_vec(),
                ..good.clone()
            },
            "invalid_certificate",
            "the revocations cannot be read: it is not DER",
        ),
        (
            authority.issue_until(OWN, 2021),
            "certificate_out_of_time",
            "it has expired",
        ),
    ] {
        let (mut watched, first) = issued(good.clone());
        let next = watched.issue(broken, later(2)).expect(words);
        assert!(
            Arc::ptr_eq(&first.credentials, &next.credentials),
            "{words}"
        );
        let told = only(&next);
        assert_eq!((told.code, told.severity), (code, Severity::Error));
        assert!(told.message.contains(words), "{}", told.message);
        assert!(told.message.ends_with(&format!("({SOURCE})")));
        let healed = watched.issue(good.clone(), later(3)).unwrap();
        assert!(healed.diagnostics.is_empty(), "{words}");
    }
}

/// Also in files: peers would refuse it, and with it everything that the proxy says to them.
#[test]
fn a_certificate_that_is_nobody_s_never_replaces_an_identity() {
    let files = |pair: &Pair| {
        vec![
            file("identity/cert-chain.pem", &pair.certificate, ANYBODYS),
            file("identity/key.pem", &pair.key, OWNERS_ALONE),
            file("identity/root-cert.pem", &pair.certificate, ANYBODYS),
        ]
    };
    let (mut watched, first) = Watched::new(&servers(), files(&pair(OWN)));
    let own = |published: &Published| credential(published, &CredentialRef::Workload);
    watched.write(files(&pair("edge.test")), later(1));
    let told = watched.write(Vec::new(), later(2)).unwrap();
    assert_eq!(own(&told).map(|one| one.names.clone()), Some(Vec::new()));
    assert!(Arc::ptr_eq(&own(&first).unwrap(), &own(&told).unwrap()));
    let diagnostic = only(&told);
    assert_eq!(diagnostic.severity, Severity::Error);
    assert_eq!(
        diagnostic.message,
        "the proxy's mesh identity: is refused, the certificate names no SPIFFE ID \
         (identity/cert-chain.pem, identity/key.pem)"
    );
    // A certificate of another name need not be anybody's.
    let web = in_folder("certs/web", &pair("web.test"));
    let (_, published) = Watched::new(&[server(443, &simple("web"))], web);
    assert!(published.diagnostics.is_empty());
}

#[test]
fn an_identity_that_istio_s_rules_cannot_name_is_served_with_a_warning() {
    let (_, published) = issued(Authority::new().issue("spiffe://mesh.test/billing"));
    assert_eq!(identity(&published), Some("spiffe://mesh.test/billing"));
    let told = only(&published);
    assert_eq!(
        (told.code, told.severity),
        ("identity_of_other_form", Severity::Warning)
    );
    assert!(
        told.message
            .contains("is spiffe://mesh.test/billing, and not")
    );
    let help = told.help.as_deref().unwrap();
    assert!(
        help.ends_with("until then it is served all the same"),
        "{help}"
    );
    let status = &published.credential_status[0];
    assert_eq!(status.state, CredentialState::Served);
}

/// Promise 8, and 9: nobody else notices.
#[test]
fn what_was_issued_stays_while_its_source_is_away() {
    let authority = Authority::new();
    let (mut watched, first) = issued(authority.issue(OWN));
    let away = watched.stall("cannot be reached", later(2)).unwrap();
    assert!(Arc::ptr_eq(&first.credentials, &away.credentials));
    let message = |what: &str| format!("{what}: is not to be had, {SOURCE} cannot be reached");
    let warning = |what| ("unavailable_identity", Severity::Warning, message(what));
    assert_eq!(
        problems(&away),
        [
            warning("the proxy's mesh identity"),
            warning("the mesh's authorities")
        ]
    );
    let help = away.diagnostics[0].help.as_deref().unwrap();
    assert!(
        help.ends_with("until then the last good one stays"),
        "{help}"
    );
    let states = away.credential_status.iter().map(|status| status.state);
    assert!(states.eq([CredentialState::LastGood; 2]));
    assert!(watched.stall("cannot be reached", later(3)).is_none());

    // Those that came later and need it have it too.
    watched.apply(vec![gateway(&[])], later(4));
    let again = watched.apply(vec![gateway(&servers())], later(5)).unwrap();
    assert_eq!(identity(&again), Some(OWN));
    assert_eq!(problems(&again).len(), 2);

    let back = watched.issue(authority.issue(OWN), later(6)).unwrap();
    assert!(back.diagnostics.is_empty());
    assert_eq!(changes(&back), ["credential mesh identity changed"]);
}

#[test]
fn that_an_identity_has_run_out_is_told_before_that_nothing_follows_it() {
    let (mut watched, first) = issued(Authority::new().issue(OWN));
    watched.stall("cannot be reached", later(2));
    let expiry = first.credential_status[0].not_after.unwrap();
    let expired = watched.apply(Vec::new(), expiry + Duration::from_secs(1));
    let expired = expired.unwrap();
    assert_eq!(identity(&expired), Some(OWN));
    assert_eq!(
        told(&expired),
        [
            ("certificate_out_of_time", Severity::Error),
            ("unavailable_identity", Severity::Warning)
        ]
    );
}

#[test]
fn nothing_is_wrong_with_an_identity_that_was_not_told_yet() {
    let (mut watched, first) = untold();
    assert!(first.diagnostics.is_empty(), "{:?}", first.diagnostics);
    assert_eq!(identity(&first), None);
    let denied = watched.stall("issues no identity", later(1)).unwrap();
    let help = denied.diagnostics[0].help.as_deref().unwrap();
    assert!(
        help.ends_with("until then handshakes that need it fail"),
        "{help}"
    );
    let states = denied.credential_status.iter().map(|status| status.state);
    assert!(states.eq([CredentialState::Missing; 2]));
}

/// Nobody shall fail for want of an identity that is on its way, or wait for one for ever.
#[test]
fn the_first_publication_waits_for_an_identity_that_is_needed() {
    for (servers, is_waited_for) in [(&servers()[..], true), (&[], false)] {
        let mut configuration = configuration(settings());
        configuration.apply(vec![gateway(servers)]);
        configuration.prepare(now());
        assert!(configuration.wanted_files().is_empty());
        let until = configuration.waits_for_files_until(now());
        assert_eq!(until, is_waited_for.then(|| later(5)));
        assert_eq!(configuration.waits_for_files_until(later(5)), None);
        configuration.apply_identity(Identity::Unavailable("is not there".into()));
        assert_eq!(configuration.waits_for_files_until(now()), None);
    }
    let (mut watched, _) = untold();
    // A change later on does not wait for it again.
    let again = [servers(), [server(444, "mode: ISTIO_MUTUAL")]].concat();
    watched.configuration.apply(vec![gateway(&again)]);
    watched.configuration.prepare(later(60));
    assert_eq!(watched.configuration.waits_for_files_until(later(60)), None);
}

#[test]
fn who_the_proxy_is_is_known_though_nobody_needs_it() {
    let (mut watched, first) = Watched::with(settings(), &[], Vec::new());
    assert_eq!(identity(&first), None);
    let issued = watched
        .issue(Authority::new().issue(OWN), later(1))
        .unwrap();
    assert_eq!(identity(&issued), Some(OWN));
    let none = CredentialSettings {
        identity: None,
        ..credential_settings()
    };
    let (_, without) = Watched::with(none, &[], Vec::new());
    assert!(without.credential_status.is_empty());
}

/// Where the mesh's TLS ends, if there is an identity to end it with.
#[test]
fn a_sidecar_needs_its_identity_unless_it_has_none() {
    let sidecar = || SidecarOptions {
        inbound: Some(([0, 0, 0, 0], 15006).into()),
        ..SidecarOptions::default()
    };
    let mut configuration = configuration_of(settings(), Some(sidecar()));
    configuration.prepare(now());
    assert_eq!(
        configuration.waits_for_files_until(now()),
        Some(later(5)),
        "it is waited for"
    );
    configuration.apply_identity(Identity::Unavailable("is not there".into()));
    let published = configuration.compile(now()).unwrap();
    let told: Vec<_> = published.diagnostics.iter().map(|one| one.code).collect();
    assert_eq!(told, ["unavailable_identity"; 2]);
    assert_eq!(published.diagnostics[0].path, "capture.inbound");
    let none = CredentialSettings {
        identity: None,
        ..credential_settings()
    };
    let mut configuration = configuration_of(none, Some(sidecar()));
    let published = configuration.compile(now()).unwrap();
    assert!(published.diagnostics.is_empty());
    // What its ingress names is needed in any case.
    let ingress = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: own, namespace: istio-system}
spec:
  ingress:
  - port: {number: 9443, name: https, protocol: HTTPS}
    defaultEndpoint: 127.0.0.1:9080
    tls: {mode: SIMPLE, credentialName: web}
";
    configuration.apply(vec![change("sidecar.yaml", ingress)]);
    configuration.prepare(now());
    let wanted = configuration.wanted_files();
    assert!(
        wanted.contains(Path::new("certs/web/tls.crt")),
        "{wanted:?}"
    );
}

#[test]
fn federated_authorities_are_kept_apart_and_fail_alone() {
    let (own, other) = (Authority::new(), Authority::new());
    let domain = |name: &str| name.parse::<TrustDomain>().unwrap();
    let federated = |bundles: &[(&str, &[u8])]| IssuedIdentity {
        federated: bundles
            .iter()
            .map(|(name, bundle)| (domain(name), bundle.to_vec()))
            .collect(),
        ..own.issue(OWN)
    };
    let (mut watched, first) = issued(federated(&[("other.test", &other.der)]));
    let held = authorities(&first).unwrap();
    assert_eq!(held.certificates[0].as_ref(), own.der);
    assert_eq!(held.certificates.len(), 1);
    let others = &held.federated["other.test"];
    assert_eq!(others.certificates[0].as_ref(), other.der);

    let both = federated(&[("broken.test", b"junk"), ("other.test", &other.der)]);
    let next = watched.issue(both, later(2)).unwrap();
    let names: Vec<_> = authorities(&next).unwrap().federated.keys().collect();
    assert_eq!(names, [&domain("other.test")]);
    let told = only(&next);
    assert_eq!(told.code, "invalid_federated_authorities");
    assert_eq!(
        told.message,
        format!(
            "the mesh's authorities: lack those of the trust domain broken.test, the authorities \
             cannot be read: it is not DER ({SOURCE})"
        )
    );

    let without = watched.issue(federated(&[]), later(3)).unwrap();
    assert!(authorities(&without).unwrap().federated.is_empty());
    assert!(without.diagnostics.is_empty());
}

/// Who tells everything at once lifts what it does not tell any more, unlike who lost a file.
#[test]
fn revocations_count_until_the_source_lifts_them() {
    let authority = Authority::new();
    let with_list = IssuedIdentity {
        revocations: authority.list(),
        ..authority.issue(OWN)
    };
    let (mut watched, first) = issued(with_list);
    assert_eq!(authorities(&first).unwrap().revocations.len(), 1);
    let lifted = watched.issue(authority.issue(OWN), later(2)).unwrap();
    assert!(authorities(&lifted).unwrap().revocations.is_empty());
    assert!(lifted.diagnostics.is_empty());
}

#[test]
fn nothing_of_a_told_key_is_shown() {
    let issued_identity = Authority::new().issue(OWN);
    let key = issued_identity.key.as_bytes().to_vec();
    let message = Message::Identity(Identity::Issued(Box::new(issued_identity.clone())));
    let (_, published) = issued(issued_identity);
    let shown = format!("{message:?} {:?}", published.credentials);
    let listed = format!("{key:?}");
    assert!(!shown.contains(&listed[1..listed.len() - 1]));
}

#[test]
fn an_identity_that_is_told_reaches_the_publication() {
    let (sender, receiver) = tokio::sync::mpsc::channel(crate::QUEUE);
    let configuration = configuration(settings());
    let publications = start(configuration, 1, Followers::default(), receiver).unwrap();
    let identity = Authority::new().issue(OWN);
    for message in [
        Message::Changes(vec![gateway(&servers())]),
        Message::Identity(Identity::Unavailable("is not there".into())),
        Message::Identity(Identity::Issued(Box::new(identity))),
        Message::Synced,
    ] {
        sender.blocking_send(message).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let published = publications.borrow().clone();
        let own = published.and_then(|published| published.credentials.identity().cloned());
        if own.is_some_and(|own| own.as_str() == OWN) {
            return;
        }
        assert!(Instant::now() < end, "it was not published");
        std::thread::yield_now();
    }
}

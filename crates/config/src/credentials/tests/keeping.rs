//! What is kept, what is told, and when.

use super::*;

/// Promise 8, and 6: nothing else is another afterwards.
#[test]
fn a_changed_certificate_is_published_without_compiling_anything() {
    let servers = [server(443, &simple("web")), server(444, &simple("other"))];
    let mut files = in_folder("certs/web", &pair("old.test"));
    files.extend(in_folder("certs/other", &pair("other.test")));
    let (mut watched, first) = Watched::new(&servers, files);
    let next = watched
        .write(in_folder("certs/web", &pair("new.test")), later(1))
        .unwrap();
    assert_eq!(served(&next, "web").as_deref(), Some("new.test"));
    assert_eq!(changes(&next), ["credential web changed"]);
    assert!(Arc::ptr_eq(&first.table, &next.table));
    assert!(Arc::ptr_eq(&first.endpoints, &next.endpoints));
    let other = |published| credential(published, &named("other")).unwrap();
    assert!(Arc::ptr_eq(&other(&first), &other(&next)));
    // The same once more is nothing new.
    assert!(watched.write(Vec::new(), later(2)).is_none());
}

#[test]
fn a_change_of_rules_leaves_the_certificates() {
    let servers = [server(443, &simple("web"))];
    let (mut watched, first) = Watched::new(&servers, in_folder("certs/web", &pair("web.test")));
    let more = [servers[0].clone(), server(444, &simple("web"))];
    let next = watched.apply(vec![gateway(&more)], later(1)).unwrap();
    assert!(!Arc::ptr_eq(&first.table, &next.table));
    assert!(Arc::ptr_eq(&first.credentials, &next.credentials));
}

/// Promise 8.
#[test]
fn a_broken_mismatched_or_vanished_certificate_changes_nothing_and_is_told() {
    let (web, other) = (pair("web.test"), pair("other.test"));
    let crt = |text: &str| vec![file("certs/web/tls.crt", text, ANYBODYS)];
    let key = |text: &str, mode| vec![file("certs/web/tls.key", text, mode)];
    for (broken, code, words) in [
        (
            crt("junk"),
            "invalid_certificate",
            "there is no certificate in it",
        ),
        (
            crt(&other.certificate),
            "invalid_certificate",
            "not that of the certificate",
        ),
        (
            key(&other.key, OWNERS_ALONE),
            "invalid_certificate",
            "not that of the certificate",
        ),
        (
            key("junk", OWNERS_ALONE),
            "invalid_certificate",
            "private key cannot be read",
        ),
        (
            key(&web.key, ANYBODYS),
            "readable_key",
            "certs/web/tls.key (mode 0644)",
        ),
        (
            vec![absent("certs/web/tls.key")],
            "incomplete_certificate",
            "certs/web has no tls.key",
        ),
        (
            crt(""),
            "incomplete_certificate",
            "certs/web/tls.crt is empty",
        ),
        (
            key("", OWNERS_ALONE),
            "incomplete_certificate",
            "certs/web/tls.key is empty",
        ),
        (
            vec![CertificateFile {
                path: "certs/web/tls.crt".into(),
                content: FileContent::Unreadable("is not a regular file".into()),
            }],
            "unreadable_certificate",
            "certs/web/tls.crt is not a regular file",
        ),
    ] {
        let servers = [server(443, &simple("web"))];
        let (mut watched, first) = Watched::new(&servers, in_folder("certs/web", &web));
        assert!(
            watched.write(broken, later(1)).is_none(),
            "{words}: may pass"
        );
        let next = watched.write(Vec::new(), later(2)).expect(words);
        assert!(
            Arc::ptr_eq(&first.credentials, &next.credentials),
            "{words}"
        );
        let diagnostic = only(&next);
        assert_eq!(
            (diagnostic.code, diagnostic.severity),
            (code, Severity::Error)
        );
        assert!(diagnostic.message.contains(words), "{}", diagnostic.message);
        assert!(
            diagnostic.message.starts_with("credential \"web\": "),
            "{}",
            diagnostic.message
        );
        let help = diagnostic.help.as_deref().unwrap();
        assert!(
            help.ends_with("until then the last good one stays"),
            "{help}"
        );
        assert_eq!(next.credential_status[0].state, CredentialState::LastGood);
        let healed = watched
            .write(in_folder("certs/web", &web), later(3))
            .unwrap();
        assert!(healed.diagnostics.is_empty(), "{words}");
        assert!(
            Arc::ptr_eq(&first.credentials, &healed.credentials),
            "{words}"
        );
    }
}

/// Promise 8: of the two files one is replaced first.
#[test]
fn a_pair_that_is_replaced_file_by_file_is_never_served_or_told_half() {
    let servers = [server(443, &simple("web"))];
    let (mut watched, _) = Watched::new(&servers, in_folder("certs/web", &pair("old.test")));
    let mut new = in_folder("certs/web", &pair("new.test"));
    let key = new.pop().unwrap();
    assert!(watched.write(new, later(1)).is_none());
    assert_eq!(watched.configuration.due(), Some(later(2)));
    let next = watched.write(vec![key], later(1)).unwrap();
    assert_eq!(served(&next, "web").as_deref(), Some("new.test"));
    assert!(next.diagnostics.is_empty());
}

/// Promise 8: whichever of its files is renamed into place first.
#[test]
fn an_identity_that_is_replaced_file_by_file_is_never_served_half() {
    let of = |pair: &Pair| {
        vec![
            file("identity/key.pem", &pair.key, OWNERS_ALONE),
            file("identity/cert-chain.pem", &pair.certificate, ANYBODYS),
            file("identity/root-cert.pem", &pair.certificate, ANYBODYS),
        ]
    };
    let own = |published: &Published| credential(published, &CredentialRef::Workload).unwrap();
    for first in [0, 1] {
        let servers = [server(443, "mode: ISTIO_MUTUAL")];
        let (mut watched, old) = Watched::new(&servers, of(&pair(OTHER)));
        let mut new = of(&pair(OWN));
        let half = new.remove(first);
        assert!(watched.write(vec![half], later(1)).is_none());
        let told = watched.write(Vec::new(), later(2)).unwrap();
        assert!(Arc::ptr_eq(&own(&told), &own(&old)));
        assert!(only(&told).message.contains("not that of the certificate"));
        let whole = watched.write(new, later(3)).unwrap();
        assert_eq!(identity(&whole), Some(OWN));
        assert!(whole.diagnostics.is_empty());
    }
}

/// Promise 9.
#[test]
fn a_missing_certificate_is_a_warning_at_its_field_and_hurts_no_other() {
    let servers = [server(443, &simple("gone")), server(444, &simple("web"))];
    let (mut watched, first) = Watched::new(&servers, in_folder("certs/web", &pair("web.test")));
    assert_eq!(
        (served(&first, "gone"), served(&first, "web").is_some()),
        (None, true)
    );
    let diagnostic = only(&first);
    assert_eq!(
        diagnostic.to_string(),
        "Gateway default/edge: spec.servers[0].tls.credentialName: credential \"gone\": is missing, \
         there is no Secret istio-system/gone or certs/gone/tls.crt"
    );
    assert_eq!(diagnostic.severity, Severity::Warning);
    let position = diagnostic.position.as_ref().unwrap();
    assert_eq!((&*position.file, position.line), ("gateway.yaml", 8));
    let help = diagnostic.help.as_deref().unwrap();
    assert!(
        help.ends_with("until then handshakes that need it fail"),
        "{help}"
    );
    let there = watched
        .write(in_folder("certs/gone", &pair("gone.test")), later(1))
        .unwrap();
    assert!(there.diagnostics.is_empty());
    assert_eq!(changes(&there), ["credential gone added"]);
}

#[test]
fn every_server_that_needs_it_is_told() {
    let servers = [server(443, &simple("gone")), server(444, &simple("gone"))];
    let (_, published) = Watched::new(&servers, Vec::new());
    let paths: Vec<_> = published.diagnostics.iter().map(|one| &*one.path).collect();
    let want = [
        "spec.servers[0].tls.credentialName",
        "spec.servers[1].tls.credentialName",
    ];
    assert_eq!(paths, want);
}

#[test]
fn a_key_that_others_can_read_is_taken_where_that_is_allowed() {
    let web = pair("web.test");
    let files = || {
        vec![
            file("certs/web/tls.crt", &web.certificate, ANYBODYS),
            file("certs/web/tls.key", &web.key, 0o100_640),
        ]
    };
    let servers = [server(443, &simple("web"))];
    let (_, refused) = Watched::new(&servers, files());
    assert_eq!(told(&refused), [("readable_key", Severity::Error)]);
    assert!(
        only(&refused)
            .help
            .as_ref()
            .unwrap()
            .contains("allow-readable-keys")
    );
    let settings = CredentialSettings {
        allow_readable_keys: true,
        ..credential_settings()
    };
    let (_, allowed) = Watched::with(settings, &servers, files());
    assert!(served(&allowed, "web").is_some() && allowed.diagnostics.is_empty());
}

#[test]
fn an_expired_certificate_replaces_no_good_one_and_is_better_than_none() {
    let expired = pair_valid("expired.test", 2020, 2021);
    let servers = [server(443, &simple("web"))];
    let (mut watched, first) = Watched::new(&servers, in_folder("certs/web", &pair("good.test")));
    let next = watched
        .write(in_folder("certs/web", &expired), later(1))
        .unwrap();
    assert!(Arc::ptr_eq(&first.credentials, &next.credentials));
    assert_eq!(told(&next), [("certificate_out_of_time", Severity::Error)]);
    assert!(
        only(&next).message.contains("it has expired"),
        "{:?}",
        only(&next)
    );

    let (mut watched, first) = Watched::new(&servers, in_folder("certs/web", &expired));
    assert_eq!(served(&first, "web").as_deref(), Some("expired.test"));
    let help = only(&first).help.clone().unwrap();
    assert!(
        help.ends_with("until then it is served all the same"),
        "{help}"
    );
    assert_eq!(first.credential_status[0].state, CredentialState::OutOfTime);
    let renewed = watched
        .write(in_folder("certs/web", &pair("good.test")), later(1))
        .unwrap();
    assert_eq!(served(&renewed, "web").as_deref(), Some("good.test"));
    assert!(renewed.diagnostics.is_empty());
}

#[test]
fn a_certificate_that_expires_or_becomes_valid_is_told_when_it_does() {
    let servers = [server(443, &simple("web"))];
    let (mut watched, first) = Watched::new(&servers, in_folder("certs/web", &pair("web.test")));
    let expiry = first.credential_status[0].not_after.unwrap() + Duration::from_secs(1);
    assert_eq!(watched.configuration.due(), Some(expiry));
    assert!(
        watched
            .apply(Vec::new(), expiry - Duration::from_secs(1))
            .is_none()
    );
    let expired = watched.apply(Vec::new(), expiry).unwrap();
    assert_eq!(
        told(&expired),
        [("certificate_out_of_time", Severity::Error)]
    );
    assert!(Arc::ptr_eq(&first.credentials, &expired.credentials));
    assert_eq!(
        (changes(&expired).len(), watched.configuration.due()),
        (0, None)
    );

    let early = pair_valid("early.test", 2027, 2030);
    let (mut watched, first) = Watched::new(&servers, in_folder("certs/web", &early));
    assert!(only(&first).message.contains("it is not valid yet"));
    let start = first.credential_status[0].not_before.unwrap();
    assert_eq!(watched.configuration.due(), Some(start));
    assert!(
        watched
            .apply(Vec::new(), start)
            .unwrap()
            .diagnostics
            .is_empty()
    );
}

/// A broken Secret does not hand the name to a folder that happens to have it.
#[test]
fn a_broken_secret_is_told_at_once_and_the_last_good_one_stays() {
    let good = pair("secret.test");
    let mut files = in_folder("certs/web", &pair("folder.test"));
    files.extend(in_folder("certs/other", &pair("other.test")));
    let (mut watched, _) = Watched::new(&[server(443, &simple("web"))], files);
    let entries = [("tls.crt", &*good.certificate), ("tls.key", &*good.key)];
    let first = watched
        .apply(vec![secret("web", &entries)], later(1))
        .unwrap();
    let broken = [("tls.crt", "junk"), ("tls.key", &*good.key)];
    let next = watched
        .apply(vec![secret("web", &broken)], later(2))
        .unwrap();
    assert!(Arc::ptr_eq(&first.credentials, &next.credentials));
    assert!(
        only(&next).message.ends_with("(Secret istio-system/web)"),
        "{:?}",
        only(&next)
    );
}

/// Authorities in a Secret change as a whole as well, apart from the certificate or beside it.
#[test]
fn broken_authorities_of_a_secret_are_told_at_once() {
    let web = pair("web.test");
    let entries = |authorities| {
        [
            ("tls.crt", &*web.certificate),
            ("tls.key", &*web.key),
            ("ca.crt", authorities),
        ]
    };
    let (mut watched, _) = Watched::new(&[server(443, MUTUAL)], Vec::new());
    let good = vec![secret("web", &entries(&web.certificate))];
    let first = watched.apply(good, later(1)).unwrap();
    assert!(first.diagnostics.is_empty());
    for broken in [
        secret("web", &entries("junk")),
        secret("web-cacert", &[("cacert", "junk")]),
    ] {
        let next = watched.apply(vec![broken], later(2)).unwrap();
        assert_eq!(told(&next), [("invalid_certificate", Severity::Error)]);
        assert!(Arc::ptr_eq(&first.credentials, &next.credentials));
    }
}

/// The certificate's Secret says nothing about how files change.
#[test]
fn broken_authorities_in_a_folder_may_pass_beside_a_secret() {
    let web = pair("web.test");
    let entries = [("tls.crt", &*web.certificate), ("tls.key", &*web.key)];
    let authorities = |text: &str| vec![file("certs/web-cacert/ca.crt", text, ANYBODYS)];
    let (mut watched, _) = Watched::new(&[server(443, MUTUAL)], authorities(&web.certificate));
    let first = watched.apply(vec![secret("web", &entries)], later(1));
    assert!(first.unwrap().diagnostics.is_empty());
    assert!(watched.write(authorities("junk"), later(2)).is_none());
    let next = watched.write(Vec::new(), later(3)).unwrap();
    assert_eq!(told(&next), [("invalid_certificate", Severity::Error)]);
}

/// Promise 17.
#[test]
fn what_no_server_names_any_more_is_forgotten() {
    let servers = [server(443, &simple("web")), server(444, &simple("other"))];
    let mut files = in_folder("certs/web", &pair("web.test"));
    files.extend(in_folder("certs/other", &pair("other.test")));
    let (mut watched, first) = Watched::new(&servers, files);
    assert_eq!(first.credentials.certificates.len(), 2);
    let next = watched
        .apply(vec![gateway(&servers[..1])], later(1))
        .unwrap();
    assert_eq!(next.credentials.certificates.len(), 1);
    assert_eq!(
        changes(&next),
        ["Gateway default/edge changed", "credential other removed"]
    );
    let wanted = watched.configuration.wanted_files();
    let others = wanted.iter().filter(|path| !path.starts_with("identity"));
    let mut others = others.filter(|path| !path.starts_with("certs/web"));
    assert_eq!(others.next(), None);
}

#[test]
fn nothing_of_a_key_is_shown() {
    let web = pair("web.test");
    let files = in_folder("certs/web", &web);
    let secret_line = web.key.lines().nth(1).unwrap();
    let shown = format!("{files:?}");
    let (_, published) = Watched::new(&[server(443, &simple("web"))], files);
    let shown = shown
        + &format!(
            "{:?} {:?}",
            published.credentials, published.credential_status
        );
    assert!(!shown.contains(secret_line));
}

/// Promise 9: no handshake fails for want of a certificate that is there.
#[test]
fn the_first_publication_waits_for_the_files_and_not_for_ever() {
    let (sender, receiver) = tokio::sync::mpsc::channel(crate::QUEUE);
    let (ask, asked) = mpsc::channel();
    let follow: crate::Follow = Box::new(move |files| ask.send(files.clone()).unwrap());
    let configuration = configuration(credential_settings());
    let followers = Followers {
        files: Some(follow),
        names: None,
        objects: None,
    };
    let publications = start(configuration, 1, followers, receiver).unwrap();
    let servers = [server(443, &simple("web"))];
    let changes = Message::Changes(vec![gateway(&servers)]);
    sender.blocking_send(changes).unwrap();
    sender.blocking_send(Message::Synced).unwrap();
    let wanted = asked.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(publications.borrow().is_none());
    let disk = in_folder("certs/web", &pair_valid("web.test", 2000, 2100));
    let told = wanted.iter().map(|path| {
        let there = disk.iter().find(|file| file.path == *path).cloned();
        there.unwrap_or_else(|| absent(&path.to_string_lossy()))
    });
    sender
        .blocking_send(Message::Certificates(told.collect()))
        .unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while publications.borrow().is_none() {
        assert!(Instant::now() < end, "nothing was published");
        std::thread::yield_now();
    }
    let published = publications.borrow().clone().unwrap();
    assert_eq!(served(&published, "web").as_deref(), Some("web.test"));
    assert_eq!(published.table.generation, 1);
}

#[test]
fn a_publication_does_not_wait_for_ever() {
    let mut configuration = configuration(credential_settings());
    configuration.apply(vec![gateway(&[server(443, &simple("web"))])]);
    configuration.prepare(now());
    let until = configuration.waits_for_files_until(now()).unwrap();
    assert_eq!(until, later(5));
    assert_eq!(configuration.waits_for_files_until(until), None);
    let published = configuration.compile(until).unwrap();
    assert!(
        published.diagnostics.is_empty(),
        "what was not read is not missing"
    );
}

/// Promise 9, of Secrets: nothing is published before those that are named were read, or could not be.
#[test]
fn the_first_publication_waits_for_the_secrets_that_are_named() {
    let (sender, receiver) = tokio::sync::mpsc::channel(crate::QUEUE);
    let (ask, asked) = mpsc::channel();
    let follow: crate::FollowObjects =
        Box::new(move |number, wanted| ask.send((number, wanted.clone())).unwrap());
    let configuration = configuration(CredentialSettings::default());
    let followers = Followers {
        objects: Some(follow),
        ..Followers::default()
    };
    let publications = start(configuration, 1, followers, receiver).unwrap();
    let servers = [
        server(443, &simple("web")),
        server(444, "mode: MUTUAL, credentialName: api"),
    ];
    for message in [Message::Changes(vec![gateway(&servers)]), Message::Synced] {
        sender.blocking_send(message).unwrap();
    }
    let (number, wanted) = asked.recv_timeout(Duration::from_secs(10)).unwrap();
    let names: Vec<_> = wanted.secrets.iter().map(String::as_str).collect();
    assert_eq!(names, ["api", "api-cacert", "web"]);
    assert!(publications.borrow().is_none());
    let web = pair_valid("web.test", 2000, 2100);
    let web = secret(
        "web",
        &[("tls.crt", &web.certificate), ("tls.key", &web.key)],
    );
    for message in [Message::Changes(vec![web]), Message::Objects(number)] {
        sender.blocking_send(message).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(10);
    while publications.borrow().is_none() {
        assert!(Instant::now() < end, "nothing was published");
        std::thread::yield_now();
    }
    let published = publications.borrow().clone().unwrap();
    assert_eq!(served(&published, "web").as_deref(), Some("web.test"));
    assert_eq!(published.table.generation, 1);
    let missing: BTreeSet<_> = published.diagnostics.iter().map(|one| one.code).collect();
    assert_eq!(missing, BTreeSet::from(["missing_certificate"]));
}

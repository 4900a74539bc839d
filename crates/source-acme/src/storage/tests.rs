use super::*;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const ACCOUNT: &str = r#"{
    "id": "https://acme.test/account/1",
    "key_pkcs8": "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJVWC_QzOTCS5vtsJp2IG-UDc8cdDfeoKtxSZxaznM-mhRANCAAQenCPoGgPFTdPJ7VLLKt56RxPlYT1wNXnHc54PEyBg3LxKaH0-sJkX0mL8LyPEdsfL_Oz4TxHkWLJGrXVtNhfH",
    "directory": "https://acme.test/directory"
}"#;

fn storage() -> (TempDir, Storage) {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::new(folder.path().join("certs/acme"));
    (folder, storage)
}

fn directory(text: &str) -> DirectoryUrl {
    DirectoryUrl::try_from(text.to_owned()).unwrap()
}

fn name() -> CredentialName {
    CredentialName::try_from("shop".to_owned()).unwrap()
}

fn account(contact: &str) -> StoredAccount {
    StoredAccount {
        contact: vec![contact.to_owned()],
        credentials: serde_json::from_str(ACCOUNT).unwrap(),
    }
}

fn pair(host: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_account_is_used_with_its_own_directory_only() {
    let (_folder, storage) = storage();
    let (one, other) = (
        directory("https://one.test/"),
        directory("https://two.test/"),
    );
    assert!(storage.account(&one).unwrap().is_none());
    storage
        .store_account(&one, &account("mailto:a@b.test"))
        .unwrap();
    assert!(storage.account(&other).unwrap().is_none());
    storage
        .store_account(&other, &account("mailto:c@d.test"))
        .unwrap();
    let found = storage.account(&one).unwrap().unwrap();
    assert_eq!(found.contact, ["mailto:a@b.test"]);
    storage.forget_account(&one).unwrap();
    assert!(storage.account(&one).unwrap().is_none());
    assert!(storage.account(&other).unwrap().is_some());
}

#[test]
fn an_account_file_that_is_broken_is_told_and_kept() {
    let (_folder, storage) = storage();
    let one = directory("https://one.test/");
    storage.store_account(&one, &account("")).unwrap();
    fs::write(storage.account_file(), "{").unwrap();
    assert!(storage.account(&one).is_err());
    assert!(storage.store_account(&one, &account("")).is_err());
    assert_eq!(fs::read_to_string(storage.account_file()).unwrap(), "{");
}

#[test]
fn a_certificate_is_stored_with_where_it_came_from_and_for_its_owner_only() {
    let (_folder, storage) = storage();
    let one = directory("https://one.test/");
    assert!(storage.certificate(&name()).unwrap().is_none());
    for host in ["a.test", "b.test"] {
        let (chain, key) = pair(host);
        storage
            .store_certificate(&name(), &one, &chain, &key)
            .unwrap();
        let found = storage.certificate(&name()).unwrap().unwrap();
        assert_eq!(found.credential.names, [host]);
        assert_eq!(found.directory.as_deref(), Some(one.as_str()));
    }
    storage.store_account(&one, &account("")).unwrap();
    let folder = storage.folder.join("shop");
    assert_eq!((mode(&storage.folder), mode(&folder)), (0o700, 0o700));
    for file in [folder.join(KEY), folder.join(CHAIN), storage.account_file()] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    let mut left: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, [DIRECTORY, CHAIN, KEY]);
}

#[test]
fn an_interruption_between_the_two_files_is_made_good() {
    let (_folder, storage) = storage();
    let one = directory("https://one.test/");
    let (chain, key) = pair("old.test");
    storage
        .store_certificate(&name(), &one, &chain, &key)
        .unwrap();
    let folder = storage.prepare(&name()).unwrap();
    let (chain, key) = pair("new.test");
    write_beside(&folder.join(CHAIN), chain.as_bytes()).unwrap();
    let found = storage.certificate(&name()).unwrap().unwrap();
    assert_eq!(
        found.credential.names,
        ["old.test"],
        "nothing was replaced yet"
    );
    write_beside(&folder.join(KEY), key.as_bytes()).unwrap();
    put_in_place(&folder.join(KEY)).unwrap();
    let found = storage.certificate(&name()).unwrap().unwrap();
    assert_eq!(found.credential.names, ["new.test"]);
    assert_eq!(fs::read_to_string(folder.join(CHAIN)).unwrap(), chain);
    let (chain, key) = pair("newer.test");
    write_beside(&folder.join(KEY), key.as_bytes()).unwrap();
    write_beside(&folder.join(CHAIN), chain.as_bytes()).unwrap();
    put_in_place(&folder.join(CHAIN)).unwrap();
    let found = storage.certificate(&name()).unwrap().unwrap();
    assert_eq!(found.credential.names, ["newer.test"]);
    assert_eq!(fs::read_to_string(folder.join(KEY)).unwrap(), key);
}

#[test]
fn a_stored_pair_that_does_not_match_is_unusable() {
    let (_folder, storage) = storage();
    let one = directory("https://one.test/");
    let ((chain, _), (_, key)) = (pair("a.test"), pair("a.test"));
    storage
        .store_certificate(&name(), &one, &chain, &key)
        .unwrap();
    let error = storage.certificate(&name()).unwrap_err();
    assert!(matches!(
        error,
        Unusable::Invalid(InvalidCredential::Mismatch)
    ));
}

#[test]
fn what_is_told_of_a_broken_account_file_quotes_nothing_of_it() {
    let (_folder, storage) = storage();
    let one = directory("https://one.test/");
    storage.store_account(&one, &account("")).unwrap();
    let cases = [
        (r#""SECRET""#, "line 1 column 8"),
        (r#"{"a": SECRET}"#, "it is not JSON, line 1 column 7"),
        (
            r#"{"https://one.test/": {"contact": "SECRET"}}"#,
            "of the wrong kind",
        ),
        (r#"{"https://one.test/": "SECRET"}"#, "of the wrong kind"),
    ];
    for (text, want) in cases {
        fs::write(storage.account_file(), text).unwrap();
        let error = storage.account(&one).err().unwrap();
        let told = format!("{} {error:?}", crate::failure::Chain(&error));
        assert!(told.contains(want), "{told}");
        assert!(!told.contains("SECRET"), "{told}");
    }
}

#[test]
fn a_probe_leaves_nothing_and_tells_what_is_in_the_way() {
    let (_folder, storage) = storage();
    storage.probe_certificate(&name()).unwrap();
    storage.probe_account().unwrap();
    let folder = storage.folder.join("shop");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    let error = storage.probe_certificate(&name()).unwrap_err();
    assert!(matches!(error, StorageError::Write(path, _) if path == folder));
    storage.probe_account().unwrap();
}

use super::*;

/// What a folder holds and what is followed in it: `tls.crt` and `tls.key`, which need not be there.
fn following(watching: Watching) -> Watched {
    let folder = tempfile::tempdir().unwrap();
    for name in ["r", "certs"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let watched = Watched::over(folder, &["r"], watching);
    watched.follow(&["certs/web/tls.crt", "certs/web/tls.key"]);
    watched
}

impl Watched {
    fn follow(&self, names: &[&str]) {
        let files = names.iter().map(|name| self.path(name));
        self.source.follow(files.collect());
    }

    /// Waits until the source has told exactly this of a file.
    #[track_caller]
    fn until_told(&mut self, name: &str, want: &Expected) {
        let end = Instant::now() + PATIENCE;
        loop {
            let told = self.certificates.get(Path::new(name));
            if told.is_some_and(|told| want.is(told)) {
                return;
            }
            assert!(Instant::now() < end, "{name}: {want:?}, and not {told:?}");
            match self.receiver.try_recv() {
                Ok(Message::Certificates(files)) => self.take_certificates(files),
                Ok(_) | Err(TryRecvError::Empty) => std::thread::yield_now(),
                Err(TryRecvError::Disconnected) => panic!("the source ended"),
            }
        }
    }

    #[track_caller]
    fn until_text(&mut self, name: &str, text: &'static str) {
        self.until_told(name, &Expected::Text(text));
    }

    fn make_folder(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    /// As careful programs write: beside, then in place.
    fn replace(&self, name: &str, text: &str) {
        let beside = self.path(&format!("{name}.new"));
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.path(name)).unwrap();
    }

    fn link(&self, target: &str, name: &str) {
        let beside = self.path(&format!("{name}.new"));
        symlink(target, &beside).unwrap();
        fs::rename(beside, self.path(name)).unwrap();
    }
}

#[derive(Debug)]
enum Expected {
    Text(&'static str),
    Mode(u32),
    Absent,
    Unreadable(&'static str),
}

impl Expected {
    fn is(&self, told: &FileContent) -> bool {
        match (self, told) {
            (Self::Text(text), FileContent::Bytes { bytes, .. }) => {
                bytes.as_bytes() == text.as_bytes()
            }
            (Self::Mode(want), FileContent::Bytes { mode, .. }) => mode & 0o777 == *want,
            (Self::Absent, FileContent::Absent) => true,
            (Self::Unreadable(want), FileContent::Unreadable(reason)) => reason.contains(want),
            _ => false,
        }
    }
}

#[test]
fn a_followed_file_is_told_at_once_when_it_appears_changes_and_vanishes() {
    for watching in [Watching::Notified, Watching::Polled] {
        let mut watched = following(watching);
        watched.until_told("certs/web/tls.key", &Expected::Absent);
        watched.make_folder("certs/web");
        watched.write("certs/web/tls.crt", "1");
        watched.until_text("certs/web/tls.crt", "1");
        watched.replace("certs/web/tls.crt", "2");
        watched.until_text("certs/web/tls.crt", "2");
        // In place.
        watched.write("certs/web/tls.crt", "three");
        watched.until_text("certs/web/tls.crt", "three");
        fs::remove_file(watched.path("certs/web/tls.crt")).unwrap();
        watched.until_told("certs/web/tls.crt", &Expected::Absent);
        watched.write("certs/web/tls.crt", "4");
        watched.until_text("certs/web/tls.crt", "4");
        fs::remove_dir_all(watched.path("certs")).unwrap();
        watched.until_told("certs/web/tls.crt", &Expected::Absent);
        watched.make_folder("certs/web");
        watched.replace("certs/web/tls.crt", "5");
        watched.until_text("certs/web/tls.crt", "5");
    }
}

#[test]
fn permissions_are_told_and_their_change_is() {
    let mut watched = following(Watching::Notified);
    watched.make_folder("certs/web");
    watched.write("certs/web/tls.key", "1");
    let path = watched.path("certs/web/tls.key");
    for mode in [0o600, 0o640, 0o644, 0o600] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        watched.until_told("certs/web/tls.key", &Expected::Mode(mode));
    }
}

/// The kubelet replaces a link to a folder, to which the files are links.
#[test]
fn a_swap_of_the_kubelets_link_is_noticed() {
    let mut watched = following(Watching::Notified);
    watched.make_folder("certs/web/..1");
    for name in ["tls.crt", "tls.key"] {
        watched.write(&format!("certs/web/..1/{name}"), "1");
        watched.link(&format!("..data/{name}"), &format!("certs/web/{name}"));
    }
    watched.link("..1", "certs/web/..data");
    watched.until_text("certs/web/tls.crt", "1");
    watched.until_text("certs/web/tls.key", "1");
    for (version, text) in [("..2", "2"), ("..3", "3")] {
        watched.make_folder(&format!("certs/web/{version}"));
        for name in ["tls.crt", "tls.key"] {
            watched.write(&format!("certs/web/{version}/{name}"), text);
        }
        watched.link(version, "certs/web/..data");
        watched.until_text("certs/web/tls.crt", text);
        watched.until_text("certs/web/tls.key", text);
    }
    // As certbot has it: the folder itself is a link, and the file is written where the links lead.
    watched.make_folder("archive");
    watched.write("archive/tls.crt", "4");
    watched.link("../archive", "certs/other");
    watched.follow(&["certs/other/tls.crt"]);
    watched.until_text("certs/other/tls.crt", "4");
    watched.write("archive/tls.crt", "five");
    watched.until_text("certs/other/tls.crt", "five");
    watched.make_folder("archive2");
    watched.write("archive2/tls.crt", "6");
    watched.link("../archive2", "certs/other");
    watched.until_text("certs/other/tls.crt", "6");
}

#[test]
fn a_folder_that_is_replaced_as_a_whole_is_noticed() {
    let mut watched = following(Watching::Notified);
    for (folder, text) in [("certs/web", "1"), ("certs/next", "2")] {
        watched.make_folder(folder);
        watched.write(&format!("{folder}/tls.crt"), text);
    }
    watched.until_text("certs/web/tls.crt", "1");
    fs::rename(watched.path("certs/web"), watched.path("certs/former")).unwrap();
    fs::rename(watched.path("certs/next"), watched.path("certs/web")).unwrap();
    watched.until_text("certs/web/tls.crt", "2");
    watched.replace("certs/web/tls.crt", "3");
    watched.until_text("certs/web/tls.crt", "3");
}

#[test]
fn what_cannot_be_read_says_why_and_hangs_nobody() {
    let mut watched = following(Watching::Notified);
    watched.make_folder("certs/web/tls.crt");
    watched.until_told(
        "certs/web/tls.crt",
        &Expected::Unreadable("not a regular file"),
    );
    let big = vec![b'x'; usize::try_from(crate::MAX_CERTIFICATE_BYTES).unwrap() + 1];
    fs::write(watched.path("certs/web/tls.key"), big).unwrap();
    watched.until_told("certs/web/tls.key", &Expected::Unreadable("too large"));
    symlink("loop", watched.path("certs/loop")).unwrap();
    symlink("/dev/zero", watched.path("certs/zero")).unwrap();
    watched.follow(&["certs/loop", "certs/zero"]);
    watched.until_told("certs/loop", &Expected::Unreadable("cannot be read"));
    watched.until_told("certs/zero", &Expected::Unreadable("not a regular file"));
}

#[test]
fn what_is_asked_for_anew_is_told_anew_and_the_rest_is_not() {
    let mut watched = following(Watching::Notified);
    watched.make_folder("certs/web");
    watched.write("certs/web/tls.crt", "1");
    watched.until_text("certs/web/tls.crt", "1");
    watched.certificates.clear();
    watched.write("certs/a", "a");
    watched.follow(&["certs/a", "certs/web/tls.crt"]);
    watched.until_text("certs/a", "a");
    let told: Vec<_> = watched.certificates.keys().collect();
    assert_eq!(told, [Path::new("certs/a")]);
    watched.follow(&["certs/a"]);
    watched.follow(&["certs/a", "certs/web/tls.crt"]);
    watched.replace("certs/web/tls.crt", "2");
    watched.until_text("certs/web/tls.crt", "2");
}

/// A file that is a resource and a certificate at once, by two names.
#[test]
fn a_folder_of_resources_can_hold_certificates() {
    let mut watched = Watched::new();
    watched.follow(&["r/web.crt", "r/../r/web.key"]);
    watched.until_told("r/web.crt", &Expected::Absent);
    watched.replace("r/web.crt", "1");
    watched.until_text("r/web.crt", "1");
    watched.replace("r/web.key", "1");
    watched.until_text("r/../r/web.key", "1");
}

#[test]
fn certificates_are_read_once_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (there, gone) = (folder.path().join("a"), folder.path().join("b"));
    fs::write(&there, "1").unwrap();
    let read = crate::read_certificates([&*there, &gone]);
    let told: Vec<_> = read
        .iter()
        .map(|file| Expected::Text("1").is(&file.content))
        .collect();
    assert_eq!(told, [true, false]);
    assert_eq!(read[1].content, FileContent::Absent);
}

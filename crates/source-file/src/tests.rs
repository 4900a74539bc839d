mod followed;

use crate::{FileSource, Options, Watching, read_once};
use config::{CertificateFile, Change, Content, FileContent, Message};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel, error::TryRecvError};

/// How long a change may take to arrive before a test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A folder under watch, and what was told of it so far.
struct Watched {
    folder: TempDir,
    source: FileSource,
    receiver: Receiver<Message>,
    files: BTreeMap<String, Content>,
    told: usize,
    certificates: BTreeMap<PathBuf, FileContent>,
}

impl Watched {
    fn over(folder: TempDir, roots: &[&str], watching: Watching) -> Self {
        let roots = roots.iter().map(|root| folder.path().join(root)).collect();
        let options = Options {
            watching,
            poll_every: Duration::from_millis(20),
            ..Options::new(roots)
        };
        let (sender, receiver) = channel(config::QUEUE);
        let source = FileSource::start(options, sender).unwrap();
        let mut watched = Self {
            folder,
            source,
            receiver,
            files: BTreeMap::new(),
            told: 0,
            certificates: BTreeMap::new(),
        };
        watched.until("everything is told once", |_, synced| synced);
        watched
    }

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("r")).unwrap();
        Self::over(folder, &["r"], Watching::Notified)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    #[track_caller]
    fn until(&mut self, what: &str, is_met: impl Fn(&BTreeMap<String, Content>, bool) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut synced = false;
        loop {
            if is_met(&self.files, synced) {
                return;
            }
            match self.receiver.try_recv() {
                Ok(Message::Synced) => synced = true,
                Ok(Message::Changes(changes)) => self.take(changes),
                Ok(Message::Certificates(files)) => self.take_certificates(files),
                Ok(other) => panic!("of a source of files: {other:?}"),
                Err(TryRecvError::Empty) => std::thread::yield_now(),
                Err(TryRecvError::Disconnected) => panic!("the source ended"),
            }
            assert!(
                Instant::now() < end,
                "{what}: not met with {:?}",
                self.files
            );
        }
    }

    fn take(&mut self, changes: Vec<Change>) {
        for Change { file, content } in changes {
            self.told += 1;
            let name = Path::new(&*file).strip_prefix(self.folder.path()).unwrap();
            let name = name.to_str().unwrap().to_owned();
            match content {
                Content::Gone => self.files.remove(&name),
                content => self.files.insert(name, content),
            };
        }
    }

    fn take_certificates(&mut self, files: Vec<CertificateFile>) {
        for CertificateFile { path, content } in files {
            let path = path.strip_prefix(self.folder.path()).unwrap();
            self.certificates.insert(path.to_path_buf(), content);
        }
    }

    #[track_caller]
    fn until_files(&mut self, want: &[(&str, &str)]) {
        let want: BTreeMap<String, Content> = want
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Content::Text((*text).into())))
            .collect();
        self.until("the files", |files, _| *files == want);
    }

    #[track_caller]
    fn until_unreadable(&mut self, name: &str, reason: &str) {
        let want = format!("{name} is unreadable: {reason}");
        self.until(&want, |files, _| match files.get(name) {
            Some(Content::Unreadable(why)) => why.contains(reason),
            _ => false,
        });
    }
}

#[test]
fn files_that_appear_change_and_vanish_are_told() {
    for watching in [Watching::Notified, Watching::Polled] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("r")).unwrap();
        fs::write(folder.path().join("r/a.yaml"), "1").unwrap();
        let mut watched = Watched::over(folder, &["r"], watching);
        watched.until_files(&[("r/a.yaml", "1")]);
        watched.write("r/b.json", "2");
        watched.until_files(&[("r/a.yaml", "1"), ("r/b.json", "2")]);
        watched.write("r/a.yaml", "3");
        watched.until_files(&[("r/a.yaml", "3"), ("r/b.json", "2")]);
        fs::remove_file(watched.path("r/a.yaml")).unwrap();
        watched.until_files(&[("r/b.json", "2")]);
    }
}

#[test]
fn a_file_replaced_by_renaming_is_told() {
    let mut watched = Watched::new();
    watched.write("r/a.yaml", "1");
    watched.until_files(&[("r/a.yaml", "1")]);
    watched.write("r/.a.yaml.new", "2");
    fs::rename(watched.path("r/.a.yaml.new"), watched.path("r/a.yaml")).unwrap();
    watched.until_files(&[("r/a.yaml", "2")]);
    watched.write("beside", "3");
    fs::rename(watched.path("beside"), watched.path("r/a.yaml")).unwrap();
    watched.until_files(&[("r/a.yaml", "3")]);
}

#[test]
fn a_folder_mounted_from_a_config_map_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    for (version, text) in [("..1", "1"), ("..2", "2")] {
        fs::create_dir_all(folder.path().join("r").join(version)).unwrap();
        fs::write(folder.path().join("r").join(version).join("a.yaml"), text).unwrap();
    }
    symlink("..1", folder.path().join("r/..data")).unwrap();
    symlink("..data/a.yaml", folder.path().join("r/a.yaml")).unwrap();
    let mut whole = Watched::over(folder, &["r"], Watching::Notified);
    whole.until_files(&[("r/a.yaml", "1")]);
    symlink("..2", whole.path("r/..new")).unwrap();
    fs::rename(whole.path("r/..new"), whole.path("r/..data")).unwrap();
    whole.until_files(&[("r/a.yaml", "2")]);
}

#[test]
fn a_single_file_behind_a_swapped_link_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    for (version, text) in [("..1", "1"), ("..2", "2")] {
        fs::create_dir(folder.path().join(version)).unwrap();
        fs::write(folder.path().join(version).join("conf"), text).unwrap();
    }
    symlink("..1", folder.path().join("..data")).unwrap();
    symlink("..data/conf", folder.path().join("conf")).unwrap();
    let mut watched = Watched::over(folder, &["conf"], Watching::Notified);
    watched.until_files(&[("conf", "1")]);
    symlink("..2", watched.path("..new")).unwrap();
    fs::rename(watched.path("..new"), watched.path("..data")).unwrap();
    watched.until_files(&[("conf", "2")]);
}

#[test]
fn a_burst_of_writes_is_told_in_a_few_changes() {
    let mut watched = Watched::new();
    for round in 0..1000 {
        watched.write("r/a.yaml", &format!("round {round}"));
    }
    watched.until_files(&[("r/a.yaml", "round 999")]);
    assert!(watched.told < 100, "told {} times", watched.told);
}

#[test]
fn a_folder_may_come_later_go_and_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut watched = Watched::over(folder, &["not/yet"], Watching::Notified);
    watched.until_files(&[]);
    for round in ["1", "2"] {
        fs::create_dir_all(watched.path("not/yet/deep")).unwrap();
        watched.write("not/yet/deep/a.yaml", round);
        watched.until_files(&[("not/yet/deep/a.yaml", round)]);
        fs::remove_dir_all(watched.path("not/yet/deep")).unwrap();
        watched.until_files(&[]);
        fs::remove_dir_all(watched.path("not")).unwrap();
        watched.until_unreadable("not/yet", "is gone");
    }
}

/// Promise 5: a volume that is unmounted takes no objects with it.
#[test]
fn what_a_root_held_stays_when_it_is_gone_and_is_true_again_when_it_is_back() {
    for watching in [Watching::Notified, Watching::Polled] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("r")).unwrap();
        for name in ["r/a.yaml", "r/b.yaml", "single"] {
            fs::write(folder.path().join(name), "1").unwrap();
        }
        let mut watched = Watched::over(folder, &["r", "single"], watching);
        let all = [("r/a.yaml", "1"), ("r/b.yaml", "1"), ("single", "1")];
        watched.until_files(&all);
        fs::rename(watched.path("r"), watched.path("away")).unwrap();
        watched.until_unreadable("r", "is gone");
        fs::rename(watched.path("single"), watched.path("elsewhere")).unwrap();
        watched.until_unreadable("single", "put it back");
        let stays = |name| watched.files[name] == Content::Text("1".into());
        assert!(stays("r/a.yaml") && stays("r/b.yaml"));
        fs::remove_file(watched.path("away/a.yaml")).unwrap();
        fs::rename(watched.path("away"), watched.path("r")).unwrap();
        fs::rename(watched.path("elsewhere"), watched.path("single")).unwrap();
        watched.until_files(&[("r/b.yaml", "1"), ("single", "1")]);
    }
}

#[test]
fn an_empty_folder_in_place_of_a_lost_one_removes_its_files() {
    let mut watched = Watched::new();
    watched.write("r/a.yaml", "1");
    watched.until_files(&[("r/a.yaml", "1")]);
    fs::remove_dir_all(watched.path("r")).unwrap();
    watched.until_unreadable("r", "is gone");
    fs::create_dir(watched.path("r")).unwrap();
    watched.until_files(&[]);
}

#[test]
fn what_a_link_leads_to_is_followed_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["r", "else", "more"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("else/target"), "1").unwrap();
    fs::write(folder.path().join("more/target"), "2").unwrap();
    symlink("../else/target", folder.path().join("r/a.yaml")).unwrap();
    // No rescan comes in time: only the kernel can tell.
    let mut watched = Watched::over(folder, &["r"], Watching::Notified);
    watched.until_files(&[("r/a.yaml", "1")]);
    watched.write("else/target", "3");
    watched.until_files(&[("r/a.yaml", "3")]);
    watched.write("else/new", "4");
    fs::rename(watched.path("else/new"), watched.path("else/target")).unwrap();
    watched.until_files(&[("r/a.yaml", "4")]);
    // A link that comes later.
    symlink("../more/target", watched.path("r/b.yaml")).unwrap();
    watched.until_files(&[("r/a.yaml", "4"), ("r/b.yaml", "2")]);
    watched.write("more/target", "5");
    watched.until_files(&[("r/a.yaml", "4"), ("r/b.yaml", "5")]);
}

#[test]
fn a_replaced_folder_is_followed() {
    let mut watched = Watched::new();
    watched.write("r/a.yaml", "1");
    watched.until_files(&[("r/a.yaml", "1")]);
    fs::create_dir(watched.path("s")).unwrap();
    watched.write("s/a.yaml", "2");
    fs::rename(watched.path("r"), watched.path("old")).unwrap();
    fs::rename(watched.path("s"), watched.path("r")).unwrap();
    watched.until_files(&[("r/a.yaml", "2")]);
    watched.write("r/a.yaml", "3");
    watched.until_files(&[("r/a.yaml", "3")]);
}

#[test]
fn files_of_other_names_are_left_alone() {
    let mut watched = Watched::new();
    for name in [
        "a.txt",
        ".a.yaml",
        "a.yaml~",
        "#a.yaml#",
        ".#a.yaml",
        "a.yaml.swp",
        "4913",
    ] {
        watched.write(&format!("r/{name}"), "x");
    }
    fs::create_dir(watched.path("r/.hidden")).unwrap();
    watched.write("r/.hidden/a.yaml", "x");
    // In one step: a write is seen twice when it is looked at between the file's creation and its content.
    watched.write("last", "last");
    fs::rename(watched.path("last"), watched.path("r/z.yml")).unwrap();
    watched.until_files(&[("r/z.yml", "last")]);
    assert_eq!(watched.told, 1);
}

#[test]
fn what_cannot_be_read_says_why() {
    let mut watched = Watched::new();
    fs::write(watched.path("r/junk.yaml"), [0xff, 0xfe, 0x01]).unwrap();
    watched.until_unreadable("r/junk.yaml", "invalid UTF-8 at offset 0");
    fs::write(watched.path("r/junk.yaml"), b"a: \0").unwrap();
    watched.until_unreadable("r/junk.yaml", "zero byte at offset 3");
    symlink("loop.yaml", watched.path("r/loop.yaml")).unwrap();
    watched.until_unreadable("r/loop.yaml", "cannot be read");
    watched.write("r/junk.yaml", "good again");
    watched.until("it is read", |files, _| {
        files["r/junk.yaml"] == Content::Text("good again".into())
    });
}

/// Promise 19: a file without bounds is refused by its size, not read.
#[test]
fn a_file_of_50_megabytes_is_refused_without_reading_it() {
    let mut watched = Watched::new();
    let file = fs::File::create(watched.path("r/large.yaml")).unwrap();
    file.set_len(50_000_000).unwrap();
    drop(file);
    watched.until_unreadable("r/large.yaml", "50000000 bytes");
}

#[test]
fn a_forbidden_file_is_unreadable_until_it_is_allowed() {
    let mut watched = Watched::new();
    watched.write("r/a.yaml", "1");
    watched.until_files(&[("r/a.yaml", "1")]);
    let allow =
        |mode| fs::set_permissions(watched.path("r/a.yaml"), fs::Permissions::from_mode(mode));
    allow(0o000).unwrap();
    if fs::read(watched.path("r/a.yaml")).is_ok() {
        return; // The superuser reads everything.
    }
    watched.until_unreadable("r/a.yaml", "denied");
    fs::set_permissions(watched.path("r/a.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
    watched.until_files(&[("r/a.yaml", "1")]);
}

#[test]
fn a_file_that_is_empty_for_a_moment_is_not_told_empty() {
    let mut watched = Watched::new();
    watched.write("r/a.yaml", "1");
    watched.until_files(&[("r/a.yaml", "1")]);
    watched.write("r/a.yaml", "");
    watched.write("r/b.yaml", "seen after a.yaml was looked at");
    watched.until("b", |files, _| files.contains_key("r/b.yaml"));
    assert_eq!(watched.files["r/a.yaml"], Content::Text("1".into()));
    watched.until("a file that stays empty is told", |files, _| {
        files["r/a.yaml"] == Content::Text("".into())
    });
}

/// Promise 5.
#[test]
fn a_file_is_not_told_while_it_is_being_written() {
    let mut watched = Watched::new();
    watched.write("r/a.yaml", "whole");
    watched.until_files(&[("r/a.yaml", "whole")]);
    let mut file = fs::File::create(watched.path("r/a.yaml")).unwrap();
    file.write_all(b"ha").unwrap();
    watched.write("r/b.yaml", "seen after a.yaml was touched");
    watched.until("b", |files, _| files.contains_key("r/b.yaml"));
    assert_eq!(watched.files["r/a.yaml"], Content::Text("whole".into()));
    file.write_all(b"lf and half").unwrap();
    drop(file);
    watched.until("a", |files, _| {
        files["r/a.yaml"] == Content::Text("half and half".into())
    });
    assert_eq!(watched.told, 3);
}

#[test]
fn a_rescan_tells_only_what_differs() {
    let mut watched = Watched::new();
    watched.write("r/a.yaml", "1");
    watched.until_files(&[("r/a.yaml", "1")]);
    let told = watched.told;
    watched.source.rescan();
    // Renamed into place: a rescan may find a file that is being written while it is still empty.
    watched.write("b", "2");
    fs::rename(watched.path("b"), watched.path("r/b.yaml")).unwrap();
    watched.until_files(&[("r/a.yaml", "1"), ("r/b.yaml", "2")]);
    assert_eq!(watched.told, told + 1);
}

#[test]
fn folders_linked_in_a_circle_are_read_once() {
    let mut watched = Watched::new();
    fs::create_dir(watched.path("r/deep")).unwrap();
    symlink("..", watched.path("r/deep/up")).unwrap();
    watched.write("r/deep/a.yaml", "1");
    watched.until_files(&[("r/deep/a.yaml", "1")]);
}

#[test]
fn reading_once_names_what_does_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), "1").unwrap();
    let roots = [folder.path().to_path_buf(), folder.path().join("none")];
    let changes = read_once(&roots, 10).unwrap();
    let told: Vec<_> = changes.iter().map(|change| &change.content).collect();
    let missing = Content::Unreadable("does not exist".into());
    assert_eq!(told, [&missing, &Content::Text("1".into())]);
    assert_eq!(Path::new(&*changes[0].file), roots[1]);
}

//! The file that keeps what was learnt.

use super::Rows;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// More than 10,000 rows can be: a larger file is another's.
const MAX_BYTES: u64 = 32 << 20;

/// Why there is nothing to be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    Io(io::Error),
    /// It is none of ours, or torn; and why.
    Broken(String),
}

/// Reads what was learnt.
pub(super) fn read(path: &Path) -> Result<Rows, Unreadable> {
    let mut content = Vec::new();
    let mut file = File::open(path)
        .map_err(Unreadable::Io)?
        .take(MAX_BYTES + 1);
    let length = file.read_to_end(&mut content).map_err(Unreadable::Io)?;
    if length as u64 > MAX_BYTES {
        return Err(Unreadable::Broken(format!("more than {MAX_BYTES} bytes")));
    }
    serde_json::from_slice(&content).map_err(|error| Unreadable::Broken(error.to_string()))
}

/// Puts a file out of the way, and tells where it is then.
pub(super) fn set_aside(path: &Path, now: u64) -> io::Result<PathBuf> {
    let aside = beside(path, &format!("broken-{now}"));
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Writes all of it or nothing. Others cannot read it.
pub(super) fn write(path: &Path, rows: &Rows) -> io::Result<()> {
    let content = serde_json::to_vec(rows)?;
    let beside = beside(path, "new");
    // Left over from an interruption, perhaps with other permissions.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(&content)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// `.learned.json.new`.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.json");
        assert!(matches!(read(&path), Err(Unreadable::Io(_))));
        fs::write(beside(&path, "new"), "left over").unwrap();
        let rows = Rows {
            left_out: 3,
            ..Rows::default()
        };
        for _ in 0..2 {
            write(&path, &rows).unwrap();
            assert_eq!(read(&path).unwrap(), rows);
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.json");
        fs::write(&path, "before").unwrap();
        fs::create_dir(beside(&path, "new")).unwrap();
        write(&path, &Rows::default()).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    }

    #[test]
    fn what_is_none_of_ours_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned.json");
        let row = r#"{"host":"a","port":1,"protocol":"udp","count":1,"received":1,"sent":1,"first_seen":1,"last_seen":1,"clients":[],"of_further_clients":0}"#;
        for content in [
            "",
            "{",
            "[]",
            "{\"rows\": 1}",
            &format!("{{\"rows\":[{row}]}}"),
        ] {
            fs::write(&path, content).unwrap();
            assert!(
                matches!(read(&path), Err(Unreadable::Broken(_))),
                "{content}"
            );
        }
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(matches!(read(&path), Err(Unreadable::Broken(why)) if why.contains("bytes")));
        let aside = set_aside(&path, 7).unwrap();
        assert!(aside.ends_with("learned.json.broken-7") && aside.exists() && !path.exists());
    }
}

//! Reading one file, within bounds.

use config::{CertificateFile, Content, FileContent};
use model::SecretBytes;
use std::fs::{File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Greatest size of a file in bytes. A larger one is refused without being read.
pub const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Greatest size of a file of certificates, keys or revocations in bytes. A larger one is refused without being read.
pub const MAX_CERTIFICATE_BYTES: u64 = 4 * 1024 * 1024;

/// How old a change must be before an equal stamp proves an equal content. Clocks of file systems tick slowly.
const STAMP_TRUST: Duration = Duration::from_secs(2);

/// What the file system says about a file, to tell without reading whether it changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a file read at `read_at` with this stamp cannot have changed since under the same stamp.
    pub(crate) fn is_trusted(&self, read_at: SystemTime) -> bool {
        let seconds = u64::try_from(self.changed.0).unwrap_or(0);
        read_at
            .duration_since(UNIX_EPOCH + Duration::from_secs(seconds))
            .is_ok_and(|age| age > STAMP_TRUST)
    }
}

/// A file as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// The stamp before reading, when the file could be examined.
    pub(crate) stamp: Option<Stamp>,
    /// Whether the stamp was another after reading: somebody is writing.
    pub(crate) torn: bool,
    /// What was in it.
    pub(crate) content: Content,
}

impl Reading {
    /// Identifies the content; equal contents have equal fingerprints.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match &self.content {
            Content::Text(text) => (0u8, text).hash(&mut hasher),
            Content::Unreadable(reason) => (1u8, reason).hash(&mut hasher),
            Content::Gone => 2u8.hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Reading {
    let Raw {
        stamp,
        torn,
        content,
    } = read_raw(path, limit);
    let content = match content {
        Ok(Some((bytes, _))) => text_of(bytes),
        Ok(None) => Content::Gone,
        Err(reason) => Content::Unreadable(reason),
    };
    Reading {
        stamp,
        torn,
        content,
    }
}

/// A file of certificates as it was read.
pub(crate) struct CertificateReading {
    /// As of [`Reading`].
    pub(crate) stamp: Option<Stamp>,
    /// As of [`Reading`].
    pub(crate) torn: bool,
    /// What was in it.
    pub(crate) content: FileContent,
}

/// Reads a file of certificates or a key.
pub(crate) fn read_certificate(path: &Path) -> CertificateReading {
    let Raw {
        stamp,
        torn,
        content,
    } = read_raw(path, MAX_CERTIFICATE_BYTES);
    let content = match content {
        Ok(Some((bytes, mode))) => FileContent::Bytes {
            bytes: SecretBytes::new(bytes),
            mode,
        },
        Ok(None) => FileContent::Absent,
        Err(reason) => FileContent::Unreadable(reason),
    };
    CertificateReading {
        stamp,
        torn,
        content,
    }
}

/// Reads files of certificates and keys, once.
pub fn read_certificates<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Vec<CertificateFile> {
    let files = paths.into_iter().map(|path| CertificateFile {
        path: path.to_path_buf(),
        content: read_certificate(path).content,
    });
    files.collect()
}

/// A file as it was read, whatever it is for.
struct Raw {
    stamp: Option<Stamp>,
    torn: bool,
    /// Its bytes and permissions; absent when it is not there, or why it cannot be read.
    content: Result<Option<(Vec<u8>, u32)>, String>,
}

fn read_raw(path: &Path, limit: u64) -> Raw {
    match try_read(path, limit) {
        Ok(raw) => raw,
        Err(error) if is_absent(&error) => whole(None, Ok(None)),
        Err(error) => whole(None, Err(format!("cannot be read: {error}"))),
    }
}

/// Whether the error says that there is no such file.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn whole(stamp: Option<Stamp>, content: Result<Option<(Vec<u8>, u32)>, String>) -> Raw {
    Raw {
        stamp,
        torn: false,
        content,
    }
}

fn try_read(path: &Path, limit: u64) -> io::Result<Raw> {
    let before = std::fs::metadata(path)?;
    let stamp = Stamp::of(&before);
    if !before.is_file() {
        return Ok(whole(Some(stamp), Err("is not a regular file".into())));
    }
    if before.len() > limit {
        return Ok(whole(Some(stamp), Err(too_large(before.len(), limit))));
    }
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Err(error),
        Err(error) => {
            let reason = format!("cannot be read: {error}");
            return Ok(whole(Some(stamp), Err(reason)));
        }
    };
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0) + 1);
    // One byte beyond the limit, so that a file that grew meanwhile is noticed.
    (&mut file).take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let reason = too_large(bytes.len() as u64, limit);
        return Ok(whole(Some(stamp), Err(reason)));
    }
    let after = file.metadata()?;
    Ok(Raw {
        stamp: Some(stamp),
        torn: Stamp::of(&after) != stamp,
        content: Ok(Some((bytes, after.permissions().mode()))),
    })
}

fn too_large(size: u64, limit: u64) -> String {
    format!("is too large: {size} bytes or more, at most {limit} are read")
}

fn text_of(bytes: Vec<u8>) -> Content {
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Content::Unreadable(format!("is not text: zero byte at offset {at}"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Content::Text(text.into()),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Content::Unreadable(format!("is not text: invalid UTF-8 at offset {at}"))
        }
    }
}

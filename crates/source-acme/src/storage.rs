//! Account and certificates on disk: whole or not at all, and for their owner only.
//!
//! ```text
//! account.json            the accounts, by directory URL
//! NAME/tls.crt, tls.key   a certificate with its chain, and its key
//! NAME/directory          the directory URL it came from
//! ```

use crate::{CredentialName, DirectoryUrl};
use certificates::{Credential, InvalidCredential};
use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The accounts, in the storage folder.
pub(crate) const ACCOUNT_FILE: &str = "account.json";

pub(crate) const CHAIN: &str = "tls.crt";
pub(crate) const KEY: &str = "tls.key";
pub(crate) const DIRECTORY: &str = "directory";

/// What is written to see whether something can be: no name of a credential, which has no leading dot.
const PROBE: &str = "probe";

/// Bytes of it: about what a certificate with its chain and key takes up, so that an almost full disk shows, too.
const PROBE_BYTES: usize = 16 * 1024;

/// Bytes of any file here at most.
const MAX_BYTES: u64 = 1024 * 1024;

/// The storage folder.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    folder: PathBuf,
}

/// What could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    #[error("{} cannot be read", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("{} cannot be written", .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("{} is not what was stored there; move it away to make a new account", .0.display())]
    Account(PathBuf, #[source] InvalidJson),
    #[error("{0}")]
    Vault(String),
}

/// What kind of mistake there is in a JSON text, and where. Not what is there: serde quotes the value that it did not
/// expect, which may be an account's key, and this is logged.
#[derive(Debug)]
pub(crate) struct InvalidJson {
    category: Category,
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for InvalidJson {
    fn from(error: serde_json::Error) -> Self {
        Self {
            category: error.classify(),
            line: error.line(),
            column: error.column(),
        }
    }
}

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.category {
            Category::Io => "it cannot be read or written as JSON",
            Category::Syntax => "it is not JSON",
            Category::Data => "a value is missing or of the wrong kind",
            Category::Eof => "it ends too early",
        })?;
        // Values that were parsed before have no place any more.
        if self.line == 0 {
            return Ok(());
        }
        write!(f, ", line {} column {}", self.line, self.column)
    }
}

// Nothing is behind it: a source would be logged with all it quotes.
impl std::error::Error for InvalidJson {}

/// An account as it is stored.
#[derive(Deserialize, Serialize)]
pub(crate) struct StoredAccount {
    /// Whom the server was told to write to.
    pub(crate) contact: Vec<String>,
    pub(crate) credentials: AccountCredentials,
}

/// A certificate as it is stored.
#[derive(Debug)]
pub(crate) struct StoredCertificate {
    pub(crate) credential: Credential,
    /// Which server it came from. Absent: unknown.
    pub(crate) directory: Option<String>,
}

/// A stored certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Invalid(#[from] InvalidCredential),
}

impl Storage {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes the folder of a credential, so that it can be watched before anything is in it.
    pub(crate) fn prepare(&self, credential: &CredentialName) -> Result<PathBuf, StorageError> {
        let folder = self.folder.join(credential.as_str());
        make_folder(&folder).map_err(|error| StorageError::Write(folder.clone(), error))?;
        Ok(folder)
    }

    /// Whether a certificate could be stored. To be asked before one is ordered: servers count orders, whether or not
    /// what comes of them can be kept.
    pub(crate) fn probe_certificate(
        &self,
        credential: &CredentialName,
    ) -> Result<(), StorageError> {
        probe(&self.folder.join(credential.as_str()))
    }

    /// Whether an account could be stored. To be asked before one is made: servers count accounts, too, and one
    /// without its key is lost.
    pub(crate) fn probe_account(&self) -> Result<(), StorageError> {
        probe(&self.folder)
    }

    /// The account at a server, if there is one.
    pub(crate) fn account(
        &self,
        directory: &DirectoryUrl,
    ) -> Result<Option<StoredAccount>, StorageError> {
        account_in(self.accounts()?, directory, &self.account_file())
    }

    /// Stores the account at a server, in place of the one that was there. Those at other servers stay.
    pub(crate) fn store_account(
        &self,
        directory: &DirectoryUrl,
        account: &StoredAccount,
    ) -> Result<(), StorageError> {
        let account = value_of(account, &self.account_file())?;
        let mut accounts = self.accounts()?;
        accounts.insert(directory.as_str().to_owned(), account);
        self.write_accounts(&accounts)
    }

    /// Forgets the account at a server that does not know it any more.
    pub(crate) fn forget_account(&self, directory: &DirectoryUrl) -> Result<(), StorageError> {
        let mut accounts = self.accounts()?;
        accounts.remove(directory.as_str());
        self.write_accounts(&accounts)
    }

    fn account_file(&self) -> PathBuf {
        self.folder.join(ACCOUNT_FILE)
    }

    /// Accounts by directory. What is in one is not looked at, so that one in a newer form survives.
    fn accounts(&self) -> Result<BTreeMap<String, Value>, StorageError> {
        let path = self.account_file();
        accounts_of(read_if_there(&path)?.as_deref(), &path)
    }

    fn write_accounts(&self, accounts: &BTreeMap<String, Value>) -> Result<(), StorageError> {
        let path = self.account_file();
        let text = text_of(accounts, &path)?;
        let written = make_folder(&self.folder).and_then(|()| {
            write_beside(&path, &text)?;
            put_in_place(&path)
        });
        written.map_err(|error| StorageError::Write(path, error))
    }

    /// The certificate of a credential, if one is stored.
    pub(crate) fn certificate(
        &self,
        credential: &CredentialName,
    ) -> Result<Option<StoredCertificate>, Unusable> {
        let folder = self.folder.join(credential.as_str());
        let (chain, key) = (folder.join(CHAIN), folder.join(KEY));
        let Some(key) = read_if_there(&key)? else {
            return Ok(None);
        };
        let credential = match read_if_there(&chain)? {
            None => Err(InvalidCredential::NoCertificate),
            Some(chain) => Credential::from_pem(&chain, &key),
        };
        let credential = match credential {
            Ok(credential) => credential,
            Err(error) => finish_interrupted(&folder).ok_or(error)?,
        };
        let directory = read_if_there(&folder.join(DIRECTORY))?;
        let directory = directory.and_then(|text| String::from_utf8(text).ok());
        Ok(Some(StoredCertificate {
            credential,
            directory: directory.map(|text| text.trim().to_owned()),
        }))
    }

    /// Stores a certificate in place of the one that was there.
    ///
    /// Each file is replaced at once. Between the two lies a moment in which they do not belong together: whoever
    /// watches keeps what was there before, and a start after a power failure in that moment finishes it.
    pub(crate) fn store_certificate(
        &self,
        credential: &CredentialName,
        directory: &DirectoryUrl,
        chain: &str,
        key: &str,
    ) -> Result<(), StorageError> {
        let folder = self.prepare(credential)?;
        let (chain_file, key_file) = (folder.join(CHAIN), folder.join(KEY));
        let directory_file = folder.join(DIRECTORY);
        let store = || {
            write_beside(&chain_file, chain.as_bytes())?;
            write_beside(&key_file, key.as_bytes())?;
            write_beside(&directory_file, directory.as_str().as_bytes())?;
            // One right after the other, then down to the disk.
            fs::rename(beside(&key_file), &key_file)?;
            fs::rename(beside(&chain_file), &chain_file)?;
            put_in_place(&directory_file)
        };
        store().map_err(|error| StorageError::Write(folder.clone(), error))
    }
}

/// All accounts, as they are written at a place.
pub(crate) fn accounts_of(
    text: Option<&[u8]>,
    place: &Path,
) -> Result<BTreeMap<String, Value>, StorageError> {
    let Some(text) = text else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_slice(text).map_err(|error| invalid(error, place))
}

/// The account at a server, among all.
pub(crate) fn account_in(
    mut accounts: BTreeMap<String, Value>,
    directory: &DirectoryUrl,
    place: &Path,
) -> Result<Option<StoredAccount>, StorageError> {
    let account = accounts.remove(directory.as_str());
    let account = account.map(serde_json::from_value).transpose();
    account.map_err(|error| invalid(error, place))
}

pub(crate) fn value_of(account: &StoredAccount, place: &Path) -> Result<Value, StorageError> {
    serde_json::to_value(account).map_err(|error| invalid(error, place))
}

pub(crate) fn text_of(
    accounts: &BTreeMap<String, Value>,
    place: &Path,
) -> Result<Vec<u8>, StorageError> {
    serde_json::to_vec_pretty(accounts).map_err(|error| invalid(error, place))
}

fn invalid(error: serde_json::Error, place: &Path) -> StorageError {
    StorageError::Account(place.to_owned(), error.into())
}

/// Of two files one was replaced: it belongs to the other that was about to be.
fn finish_interrupted(folder: &Path) -> Option<Credential> {
    let (chain, key) = (folder.join(CHAIN), folder.join(KEY));
    let finish = |pending: &Path, chain: &Path, key: &Path| {
        let (chain, key) = (read_if_there(chain).ok()??, read_if_there(key).ok()??);
        let credential = Credential::from_pem(&chain, &key).ok()?;
        put_in_place(pending).ok()?;
        Some(credential)
    };
    finish(&chain, &beside(&chain), &key).or_else(|| finish(&key, &chain, &beside(&key)))
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::Read(path.to_owned(), error)),
    }
}

/// For the owner only, as far as it is not there yet.
fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a file into a folder and takes it away: permissions alone say nothing about full disks and quotas.
fn probe(folder: &Path) -> Result<(), StorageError> {
    let path = folder.join(PROBE);
    let write = || {
        make_folder(folder)?;
        let written = write_beside(&path, &[0; PROBE_BYTES]);
        // The part of it, too, that a full disk had room for.
        let removed = fs::remove_file(beside(&path));
        written.and(removed)
    };
    write().map_err(|error| StorageError::Write(folder.to_owned(), error))
}

/// `.tls.key.new`.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Writes what is to become `path`, down to the disk.
fn write_beside(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    // Left over from an interruption, perhaps with other permissions.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()
}

fn put_in_place(path: &Path) -> io::Result<()> {
    fs::rename(beside(path), path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;

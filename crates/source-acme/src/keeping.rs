//! Where account and certificates are kept: in a folder of this process, or where all replicas find them.

use crate::shared::{Files, Kept, Vault, VaultError};
use crate::storage::{
    ACCOUNT_FILE, CHAIN, DIRECTORY, KEY, Storage, StorageError, StoredAccount, StoredCertificate,
    Unusable, account_in, accounts_of, text_of, value_of,
};
use crate::{CredentialName, DirectoryUrl};
use certificates::{Credential, InvalidCredential};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Where account and certificates are kept.
#[derive(Clone)]
pub(crate) enum Keeping {
    Folder(Storage),
    Vault(Arc<dyn Vault>),
}

impl From<VaultError> for StorageError {
    fn from(error: VaultError) -> Self {
        Self::Vault(error.0)
    }
}

impl Keeping {
    /// Whether a certificate could be stored: see [`Storage::probe_certificate`].
    pub(crate) async fn probe_certificate(
        &self,
        credential: &CredentialName,
    ) -> Result<(), StorageError> {
        match self {
            Self::Folder(storage) => storage.probe_certificate(credential),
            Self::Vault(vault) => Ok(vault.probe().await?),
        }
    }

    /// Whether an account could be stored: see [`Storage::probe_account`].
    pub(crate) async fn probe_account(&self) -> Result<(), StorageError> {
        match self {
            Self::Folder(storage) => storage.probe_account(),
            Self::Vault(vault) => Ok(vault.probe().await?),
        }
    }

    /// The account at a server, if there is one.
    pub(crate) async fn account(
        &self,
        directory: &DirectoryUrl,
    ) -> Result<Option<StoredAccount>, StorageError> {
        let vault = match self {
            Self::Folder(storage) => return storage.account(directory),
            Self::Vault(vault) => vault,
        };
        account_in(accounts(vault).await?, directory, &place(vault))
    }

    /// Stores the account at a server, in place of the one that was there. Those at other servers stay.
    pub(crate) async fn store_account(
        &self,
        directory: &DirectoryUrl,
        account: &StoredAccount,
    ) -> Result<(), StorageError> {
        let vault = match self {
            Self::Folder(storage) => return storage.store_account(directory, account),
            Self::Vault(vault) => vault,
        };
        let mut all = accounts(vault).await?;
        let account = value_of(account, &place(vault))?;
        all.insert(directory.as_str().to_owned(), account);
        write_accounts(vault, &all).await
    }

    /// Forgets the account at a server that does not know it any more.
    pub(crate) async fn forget_account(
        &self,
        directory: &DirectoryUrl,
    ) -> Result<(), StorageError> {
        let vault = match self {
            Self::Folder(storage) => return storage.forget_account(directory),
            Self::Vault(vault) => vault,
        };
        let mut all = accounts(vault).await?;
        all.remove(directory.as_str());
        write_accounts(vault, &all).await
    }

    /// The certificate of a credential, if one is stored.
    pub(crate) async fn certificate(
        &self,
        credential: &CredentialName,
    ) -> Result<Option<StoredCertificate>, Unusable> {
        let vault = match self {
            Self::Folder(storage) => return storage.certificate(credential),
            Self::Vault(vault) => vault,
        };
        let kept = Kept::Certificate(credential.as_str());
        let files = vault.read(kept).await.map_err(StorageError::from)?;
        let Some(files) = files else {
            return Ok(None);
        };
        let Some((chain, key)) = files.get(CHAIN).zip(files.get(KEY)) else {
            return Err(InvalidCredential::NoCertificate.into());
        };
        let directory = files.get(DIRECTORY).cloned();
        Ok(Some(StoredCertificate {
            credential: Credential::from_pem(chain, key)?,
            directory: directory.and_then(|text| String::from_utf8(text).ok()),
        }))
    }

    /// Stores a certificate in place of the one that was there.
    pub(crate) async fn store_certificate(
        &self,
        credential: &CredentialName,
        directory: &DirectoryUrl,
        chain: &str,
        key: &str,
    ) -> Result<(), StorageError> {
        let vault = match self {
            Self::Folder(storage) => {
                return storage.store_certificate(credential, directory, chain, key);
            }
            Self::Vault(vault) => vault,
        };
        let files = [(CHAIN, chain), (KEY, key), (DIRECTORY, directory.as_str())];
        let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        let kept = Kept::Certificate(credential.as_str());
        Ok(vault.write(kept, Files::from(files)).await?)
    }
}

fn place(vault: &Arc<dyn Vault>) -> PathBuf {
    vault.place(Kept::Accounts).into()
}

async fn accounts(vault: &Arc<dyn Vault>) -> Result<BTreeMap<String, Value>, StorageError> {
    let files = vault.read(Kept::Accounts).await?.unwrap_or_default();
    accounts_of(files.get(ACCOUNT_FILE).map(Vec::as_slice), &place(vault))
}

async fn write_accounts(
    vault: &Arc<dyn Vault>,
    accounts: &BTreeMap<String, Value>,
) -> Result<(), StorageError> {
    let text = text_of(accounts, &place(vault))?;
    let files = Files::from([(ACCOUNT_FILE.to_owned(), text)]);
    Ok(vault.write(Kept::Accounts, files).await?)
}

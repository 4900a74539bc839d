//! The account at a server: restored, or made.

use crate::client::Client;
use crate::failure::Failure;
use crate::keeping::Keeping;
use crate::storage::StoredAccount;
use crate::{ExternalAccount, Settings};
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use instant_acme::{Account, ExternalAccountKey, NewAccount};
use std::{fs, io};

/// The account that is stored for the server's directory, or a new one, stored before it is used.
pub(crate) async fn open(
    settings: &Settings,
    storage: &Keeping,
    client: &Client,
) -> Result<Account, Failure> {
    match restore(settings, storage, client).await? {
        Some(account) => Ok(account),
        None => register(settings, storage, client).await,
    }
}

/// The account that is stored for the server's directory.
pub(crate) async fn restore(
    settings: &Settings,
    storage: &Keeping,
    client: &Client,
) -> Result<Option<Account>, Failure> {
    let Some(stored) = storage.account(&settings.directory).await? else {
        return Ok(None);
    };
    let StoredAccount {
        contact,
        credentials,
    } = stored;
    let account = Account::builder_with_http(Box::new(client.clone()))
        .from_credentials(credentials)
        .await?;
    if contact != settings.contact {
        account.update_contacts(&contacts(settings)).await?;
        note_contact(settings, storage).await?;
    }
    Ok(Some(account))
}

/// Makes an account. Not before it could be stored: without its key it is of no use, and servers count them.
async fn register(
    settings: &Settings,
    storage: &Keeping,
    client: &Client,
) -> Result<Account, Failure> {
    let probed = storage.probe_account().await;
    probed.map_err(Failure::Unwritable)?;
    let new = NewAccount {
        contact: &contacts(settings),
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let external = (settings.external_account.as_ref()).map(external_key);
    let external = external.transpose()?;
    let directory = settings.directory.as_str().to_owned();
    let (account, credentials) = Account::builder_with_http(Box::new(client.clone()))
        .create(&new, directory, external.as_ref())
        .await?;
    let stored = StoredAccount {
        contact: settings.contact.clone(),
        credentials,
    };
    storage.store_account(&settings.directory, &stored).await?;
    tracing::info!(directory = %settings.directory, account = account.id(), "an ACME account was made");
    Ok(account)
}

fn contacts(settings: &Settings) -> Vec<&str> {
    settings.contact.iter().map(String::as_str).collect()
}

async fn note_contact(settings: &Settings, storage: &Keeping) -> Result<(), Failure> {
    if let Some(stored) = storage.account(&settings.directory).await? {
        let stored = StoredAccount {
            contact: settings.contact.clone(),
            ..stored
        };
        storage.store_account(&settings.directory, &stored).await?;
    }
    Ok(())
}

fn external_key(external: &ExternalAccount) -> Result<ExternalAccountKey, Failure> {
    let file = &external.hmac_key_file;
    let unreadable = |error| Failure::ExternalAccount {
        file: file.clone(),
        error,
    };
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let key = decode(text.trim()).ok_or_else(|| {
        // Nothing of the key, not even where it is wrong.
        unreadable(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not Base64",
        ))
    })?;
    Ok(ExternalAccountKey::new(external.key_id.clone(), &key))
}

/// Either alphabet, with padding or without: servers print all of them.
fn decode(text: &str) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [URL_SAFE, STANDARD]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok())
        .filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_keys_come_in_either_alphabet_padded_or_not() {
        let cases = [
            ("-_8", Some(vec![0xfb, 0xff])),
            ("-_8=", Some(vec![0xfb, 0xff])),
            ("+/8=", Some(vec![0xfb, 0xff])),
            ("+/8", Some(vec![0xfb, 0xff])),
            ("", None),
            ("not base64!", None),
        ];
        for (text, want) in cases {
            assert_eq!(decode(text), want, "{text}");
        }
    }
}

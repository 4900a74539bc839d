//! Secrets that are read and written by name, whoever else writes them.

use crate::asking::{Unanswered, Unwritten, asked, written};
use crate::connect::{Unreachable, connect};
use crate::settings::Access;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use std::collections::BTreeMap;
use std::fmt;

/// What a Secret holds, by name.
pub type SecretData = BTreeMap<String, Vec<u8>>;

/// The Secrets of a namespace.
#[derive(Clone, Debug)]
pub struct Secrets {
    api: Api<Secret>,
}

/// A Secret as it was read: whoever writes it says which one that was made from.
pub struct StoredSecret {
    /// What it holds.
    pub data: SecretData,
    /// All of it, but for the data.
    rest: Secret,
}

impl fmt::Debug for StoredSecret {
    /// Without what it holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.data.keys().collect();
        f.debug_struct("StoredSecret")
            .field("names", &names)
            .field("version", &self.rest.metadata.resource_version)
            .finish_non_exhaustive()
    }
}

impl StoredSecret {
    /// Which version it is, another one after each change.
    pub fn version(&self) -> &str {
        let version = self.rest.metadata.resource_version.as_deref();
        version.unwrap_or_default()
    }
}

impl Secrets {
    /// Those of a namespace, which have not been asked for yet.
    ///
    /// # Errors
    ///
    /// Nothing tells where the API server is, or what does cannot be used.
    pub async fn new(access: &Access, namespace: &str) -> Result<Self, Unreachable> {
        let client = connect(access).await?;
        Ok(Self {
            api: Api::namespaced(client, namespace),
        })
    }

    /// The Secret of a name as it is now. `None`: there is none.
    ///
    /// # Errors
    ///
    /// The API server does not answer in time, or refuses.
    pub async fn read(&self, name: &str) -> Result<Option<StoredSecret>, Unanswered> {
        let found = asked(self.api.get_opt(name)).await?;
        Ok(found.map(|mut rest| {
            let data = rest.data.take().unwrap_or_default();
            let data = data
                .into_iter()
                .map(|(name, ByteString(bytes))| (name, bytes));
            StoredSecret {
                data: data.collect(),
                rest,
            }
        }))
    }

    /// Makes a Secret of a type, where there is none of the name.
    ///
    /// # Errors
    ///
    /// There is one, the API server does not answer in time, or refuses.
    pub async fn make(&self, name: &str, kind: &str, data: SecretData) -> Result<(), Unwritten> {
        let data = data.into_iter();
        let data = data.map(|(name, bytes)| (name, ByteString(bytes)));
        let mut secret = Secret {
            type_: Some(kind.to_owned()),
            data: Some(data.collect()),
            ..Secret::default()
        };
        secret.metadata.name = Some(name.to_owned());
        written(self.api.create(&PostParams::default(), &secret)).await
    }

    /// Has a Secret hold these data and no others. `former` is what they were made from: it is replaced, and keeps its type,
    /// labels and annotations. Without one there must be none, and one of type `Opaque` is made.
    ///
    /// # Errors
    ///
    /// Another one was written since, the API server does not answer in time, or refuses. Without an answer it may have
    /// been written nevertheless.
    pub async fn write(
        &self,
        name: &str,
        data: SecretData,
        former: Option<StoredSecret>,
    ) -> Result<(), Unwritten> {
        let data = data
            .into_iter()
            .map(|(name, bytes)| (name, ByteString(bytes)));
        let data = Some(data.collect());
        let parameters = PostParams::default();
        match former {
            Some(former) => {
                let secret = Secret {
                    data,
                    ..former.rest
                };
                written(self.api.replace(name, &parameters, &secret)).await
            }
            None => {
                let mut secret = Secret {
                    data,
                    ..Secret::default()
                };
                secret.metadata.name = Some(name.to_owned());
                written(self.api.create(&parameters, &secret)).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fake_kubernetes::{ApiServer, Fault};
    use serde_json::json;
    use tempfile::NamedTempFile;

    async fn secrets(server: &ApiServer) -> (Secrets, NamedTempFile) {
        let file = server.kubeconfig();
        let access = Access {
            kubeconfig: Some(file.path().to_owned()),
            context: None,
        };
        (Secrets::new(&access, "shop").await.unwrap(), file)
    }

    fn data(value: &str) -> SecretData {
        SecretData::from([("a".to_owned(), value.into())])
    }

    #[tokio::test]
    async fn one_is_made_and_replaced_and_keeps_what_others_say_of_it() {
        let server = ApiServer::start().await;
        let (secrets, _file) = secrets(&server).await;
        assert!(secrets.read("keys").await.unwrap().is_none());
        secrets.write("keys", data("1"), None).await.unwrap();
        let made = server.object("secrets", Some("shop"), "keys").unwrap();
        assert_eq!(made["data"], json!({"a": "MQ=="}));
        let labelled = json!({
            "metadata": {"namespace": "shop", "labels": {"team": "shop"}}, "type": "Opaque",
        });
        server.put("secrets", "keys", &labelled);
        let empty = secrets.read("keys").await.unwrap().unwrap();
        assert!(empty.data.is_empty(), "one that was made without any");
        secrets.write("keys", data("2"), Some(empty)).await.unwrap();
        let read = secrets.read("keys").await.unwrap().unwrap();
        assert_eq!(read.data, data("2"));
        assert!(!format!("{read:?}").contains("50"), "no data are shown");
        let replaced = server.object("secrets", Some("shop"), "keys").unwrap();
        assert_eq!(replaced["metadata"]["labels"]["team"], "shop");
        assert_eq!(replaced["type"], "Opaque");
    }

    #[tokio::test]
    async fn who_writes_what_others_wrote_since_has_a_conflict() {
        let server = ApiServer::start().await;
        let (secrets, _file) = secrets(&server).await;
        secrets.write("keys", data("1"), None).await.unwrap();
        let again = secrets.write("keys", data("2"), None).await;
        assert_eq!(again, Err(Unwritten::Conflict), "it is there already");
        let (first, second) = (secrets.read("keys").await, secrets.read("keys").await);
        secrets
            .write("keys", data("3"), first.unwrap())
            .await
            .unwrap();
        let late = secrets.write("keys", data("4"), second.unwrap()).await;
        assert_eq!(late, Err(Unwritten::Conflict));
        let gone = secrets.read("keys").await.unwrap();
        server.delete("secrets", Some("shop"), "keys");
        let late = secrets.write("keys", data("5"), gone).await;
        assert_eq!(late, Err(Unwritten::Conflict), "it has gone");
    }

    #[tokio::test]
    async fn refusals_and_silence_are_told() {
        let server = ApiServer::start().await;
        let (secrets, _file) = secrets(&server).await;
        server.refuse("secrets", 403);
        assert!(secrets.read("keys").await.is_err());
        let refused = secrets.write("keys", data("1"), None).await;
        assert!(matches!(refused, Err(Unwritten::Failed(_))));
        server.refuse("secrets", 200);
        server.fail_when(|_| Some(Fault::Silence));
        tokio::time::pause();
        let why = secrets.read("keys").await.unwrap_err().to_string();
        assert_eq!(why, "the API server does not answer in time");
    }
}

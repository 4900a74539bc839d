//! Finding what a reference stands for, among Secrets and files.

use super::file::Files;
use super::problem::Problem;
use super::{CredentialSettings, FileContent};
use model::{ObjectKey, Objects, Secret};
use rules::CredentialRef;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names of a certificate, its key and an OCSP staple, in Secrets and in folders, in Istio's order.
const PAIRS: [(&str, &str, Option<&str>); 2] = [
    ("cert", "key", None),
    ("tls.crt", "tls.key", Some("tls.ocsp-staple")),
];

/// Names of authorities and of their revocations, likewise.
const AUTHORITIES: [(&str, &str); 2] = [("cacert", "crl"), ("ca.crt", "ca.crl")];

/// What a name is followed by where its authorities are apart. These come first, as Istio has it.
const AUTHORITIES_SUFFIX: &str = "-cacert";

/// Of the identity in the mesh.
const IDENTITY: (&str, &str, &str) = ("cert-chain.pem", "key.pem", "root-cert.pem");

/// Where things can be found.
pub(super) struct Finder<'a> {
    pub(super) settings: &'a CredentialSettings,
    pub(super) files: &'a Files,
    pub(super) secrets: &'a Objects<Secret>,
    /// Of the proxy: Secrets of others are none of its business.
    pub(super) namespace: &'a Arc<str>,
}

/// What was found, not looked into yet.
#[derive(Clone, Copy, Hash)]
pub(super) enum Bytes<'a> {
    Certificate {
        chain: &'a [u8],
        key: &'a [u8],
        staple: Option<&'a [u8]>,
    },
    Authorities {
        authorities: &'a [u8],
        revocations: Option<&'a [u8]>,
    },
}

/// What was found, and where.
pub(super) struct Material<'a> {
    pub(super) source: String,
    pub(super) bytes: Bytes<'a>,
}

type Found<'a> = Result<Option<Material<'a>>, Problem>;

/// The paths to be read for a reference.
pub(super) fn paths_of(settings: &CredentialSettings, reference: &CredentialRef) -> Vec<PathBuf> {
    let below = |folders: Vec<PathBuf>, names: &[&str]| {
        let paths = folders
            .iter()
            .flat_map(|folder| names.iter().map(|name| folder.join(name)));
        paths.collect::<Vec<_>>()
    };
    let identity = || settings.identity.clone().into_iter().collect::<Vec<_>>();
    match reference {
        CredentialRef::Named(name) => {
            let names = PAIRS
                .iter()
                .flat_map(|(chain, key, staple)| [Some(*chain), Some(*key), *staple]);
            let names: Vec<&str> = names.flatten().collect();
            below(settings.folders_of(name).collect(), &names)
        }
        CredentialRef::AuthoritiesNamed(name) => {
            let names = AUTHORITIES.map(|(authorities, revocations)| [authorities, revocations]);
            let apart = format!("{name}{AUTHORITIES_SUFFIX}");
            let folders = settings.folders_of(&apart).chain(settings.folders_of(name));
            below(folders.collect(), names.as_flattened())
        }
        CredentialRef::Files { certificate, key } => {
            vec![settings.path(certificate), settings.path(key)]
        }
        CredentialRef::AuthorityFiles {
            authorities,
            revocations,
        } => [Some(authorities), revocations.as_ref()]
            .into_iter()
            .flatten()
            .map(|path| settings.path(path))
            .collect(),
        CredentialRef::Workload => below(identity(), &[IDENTITY.0, IDENTITY.1]),
        CredentialRef::WorkloadAuthorities => below(identity(), &[IDENTITY.2]),
    }
}

impl<'a> Finder<'a> {
    /// What lies there for a reference.
    pub(super) fn find(&self, reference: &CredentialRef) -> Result<Material<'a>, Problem> {
        match reference {
            CredentialRef::Named(name) => self.named(name),
            CredentialRef::AuthoritiesNamed(name) => self.authorities_named(name),
            CredentialRef::Files { certificate, key } => {
                self.pair_of_files(&self.settings.path(certificate), &self.settings.path(key))
            }
            CredentialRef::AuthorityFiles {
                authorities,
                revocations,
            } => self.authority_files(
                &self.settings.path(authorities),
                revocations.as_ref().map(|path| self.settings.path(path)),
            ),
            CredentialRef::Workload => {
                let identity = self.identity()?;
                self.pair_of_files(&identity.join(IDENTITY.0), &identity.join(IDENTITY.1))
            }
            CredentialRef::WorkloadAuthorities => {
                self.authority_files(&self.identity()?.join(IDENTITY.2), None)
            }
        }
    }

    /// Whether it comes from a Secret, which changes as a whole and is never seen halfway.
    pub(super) fn is_of_secret(&self, reference: &CredentialRef) -> bool {
        matches!(reference, CredentialRef::Named(name) if self.secret(name).is_some())
    }

    fn secret(&self, name: &str) -> Option<&'a Secret> {
        let key = ObjectKey {
            namespace: Arc::clone(self.namespace),
            name: name.into(),
        };
        self.secrets.get(&key).map(AsRef::as_ref)
    }

    fn identity(&self) -> Result<&'a Path, Problem> {
        self.settings.identity.as_deref().ok_or(Problem::NoIdentity)
    }

    fn named(&self, name: &str) -> Result<Material<'a>, Problem> {
        if let Some(secret) = self.secret(name) {
            return pair_in_secret(secret)?.ok_or_else(|| Problem::Incomplete {
                place: secret.meta.reference.to_string(),
                lacks: "tls.crt and tls.key, nor cert and key",
            });
        }
        for folder in self.settings.folders_of(name) {
            if let Some(found) = self.pair_in_folder(&folder)? {
                return Ok(found);
            }
        }
        let folders = self.settings.folders_of(name);
        let files = folders.map(|folder| shown(&folder.join("tls.crt")));
        let secret = format!("Secret {}/{name}", self.namespace);
        Err(Problem::Missing {
            places: std::iter::once(secret).chain(files).collect(),
            is_ordered: self.settings.orders(name),
        })
    }

    fn authorities_named(&self, name: &str) -> Result<Material<'a>, Problem> {
        let apart = format!("{name}{AUTHORITIES_SUFFIX}");
        for name in [&apart, name] {
            if let Some(found) = self.authorities_of(name)? {
                return Ok(found);
            }
        }
        let places = [&apart, name].into_iter().flat_map(|name| {
            let folders = self.settings.folders_of(name);
            let files = folders.map(|folder| shown(&folder.join("ca.crt")));
            std::iter::once(format!("ca.crt in Secret {}/{name}", self.namespace)).chain(files)
        });
        Err(Problem::Missing {
            places: places.collect(),
            is_ordered: false,
        })
    }

    fn authorities_of(&self, name: &str) -> Found<'a> {
        if let Some(secret) = self.secret(name) {
            return Ok(authorities_in_secret(secret));
        }
        for folder in self.settings.folders_of(name) {
            if let Some(found) = self.authorities_in_folder(&folder)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn pair_in_folder(&self, folder: &Path) -> Found<'a> {
        for (chain, key, staple) in PAIRS {
            let (chain, key) = (folder.join(chain), folder.join(key));
            if let (Ok(Some(_)), Ok(Some(_))) = (self.bytes(&chain), self.bytes(&key)) {
                let staple = staple.map(|staple| folder.join(staple));
                return self.whole_pair(&chain, &key, staple.as_deref()).map(Some);
            }
        }
        // None is whole. What is wrong is told of the usual names first.
        for (chain, key, _) in PAIRS.into_iter().rev() {
            let lacking = |lacks| Problem::Incomplete {
                place: shown(folder),
                lacks,
            };
            let there = (
                self.bytes(&folder.join(chain))?,
                self.bytes(&folder.join(key))?,
            );
            match there {
                (None, None) => {}
                (None, _) => return Err(lacking(chain)),
                _ => return Err(lacking(key)),
            }
        }
        Ok(None)
    }

    fn authorities_in_folder(&self, folder: &Path) -> Found<'a> {
        for (authorities, revocations) in AUTHORITIES {
            let path = folder.join(authorities);
            if let Some(authorities) = self.bytes(&path)? {
                return Ok(Some(Material {
                    source: shown(&path),
                    bytes: Bytes::Authorities {
                        authorities,
                        revocations: self.bytes(&folder.join(revocations))?,
                    },
                }));
            }
        }
        Ok(None)
    }

    fn pair_of_files(&self, chain: &Path, key: &Path) -> Result<Material<'a>, Problem> {
        for path in [chain, key] {
            if self.bytes(path)?.is_none() {
                return Err(missing(path));
            }
        }
        self.whole_pair(chain, key, None)
    }

    fn authority_files(
        &self,
        authorities: &Path,
        revocations: Option<PathBuf>,
    ) -> Result<Material<'a>, Problem> {
        let required = |path: &Path| self.bytes(path)?.ok_or_else(|| missing(path));
        Ok(Material {
            source: shown(authorities),
            bytes: Bytes::Authorities {
                authorities: required(authorities)?,
                // Without the list that is asked for, a revoked certificate would pass.
                revocations: revocations.map(|path| required(&path)).transpose()?,
            },
        })
    }

    fn whole_pair(
        &self,
        chain: &Path,
        key: &Path,
        staple: Option<&Path>,
    ) -> Result<Material<'a>, Problem> {
        self.check_closed(key)?;
        let bytes = Bytes::Certificate {
            chain: self.bytes(chain)?.unwrap_or_default(),
            key: self.bytes(key)?.unwrap_or_default(),
            staple: staple.and_then(|staple| self.bytes(staple).ok().flatten()),
        };
        Ok(Material {
            source: format!("{}, {}", chain.display(), key.display()),
            bytes,
        })
    }

    fn check_closed(&self, key: &Path) -> Result<(), Problem> {
        match self.files.content(key) {
            Some(FileContent::Bytes { mode, .. })
                if mode & 0o077 != 0 && !self.settings.allow_readable_keys =>
            {
                Err(Problem::OpenKey {
                    file: key.to_path_buf(),
                    mode: *mode,
                })
            }
            _ => Ok(()),
        }
    }

    /// What is in a file. Absent: it is not there, or there is nothing in it.
    fn bytes(&self, path: &Path) -> Result<Option<&'a [u8]>, Problem> {
        match self.files.content(path) {
            None => Err(Problem::NotTold),
            Some(FileContent::Absent) => Ok(None),
            Some(FileContent::Unreadable(reason)) => Err(Problem::Unreadable {
                file: path.to_path_buf(),
                reason: reason.clone(),
            }),
            Some(FileContent::Bytes { bytes, .. }) => Ok(filled(bytes.as_bytes())),
        }
    }
}

fn pair_in_secret(secret: &Secret) -> Found<'_> {
    let whole = PAIRS.into_iter().find_map(|(chain, key, staple)| {
        Some(Bytes::Certificate {
            chain: value(secret, chain)?,
            key: value(secret, key)?,
            staple: staple.and_then(|staple| value(secret, staple)),
        })
    });
    if let Some(bytes) = whole {
        let source = secret.meta.reference.to_string();
        return Ok(Some(Material { source, bytes }));
    }
    let lacks = |name: &&str| value(secret, name).is_none();
    let partly = PAIRS.into_iter().rev().map(|(chain, key, _)| [chain, key]);
    let mut partly = partly.filter(|pair| !pair.iter().all(lacks));
    let lacking = partly
        .next()
        .and_then(|pair| pair.into_iter().find(|name| lacks(name)));
    match lacking {
        Some(lacks) => Err(Problem::Incomplete {
            place: secret.meta.reference.to_string(),
            lacks,
        }),
        None => Ok(None),
    }
}

fn authorities_in_secret(secret: &Secret) -> Option<Material<'_>> {
    let bytes = AUTHORITIES
        .into_iter()
        .find_map(|(authorities, revocations)| {
            Some(Bytes::Authorities {
                authorities: value(secret, authorities)?,
                revocations: value(secret, revocations),
            })
        })?;
    Some(Material {
        source: secret.meta.reference.to_string(),
        bytes,
    })
}

fn value<'s>(secret: &'s Secret, name: &str) -> Option<&'s [u8]> {
    filled(secret.data.get(name)?.as_bytes())
}

fn filled(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

fn missing(path: &Path) -> Problem {
    Problem::Missing {
        places: vec![shown(path)],
        is_ordered: false,
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

//! Finding what a reference stands for, among Secrets and files.

use super::file::Files;
use super::identity::ToldIdentity;
use super::layout::{CREDENTIALS, IDENTITY, Layout, Names};
use super::material::{Bytes, Material};
use super::problem::Problem;
use super::{CredentialSettings, FileContent, IdentitySource};
use model::{ObjectKey, Objects, Secret};
use rules::CredentialRef;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a name is followed by where its authorities are apart. These come first, as Istio has it.
const AUTHORITIES_SUFFIX: &str = "-cacert";

/// Where things can be found.
pub(super) struct Finder<'a> {
    pub(super) settings: &'a CredentialSettings,
    pub(super) files: &'a Files,
    pub(super) identity: &'a ToldIdentity,
    pub(super) secrets: &'a Objects<Secret>,
    /// Of the proxy: Secrets of others are none of its business.
    pub(super) namespace: &'a Arc<str>,
}

/// What is in a file, or in an entry of a Secret. Absent: it is not there.
type Part<'a> = Result<Option<&'a [u8]>, Problem>;

type Found<'a> = Result<Option<Material<'a>>, Problem>;

/// The paths to be read for a reference.
pub(super) fn paths_of(settings: &CredentialSettings, reference: &CredentialRef) -> Vec<PathBuf> {
    let below = |folders: Vec<PathBuf>, names: &[&str]| {
        let paths = folders
            .iter()
            .flat_map(|folder| names.iter().map(|name| folder.join(name)));
        paths.collect::<Vec<_>>()
    };
    let identity = || {
        let folder = settings.identity_folder();
        folder.map(Path::to_path_buf).into_iter().collect()
    };
    match reference {
        CredentialRef::Named(name) => {
            let names = CREDENTIALS.names_of_pairs();
            below(settings.folders_of(name).collect(), &names)
        }
        CredentialRef::AuthoritiesNamed(name) => {
            let names = CREDENTIALS.names_of_authorities();
            let apart = format!("{name}{AUTHORITIES_SUFFIX}");
            let folders = settings.folders_of(&apart).chain(settings.folders_of(name));
            below(folders.collect(), &names)
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
        CredentialRef::Workload => below(identity(), &IDENTITY.names_of_pairs()),
        CredentialRef::WorkloadAuthorities => below(identity(), &IDENTITY.names_of_authorities()),
    }
}

/// The Secrets to be read for a reference, by name.
pub(super) fn secrets_of(reference: &CredentialRef) -> Vec<String> {
    match reference {
        CredentialRef::Named(name) => vec![name.to_string()],
        CredentialRef::AuthoritiesNamed(name) => {
            vec![format!("{name}{AUTHORITIES_SUFFIX}"), name.to_string()]
        }
        CredentialRef::Files { .. }
        | CredentialRef::AuthorityFiles { .. }
        | CredentialRef::Workload
        | CredentialRef::WorkloadAuthorities => Vec::new(),
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
            CredentialRef::Workload => self.identity(),
            CredentialRef::WorkloadAuthorities => self.identity_authorities(),
        }
    }

    /// Whether it comes from a Secret or was told, changes as a whole, and is never seen halfway.
    pub(super) fn is_whole(&self, reference: &CredentialRef) -> bool {
        match reference {
            CredentialRef::Named(name) => self.secret(name).is_some(),
            CredentialRef::AuthoritiesNamed(name) => self.authorities_are_of_secret(name),
            CredentialRef::Workload | CredentialRef::WorkloadAuthorities => {
                matches!(self.settings.identity, Some(IdentitySource::Told(_)))
            }
            CredentialRef::Files { .. } | CredentialRef::AuthorityFiles { .. } => false,
        }
    }

    /// Why what was found is not followed by anything newer. Absent: it is, or is looked for where it lies.
    pub(super) fn stalled(&self, reference: &CredentialRef) -> Option<Problem> {
        match (reference, &self.settings.identity) {
            (
                CredentialRef::Workload | CredentialRef::WorkloadAuthorities,
                Some(IdentitySource::Told(source)),
            ) => self.identity.trouble(source),
            _ => None,
        }
    }

    /// Of the Secrets and folders for authorities the first that has any decides. A Secret with nothing but the
    /// certificate does not: the authorities may be in a folder, and be replaced there.
    fn authorities_are_of_secret(&self, name: &str) -> bool {
        let apart = format!("{name}{AUTHORITIES_SUFFIX}");
        let mut names = [&apart, name].into_iter();
        let found = names.find(|name| !matches!(self.authorities_of(name), Ok(None)));
        found.is_some_and(|name| self.secret(name).is_some())
    }

    fn secret(&self, name: &str) -> Option<&'a Secret> {
        let key = ObjectKey {
            namespace: Arc::clone(self.namespace),
            name: name.into(),
        };
        self.secrets.get(&key).map(AsRef::as_ref)
    }

    fn identity(&self) -> Result<Material<'a>, Problem> {
        match &self.settings.identity {
            Some(IdentitySource::Folder(folder)) => {
                let found = self.pair_in_folder(folder, &IDENTITY)?;
                found.ok_or_else(|| missing_in(folder, IDENTITY.pairs.map(|(chain, ..)| chain)))
            }
            Some(IdentitySource::Told(source)) => self.identity.certificate(source),
            None => Err(Problem::NoIdentity),
        }
    }

    fn identity_authorities(&self) -> Result<Material<'a>, Problem> {
        match &self.settings.identity {
            Some(IdentitySource::Folder(folder)) => {
                let found = self.authorities_in_folder(folder, &IDENTITY)?;
                found.ok_or_else(|| missing_in(folder, IDENTITY.authorities.map(|(all, _)| all)))
            }
            Some(IdentitySource::Told(source)) => self.identity.authorities(source),
            None => Err(Problem::NoIdentity),
        }
    }

    fn named(&self, name: &str) -> Result<Material<'a>, Problem> {
        if let Some(secret) = self.secret(name) {
            return pair_in_secret(secret)?.ok_or_else(|| Problem::Incomplete {
                place: secret.meta.reference.to_string(),
                lacks: "tls.crt and tls.key, nor cert and key",
            });
        }
        for folder in self.settings.folders_of(name) {
            if let Some(found) = self.pair_in_folder(&folder, &CREDENTIALS)? {
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
            return authorities_in_secret(secret);
        }
        for folder in self.settings.folders_of(name) {
            if let Some(found) = self.authorities_in_folder(&folder, &CREDENTIALS)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn pair_in_folder(&self, folder: &Path, layout: &Layout) -> Found<'a> {
        for (chain, key, staple) in layout.pairs {
            let (chain, key) = (folder.join(chain), folder.join(key));
            if let (Ok(Some(_)), Ok(Some(_))) = (self.bytes(&chain), self.bytes(&key)) {
                let staple = staple.map(|staple| folder.join(staple));
                return self.whole_pair(&chain, &key, staple.as_deref()).map(Some);
            }
        }
        let part = |name: &str| self.bytes(&folder.join(name));
        check_not_partly(layout, &shown(folder), part)?;
        Ok(None)
    }

    fn authorities_in_folder(&self, folder: &Path, layout: &Layout) -> Found<'a> {
        let found = authorities_among(layout, |name| self.bytes(&folder.join(name)))?;
        Ok(found.map(|(names, bytes)| Material {
            source: shown(&folder.join(names.0)),
            list: bytes.has_list().then(|| shown(&folder.join(names.1))),
            bytes,
        }))
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
        let list = revocations.as_deref();
        Ok(Material {
            source: shown(authorities),
            list: list.map(shown),
            bytes: Bytes::Authorities {
                authorities: required(authorities)?,
                // Without the list that is asked for, a revoked certificate would pass.
                revocations: list
                    .map(|path| required(path).map_err(Problem::of_revocations))
                    .transpose()?,
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
            list: None,
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

    /// What is in a file. One with nothing in it is not taken for one that is not there: a list of revocations
    /// that was cut off would count no more.
    fn bytes(&self, path: &Path) -> Part<'a> {
        match self.files.content(path) {
            None => Err(Problem::NotTold),
            Some(FileContent::Absent) => Ok(None),
            Some(FileContent::Unreadable(reason)) => Err(Problem::Unreadable {
                file: path.to_path_buf(),
                reason: reason.clone(),
            }),
            Some(FileContent::Bytes { bytes, .. }) => filled(bytes.as_bytes(), || shown(path)),
        }
    }
}

fn pair_in_secret(secret: &Secret) -> Found<'_> {
    let good = |name| value(secret, name).ok().flatten();
    let whole = CREDENTIALS
        .pairs
        .into_iter()
        .find_map(|(chain, key, staple)| {
            Some(Bytes::Certificate {
                chain: good(chain)?,
                key: good(key)?,
                staple: staple.and_then(good),
            })
        });
    let source = secret.meta.reference.to_string();
    let Some(bytes) = whole else {
        check_not_partly(&CREDENTIALS, &source, |name| value(secret, name))?;
        return Ok(None);
    };
    Ok(Some(Material {
        source,
        list: None,
        bytes,
    }))
}

/// Where no pair is whole, what is wrong with those that are there in part. It is told of the usual names first.
fn check_not_partly<'a>(
    layout: &Layout,
    place: &str,
    part: impl Fn(&str) -> Part<'a>,
) -> Result<(), Problem> {
    let lacking = |lacks| Problem::Incomplete {
        place: place.to_owned(),
        lacks,
    };
    for (chain, key, _) in layout.pairs.into_iter().rev() {
        match (part(chain)?, part(key)?) {
            (None, None) => {}
            (None, _) => return Err(lacking(chain)),
            _ => return Err(lacking(key)),
        }
    }
    Ok(())
}

fn authorities_in_secret(secret: &Secret) -> Found<'_> {
    let found = authorities_among(&CREDENTIALS, |name| value(secret, name))?;
    Ok(found.map(|(names, bytes)| Material {
        source: secret.meta.reference.to_string(),
        list: bytes.has_list().then(|| entry_of(secret, names.1)),
        bytes,
    }))
}

/// The first authorities that are there, with the names of both entries. Empty ones are told where there are no
/// others; of the revocations that go with them they are told in any case.
fn authorities_among<'a>(
    layout: &Layout,
    part: impl Fn(&str) -> Part<'a>,
) -> Result<Option<(Names, Bytes<'a>)>, Problem> {
    let mut empty = None;
    for names in layout.authorities {
        let authorities = match part(names.0) {
            Ok(Some(authorities)) => authorities,
            Ok(None) => continue,
            Err(problem @ Problem::Empty { .. }) => {
                empty.get_or_insert(problem);
                continue;
            }
            Err(problem) => return Err(problem),
        };
        let revocations = part(names.1).map_err(Problem::of_revocations)?;
        let bytes = Bytes::Authorities {
            authorities,
            revocations,
        };
        return Ok(Some((names, bytes)));
    }
    empty.map_or(Ok(None), Err)
}

fn value<'s>(secret: &'s Secret, name: &str) -> Part<'s> {
    match secret.data.get(name) {
        Some(bytes) => filled(bytes.as_bytes(), || entry_of(secret, name)),
        None => Ok(None),
    }
}

fn entry_of(secret: &Secret, name: &str) -> String {
    format!("{name} of {}", secret.meta.reference)
}

fn filled(bytes: &[u8], entry: impl FnOnce() -> String) -> Part<'_> {
    if bytes.is_empty() {
        return Err(Problem::Empty { entry: entry() });
    }
    Ok(Some(bytes))
}

fn missing(path: &Path) -> Problem {
    Problem::Missing {
        places: vec![shown(path)],
        is_ordered: false,
    }
}

/// None of these is there.
fn missing_in<const N: usize>(folder: &Path, names: [&str; N]) -> Problem {
    Problem::Missing {
        places: names.map(|name| shown(&folder.join(name))).into(),
        is_ordered: false,
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

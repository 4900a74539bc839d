//! All references of a table, and what is told about them.

use super::entry::{Entry, Value};
use super::file::Files;
use super::find::{Finder, paths_of, secrets_of};
use super::identity::ToldIdentity;
use super::references::{self, References};
use super::status::kind_and_name;
use super::{
    CertificateFile, CredentialSettings, CredentialStatus, Identity, IdentitySource, place,
};
use crate::ChangeKind;
use certificates::Credentials;
use model::{Diagnostic, ResourceRef, Resources};
use rules::{CredentialRef, Table};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// More references are not resolved: each costs a few files under watch.
const MAX_CREDENTIALS: usize = 10_000;

/// Of the proxy itself.
const IDENTITY: [CredentialRef; 2] = [CredentialRef::Workload, CredentialRef::WorkloadAuthorities];

/// How long a publication waits for files that are read for the first time.
const PATIENCE: Duration = Duration::from_secs(5);

/// All certificates that the table names, and what was told about where they lie.
pub(crate) struct CredentialKeeper {
    settings: CredentialSettings,
    /// Of the proxy.
    namespace: Arc<str>,
    files: Files,
    identity: ToldIdentity,
    entries: BTreeMap<CredentialRef, Entry>,
    /// Whether something changed that the entries do not tell yet.
    stale: bool,
    /// When time alone makes a difference.
    due: Option<SystemTime>,
    /// Until when files that are wanted, and the identity, are waited for.
    awaited_until: Option<SystemTime>,
    credentials: Arc<Credentials>,
    changes: Vec<(ResourceRef, ChangeKind)>,
    diagnostics: Vec<Diagnostic>,
    status: Arc<[CredentialStatus]>,
}

impl CredentialKeeper {
    pub(crate) fn new(settings: CredentialSettings, namespace: Arc<str>) -> Self {
        Self {
            settings,
            namespace,
            files: Files::default(),
            identity: ToldIdentity::default(),
            entries: BTreeMap::new(),
            stale: false,
            due: None,
            awaited_until: None,
            credentials: Arc::default(),
            changes: Vec::new(),
            diagnostics: Vec::new(),
            status: Arc::from([]),
        }
    }

    /// Takes in what a source told of files.
    pub(crate) fn apply(&mut self, files: Vec<CertificateFile>) {
        self.stale |= self.files.apply(files);
    }

    /// Takes in what a source told of the identity.
    pub(crate) fn apply_identity(&mut self, news: Identity) {
        self.stale |= self.identity.apply(news);
    }

    /// Notes that a Secret is another.
    pub(crate) fn note_secrets(&mut self) {
        self.stale = true;
    }

    /// Keeps what the servers and clusters of `table` name, and nothing else.
    pub(crate) fn follow(&mut self, table: &Table, now: SystemTime) {
        let mut wanted = references::of(table);
        if self.settings.identity.is_some() {
            // Who the proxy is shall be known though nobody needs it yet. A sidecar without does not miss it.
            let servers = references::mesh_servers(table);
            for own in IDENTITY {
                wanted
                    .entry(own)
                    .or_default()
                    .extend(servers.iter().cloned());
            }
        }
        let needs = |own| wanted.get(own).is_some_and(|origins| !origins.is_empty());
        let is_told = matches!(self.settings.identity, Some(IdentitySource::Told(_)));
        let is_needed = is_told && IDENTITY.iter().any(needs);
        self.forget_others(&wanted);
        for (number, (reference, origins)) in wanted.into_iter().enumerate() {
            let entry = self.entries.entry(reference).or_insert_with(Entry::new);
            entry.origins = origins;
            entry.surplus = (number >= MAX_CREDENTIALS).then_some(MAX_CREDENTIALS);
        }
        let kept = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.surplus.is_none());
        let paths = kept.flat_map(|(reference, _)| paths_of(&self.settings, reference));
        let paths: BTreeSet<PathBuf> = paths.collect();
        let are_others = self.files.want(paths);
        if self.identity.need(is_needed) || are_others {
            self.awaited_until = Some(now + PATIENCE);
        }
        self.stale = true;
    }

    fn forget_others(&mut self, wanted: &References) {
        self.entries.retain(|reference, entry| {
            let stays = wanted.contains_key(reference);
            if !stays && entry.good.is_some() {
                self.changes.push((named(reference), ChangeKind::Removed));
            }
            stays
        });
    }

    /// Files whose content is asked for.
    pub(crate) fn wanted_files(&self) -> &BTreeSet<PathBuf> {
        self.files.wanted()
    }

    /// Names of Secrets in which something can be.
    pub(crate) fn wanted_secrets(&self) -> BTreeSet<String> {
        let kept = self.entries.iter();
        let kept = kept.filter(|(_, entry)| entry.surplus.is_none());
        kept.flat_map(|(reference, _)| secrets_of(reference))
            .collect()
    }

    /// Until when files and the identity are still to be waited for. Absent: not any more.
    pub(crate) fn waits_until(&self, now: SystemTime) -> Option<SystemTime> {
        let is_all_told = self.files.are_told() && !self.identity.is_awaited();
        self.awaited_until
            .filter(|until| now < *until && !is_all_told)
    }

    /// When it is to be looked at again although nothing was told. Absent: never.
    pub(crate) fn due(&self) -> Option<SystemTime> {
        self.due
    }

    /// Resolves what changed, or what time makes different.
    pub(crate) fn look(&mut self, resources: &Resources, now: SystemTime) {
        if !self.stale && self.due.is_none_or(|due| now < due) {
            return;
        }
        self.stale = false;
        let finder = Finder {
            settings: &self.settings,
            files: &self.files,
            identity: &self.identity,
            secrets: &resources.secrets,
            namespace: &self.namespace,
        };
        let mut are_others = false;
        for (reference, entry) in &mut self.entries {
            if let Some(kind) = entry.look(reference, &finder, now) {
                self.changes.push((named(reference), kind));
                are_others = true;
            }
        }
        let count = |credentials: &Credentials| {
            credentials.certificates.len() + credentials.authorities.len()
        };
        let good = self
            .entries
            .values()
            .filter(|entry| entry.good.is_some())
            .count();
        if are_others || good != count(&self.credentials) {
            self.credentials = Arc::new(self.collected());
        }
        self.due = self
            .entries
            .values()
            .filter_map(|entry| entry.due(now))
            .min();
        self.tell(resources, now);
    }

    fn collected(&self) -> Credentials {
        let mut all = Credentials::default();
        for (reference, entry) in &self.entries {
            match entry.good.as_ref().map(|good| good.value.clone()) {
                Some(Value::Certificate(one)) => {
                    all.certificates.insert(reference.clone(), one);
                }
                Some(Value::Authorities(one)) => {
                    all.authorities.insert(reference.clone(), one);
                }
                None => {}
            }
        }
        all
    }

    fn tell(&mut self, resources: &Resources, now: SystemTime) {
        self.diagnostics.clear();
        let mut status = Vec::with_capacity(self.entries.len());
        for (reference, entry) in &self.entries {
            status.push(entry.status(reference, now));
            let Some(trouble) = entry.told(now) else {
                continue;
            };
            let mut places = HashSet::new();
            for origin in &entry.origins {
                let place = place::of(resources, origin, reference, &trouble.problem);
                // Subsets may have it of the same policy.
                if !places.insert(place.clone()) {
                    continue;
                }
                let told = trouble
                    .problem
                    .told(reference, &place, entry.meanwhile(trouble));
                self.diagnostics.push(told);
            }
        }
        if *status != *self.status {
            self.status = status.into();
        }
    }

    /// What is served. The same as before when nothing in it changed.
    pub(crate) fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// How each stands. The same as before when nothing in it changed.
    pub(crate) fn status(&self) -> &Arc<[CredentialStatus]> {
        &self.status
    }

    /// What is wrong, at every server and cluster that needs it.
    pub(crate) fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// What changed since the last time.
    pub(crate) fn take_changes(&mut self) -> Vec<(ResourceRef, ChangeKind)> {
        std::mem::take(&mut self.changes)
    }
}

/// What a receipt calls it: `credential httpbin-cert`.
fn named(reference: &CredentialRef) -> ResourceRef {
    let (kind, name) = kind_and_name(reference);
    ResourceRef {
        kind: kind.into(),
        namespace: "".into(),
        name: name.into(),
    }
}

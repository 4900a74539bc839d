//! From changed files to a table: the objects in force, and the older versions that stand in for refused ones.

use crate::credentials::{
    CertificateFile, CredentialKeeper, CredentialSettings, CredentialStatus, Identity,
};
use crate::last_good::{LastGood, Version};
use crate::names::{NameKeeper, ResolvedName};
use crate::objects::{ObjectKeeper, WantedObjects};
use crate::store::say_that_the_older_stays;
use crate::{Change, ChangeKind, ObjectChange, Published, Receipt, Store};
use certificates::Credentials;
use model::{Defaults, Diagnostic, Hostname, Resource, ResourceRef, Resources, Severity};
use rules::{CompileOptions, Compiler, ENDPOINT_KINDS, Endpoints, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What is added to an error about a version that stands in for a refused one.
const IS_OLDER: &str = "this is about its last good version, which is not good any more";

/// How objects are read, compiled and remembered.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is assumed for what objects leave out.
    pub defaults: Defaults,
    /// Whose configuration is compiled.
    pub compile: CompileOptions,
    /// Where the last good version of every object is kept for the next start. Absent: nowhere.
    pub last_good: Option<PathBuf>,
    /// Where certificates lie.
    pub credentials: CredentialSettings,
}

/// All objects and what they compile to. Takes changes in one by one; costs what changed.
pub struct Configuration {
    store: Store,
    compiler: Compiler,
    /// The namespace of a sidecar's workload. Absent: there is none.
    workload_in: Option<Arc<str>>,
    last_good: Option<LastGood>,
    generation: u64,
    /// How often something was published.
    publications: u64,
    /// What changed since the last compilation.
    pending: BTreeMap<ResourceRef, ChangeKind>,
    /// What was compiled since the last publication.
    unpublished: BTreeMap<ResourceRef, ChangeKind>,
    /// Whether anything was.
    is_compiled: bool,
    /// What changed or moved, and whether it is good is not known yet.
    unjudged: BTreeSet<ResourceRef>,
    /// What the table was compiled of.
    in_force: Arc<Resources>,
    /// Objects of `in_force` that the compiler refused, and those of which it holds an older version.
    refused: BTreeSet<ResourceRef>,
    outdated: BTreeSet<ResourceRef>,
    /// What was in force before the compilation that is under way, and the objects that it is about.
    under_way: Option<UnderWay>,
    /// Objects that nobody could judge: a compilation of them has failed.
    given_up: BTreeSet<ResourceRef>,
    /// Objects that the last compilation accepted and the one before did not.
    recovered: BTreeSet<ResourceRef>,
    table: Arc<Table>,
    endpoints: Arc<Endpoints>,
    names: NameKeeper,
    keeper: CredentialKeeper,
    objects: ObjectKeeper,
    /// As they were published last.
    credentials: Arc<Credentials>,
    status: Arc<[CredentialStatus]>,
    table_diagnostics: Vec<Diagnostic>,
    endpoint_diagnostics: Vec<Diagnostic>,
    diagnostics: Arc<[Diagnostic]>,
}

/// What is put back when a compilation fails.
struct UnderWay {
    objects: Vec<ResourceRef>,
    refused: BTreeSet<ResourceRef>,
    outdated: BTreeSet<ResourceRef>,
    table: Arc<Table>,
    endpoints: Arc<Endpoints>,
    in_force: Arc<Resources>,
}

/// Which parts a change of a kind concerns.
#[derive(Clone, Copy, Debug, Default)]
struct Concern {
    routes: bool,
    endpoints: bool,
    credentials: bool,
}

impl Concern {
    /// `names_ports`: whether Pods say which ports a proxy's own workload has.
    fn of(kind: &str, names_ports: bool) -> Self {
        Self {
            routes: match kind {
                "Pod" => names_ports,
                "EndpointSlice" | "Node" | "Secret" | "WorkloadEntry" => false,
                _ => true,
            },
            endpoints: ENDPOINT_KINDS.contains(&kind),
            credentials: kind == "Secret",
        }
    }

    fn is_any(self) -> bool {
        self.routes || self.endpoints || self.credentials
    }
}

impl Configuration {
    /// Nothing yet. A folder for the last good versions that cannot be made is done without.
    pub fn new(settings: Settings) -> Self {
        let Settings {
            defaults,
            compile,
            last_good,
            credentials,
        } = settings;
        let namespace = Arc::clone(&compile.proxy.namespace);
        let workload_in = compile.sidecar.is_some().then(|| namespace.clone());
        let last_good = last_good.and_then(|folder| open(&folder, &defaults));
        Self {
            store: Store::new(defaults),
            compiler: Compiler::new(compile),
            workload_in,
            last_good,
            generation: 0,
            publications: 0,
            pending: BTreeMap::new(),
            unpublished: BTreeMap::new(),
            is_compiled: false,
            unjudged: BTreeSet::new(),
            in_force: Arc::default(),
            refused: BTreeSet::new(),
            outdated: BTreeSet::new(),
            under_way: None,
            given_up: BTreeSet::new(),
            recovered: BTreeSet::new(),
            table: Arc::default(),
            endpoints: Arc::default(),
            names: NameKeeper::default(),
            keeper: CredentialKeeper::new(credentials, namespace),
            objects: ObjectKeeper::default(),
            credentials: Arc::default(),
            status: Arc::from([]),
            table_diagnostics: Vec::new(),
            endpoint_diagnostics: Vec::new(),
            diagnostics: Arc::from([]),
        }
    }

    /// Takes in what sources told. Takes effect with [`Self::compile`].
    pub fn apply(&mut self, changes: Vec<Change>) {
        let changed = self
            .store
            .apply_remembering(changes, self.last_good.as_ref());
        for (reference, kind) in changed {
            self.unjudged.insert(reference.clone());
            let kind = combined(self.pending.remove(&reference), kind);
            self.pending.extend(kind.map(|kind| (reference, kind)));
        }
    }

    /// Takes in what a source told of [`Self::wanted_files`]. Takes effect with [`Self::compile`].
    pub fn apply_files(&mut self, files: Vec<CertificateFile>) {
        self.keeper.apply(files);
    }

    /// Takes in what a source told of the proxy's identity. Takes effect with [`Self::compile`].
    pub fn apply_identity(&mut self, news: Identity) {
        self.keeper.apply_identity(news);
    }

    /// Takes in what a resolver told of [`Self::wanted_names`]. Takes effect with [`Self::compile`].
    pub fn apply_names(&mut self, names: Vec<ResolvedName>) {
        self.names.apply(names);
    }

    /// Takes in that all of a wish for objects was told. Takes effect with [`Self::compile`].
    pub fn apply_objects(&mut self, number: u64) {
        self.objects.apply(number);
    }

    /// Compiles what changed. Absent: nothing is different from the last time.
    pub fn compile(&mut self, received_at: SystemTime) -> Option<Published> {
        self.prepare(received_at);
        let diagnostics = self.collect_diagnostics();
        let is_same = *diagnostics == *self.diagnostics
            && !self.is_compiled
            && Arc::ptr_eq(self.keeper.credentials(), &self.credentials)
            && Arc::ptr_eq(self.keeper.status(), &self.status);
        self.diagnostics = diagnostics.into();
        (!is_same).then(|| self.publish(received_at))
    }

    /// Whether there are no objects.
    pub(crate) fn is_empty(&self) -> bool {
        self.store.resources().is_empty()
    }

    /// What is wrong in what sources told, before anything of it is compiled.
    pub(crate) fn diagnostics_of_files(&self) -> Vec<Diagnostic> {
        self.store.diagnostics()
    }

    /// How often something was published: the [number](Published::number) of the newest.
    pub(crate) fn publications(&self) -> u64 {
        self.publications
    }

    /// The files of certificates and keys that the servers need, as of the last compilation.
    pub fn wanted_files(&self) -> &BTreeSet<PathBuf> {
        self.keeper.wanted_files()
    }

    /// The names that endpoints are found by, as of the last compilation.
    pub fn wanted_names(&self) -> &BTreeSet<Hostname> {
        self.names.wanted()
    }

    /// What is needed of the objects of an API server as of the last compilation, and the number of this wish. 0: nothing
    /// was compiled yet.
    pub fn wanted_objects(&self) -> (u64, &WantedObjects) {
        self.objects.wanted()
    }

    /// Until when files of certificates, and the identity, are to be waited for before anything is published: nobody
    /// shall fail for want of a certificate that is there. Absent: not any more.
    pub(crate) fn waits_for_files_until(&self, now: SystemTime) -> Option<SystemTime> {
        self.keeper.waits_until(now)
    }

    /// The same of names: nobody shall fail for want of an answer that is on its way.
    pub(crate) fn waits_for_names_until(&self, now: SystemTime) -> Option<SystemTime> {
        self.names.waits_until(now)
    }

    /// The same of objects: nobody shall fail for want of a Secret or a namespace that is about to be told.
    pub(crate) fn waits_for_objects_until(&self, now: SystemTime) -> Option<SystemTime> {
        self.objects.waits_until(now)
    }

    /// When [`Self::compile`] can be different although nothing changed: a certificate expires. Absent: never.
    pub(crate) fn due(&self) -> Option<SystemTime> {
        self.keeper.due()
    }

    /// Compiles what changed and does not publish it.
    pub(crate) fn prepare(&mut self, now: SystemTime) {
        let objects = self.concern();
        let concern = Concern {
            endpoints: self.names.take_stale() || objects.endpoints,
            ..objects
        };
        let pending = std::mem::take(&mut self.pending);
        self.under_way = Some(UnderWay {
            objects: pending.keys().cloned().collect(),
            refused: self.refused.clone(),
            outdated: self.outdated.clone(),
            table: Arc::clone(&self.table),
            endpoints: Arc::clone(&self.endpoints),
            in_force: Arc::clone(&self.in_force),
        });
        if concern.routes {
            self.compile_routes();
        } else if objects.is_any() {
            let mut wanted = self.wanted_with(&self.outdated_versions());
            for without in self.refused.difference(&self.outdated) {
                wanted.remove(without);
            }
            self.in_force = Arc::new(wanted);
        }
        if concern.endpoints {
            let answers = self.names.answers();
            let (endpoints, diagnostics) = self.compiler.endpoints(&self.in_force, answers);
            self.endpoints = Arc::new(endpoints);
            self.endpoint_diagnostics = diagnostics;
            self.names.want(self.compiler.names(), now);
        }
        if concern.routes {
            self.keeper.follow(&self.table, now);
            let wanted = WantedObjects {
                secrets: self.keeper.wanted_secrets(),
                namespaces: rules::namespaces(self.compiler.options(), &self.in_force),
            };
            self.objects.want(wanted, now);
        }
        if concern.credentials {
            self.keeper.note_secrets();
        }
        self.keeper.look(&self.in_force, now);
        self.is_compiled |= concern.is_any();
        for (reference, kind) in pending {
            let kind = combined(self.unpublished.remove(&reference), kind);
            self.unpublished.extend(kind.map(|kind| (reference, kind)));
        }
        self.under_way = None;
        if concern.routes {
            self.unjudged.append(&mut self.given_up);
        }
        self.judge();
    }

    /// A compilation has failed half-way: what was in force stays, and what it was about is neither good nor published until
    /// routes are compiled again.
    pub(crate) fn give_up(&mut self) {
        let Some(under_way) = self.under_way.take() else {
            return;
        };
        self.table = under_way.table;
        self.endpoints = under_way.endpoints;
        self.in_force = under_way.in_force;
        self.refused = under_way.refused;
        self.outdated = under_way.outdated;
        for reference in under_way.objects {
            self.unjudged.remove(&reference);
            self.given_up.insert(reference);
        }
    }

    /// Brings the folder of last good versions nearer to what was compiled last.
    pub(crate) fn remember(&mut self) {
        if let Some(last_good) = &mut self.last_good {
            last_good.write_some();
        }
    }

    /// Brings it there.
    pub(crate) fn remember_all(&mut self) {
        if let Some(last_good) = &mut self.last_good {
            last_good.write_all();
        }
    }

    /// Whether the folder of last good versions is behind.
    pub(crate) fn is_behind(&self) -> bool {
        self.last_good.as_ref().is_some_and(LastGood::is_behind)
    }

    /// Forgets what no source names any more, once all have told everything.
    pub(crate) fn forget_others(&mut self) {
        // Nothing at all is more likely a folder that is not mounted yet than a wish.
        if let Some(last_good) = &mut self.last_good
            && !self.store.resources().is_empty()
        {
            last_good.retain(self.store.references());
        }
    }

    /// Notes for the next start what is good of what changed.
    fn judge(&mut self) {
        self.unjudged.append(&mut self.recovered);
        let unjudged = std::mem::take(&mut self.unjudged);
        let Some(mut last_good) = self.last_good.take() else {
            return;
        };
        for reference in unjudged {
            if let Some(version) = self.good_now(&reference) {
                last_good.note(reference, version);
            }
        }
        self.last_good = Some(last_good);
    }

    /// Absent: what there is now is not good.
    fn good_now(&self, reference: &ResourceRef) -> Option<Version> {
        if !self.store.holds(reference) {
            return Some(Version::Gone);
        }
        if self.refused.contains(reference) || self.outdated.contains(reference) {
            return None;
        }
        let (source, document) = self.store.document(reference)?;
        Some(Version::Good { document, source })
    }

    fn concern(&self) -> Concern {
        let first = self.generation == 0;
        let all = Concern {
            routes: first,
            endpoints: first,
            credentials: first,
        };
        self.pending.keys().fold(all, |concern, reference| {
            let is_near = self.workload_in.as_ref() == Some(&reference.namespace);
            let other = Concern::of(&reference.kind, is_near);
            Concern {
                routes: concern.routes || other.routes,
                endpoints: concern.endpoints || other.endpoints,
                credentials: concern.credentials || other.credentials,
            }
        })
    }

    fn compile_routes(&mut self) {
        let mut wanted = self.store.resources().clone();
        let (mut table, mut diagnostics) = self.compiler.compile(&wanted);
        let older = self.older_versions(&diagnostics, &wanted);
        let unsound: BTreeSet<ResourceRef> = self.refused.union(&self.outdated).cloned().collect();
        self.outdated = older
            .iter()
            .map(|resource| resource.meta().reference.clone())
            .collect();
        let held_back: BTreeSet<ResourceRef> = errors(&diagnostics).cloned().collect();
        if !held_back.is_empty() {
            // What is wrong with the refused version stays known; everything else is told anew.
            diagnostics.retain(|diagnostic| is_about(diagnostic, &held_back));
            wanted = self.wanted_with(&older);
            // Without a good version the object stays away as a whole: half of its rules would let
            // through what the other half keeps out.
            for without in held_back.difference(&self.outdated) {
                wanted.remove(without);
            }
            let (of_older, others) = self.compiler.compile(&wanted);
            table = of_older;
            diagnostics = of_both(diagnostics, others, &held_back);
        }
        self.refused = errors(&diagnostics)
            .filter(|of| !self.outdated.contains(of))
            .cloned()
            .collect();
        let is_sound = |of: &ResourceRef| !self.refused.contains(of) && !self.outdated.contains(of);
        self.recovered = unsound.into_iter().filter(is_sound).collect();
        self.generation += 1;
        table.generation = self.generation;
        self.table = Arc::new(table);
        self.table_diagnostics = diagnostics;
        self.in_force = Arc::new(wanted);
    }

    /// Good versions of the objects that the compiler refuses.
    fn older_versions(&self, diagnostics: &[Diagnostic], wanted: &Resources) -> Vec<Resource> {
        let refused: BTreeSet<&ResourceRef> = errors(diagnostics).collect();
        let older = refused.into_iter().filter_map(|reference| {
            let older = self.good_version(reference)?;
            (wanted.find(reference).as_ref() != Some(&older)).then_some(older)
        });
        older.collect()
    }

    fn good_version(&self, reference: &ResourceRef) -> Option<Resource> {
        if let Some(resource) = self.in_force.find(reference) {
            return (!self.refused.contains(reference)).then_some(resource);
        }
        // From disk only for an object that is new to this process.
        Some(self.last_good.as_ref()?.find(reference)?.resource)
    }

    fn outdated_versions(&self) -> Vec<Resource> {
        self.outdated
            .iter()
            .filter_map(|reference| self.in_force.find(reference))
            .collect()
    }

    fn wanted_with(&self, older: &[Resource]) -> Resources {
        let mut resources = self.store.resources().clone();
        for resource in older {
            resources.insert(resource.clone());
        }
        resources
    }

    fn collect_diagnostics(&self) -> Vec<Diagnostic> {
        let mut all = self.store.diagnostics();
        all.extend(self.table_diagnostics.iter().cloned());
        all.extend(self.endpoint_diagnostics.iter().cloned());
        all.extend(self.keeper.diagnostics().iter().cloned());
        all.sort_by(|one, other| {
            (&one.position, &one.resource).cmp(&(&other.position, &other.resource))
        });
        all.dedup();
        all
    }

    fn publish(&mut self, received_at: SystemTime) -> Published {
        self.is_compiled = false;
        self.objects.note_published();
        self.credentials = Arc::clone(self.keeper.credentials());
        self.status = Arc::clone(self.keeper.status());
        let changes = std::mem::take(&mut self.unpublished).into_iter();
        // A version that was held back changed nothing; its errors are counted below.
        let held_back = |of: &ResourceRef| self.refused.contains(of) || self.outdated.contains(of);
        let changes = changes.filter(|(of, kind)| *kind != ChangeKind::Moved && !held_back(of));
        let changes = changes.chain(self.keeper.take_changes());
        let changes: Vec<_> = changes.chain(self.names.take_changes()).collect();
        let count = |severity| {
            self.diagnostics
                .iter()
                .filter(|one| one.severity == severity)
                .count()
        };
        let receipt = Receipt {
            generation: self.generation,
            changes: changes
                .into_iter()
                .map(|(resource, kind)| ObjectChange { resource, kind })
                .collect(),
            changes_more: 0,
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            received_at,
            took: SystemTime::now()
                .duration_since(received_at)
                .unwrap_or(Duration::ZERO),
        };
        self.publications += 1;
        Published {
            number: self.publications,
            table: Arc::clone(&self.table),
            endpoints: Arc::clone(&self.endpoints),
            credentials: Arc::clone(&self.credentials),
            credential_status: Arc::clone(&self.status),
            resources: Arc::clone(&self.in_force),
            diagnostics: Arc::clone(&self.diagnostics),
            receipt: Arc::new(receipt),
            taken: Arc::default(),
        }
    }
}

fn open(folder: &Path, defaults: &Defaults) -> Option<LastGood> {
    LastGood::open(folder, defaults.clone())
        .inspect_err(|error| {
            let folder = folder.display();
            tracing::warn!(%error, %folder, "cannot remember the last good configuration on disk");
        })
        .ok()
}

/// Two changes of one object between two compilations. Absent: together they are none.
pub(crate) fn combined(first: Option<ChangeKind>, second: ChangeKind) -> Option<ChangeKind> {
    Some(match (first, second) {
        (None | Some(ChangeKind::Moved), kind) => kind,
        (Some(ChangeKind::Added), ChangeKind::Removed) => return None,
        (Some(kind), ChangeKind::Moved) => kind,
        (Some(ChangeKind::Removed), ChangeKind::Added) => ChangeKind::Changed,
        (Some(ChangeKind::Added), _) => ChangeKind::Added,
        (Some(_), kind) => kind,
    })
}

/// What is wrong with refused versions, and with what is in force in their place.
fn of_both(
    of_refused: Vec<Diagnostic>,
    of_older: Vec<Diagnostic>,
    outdated: &BTreeSet<ResourceRef>,
) -> Vec<Diagnostic> {
    let failing: BTreeSet<ResourceRef> = errors(&of_older).cloned().collect();
    let mut all = of_refused;
    for error in all
        .iter_mut()
        .filter(|one| one.severity == Severity::Error && !is_about(one, &failing))
    {
        say_that_the_older_stays(error);
    }
    for mut other in of_older {
        match (is_about(&other, outdated), other.severity) {
            // Told when that version was new.
            (true, Severity::Warning) => continue,
            // News, since it was good then.
            (true, Severity::Error) => say_that_it_is_the_older(&mut other),
            (false, _) => {}
        }
        all.push(other);
    }
    all
}

/// Adds to an error that it is about the version that stands in for the file's.
fn say_that_it_is_the_older(error: &mut Diagnostic) {
    error.help = Some(match error.help.take() {
        Some(help) => format!("{IS_OLDER}; {help}"),
        None => IS_OLDER.to_owned(),
    });
}

/// The objects that an error holds back.
fn errors(diagnostics: &[Diagnostic]) -> impl Iterator<Item = &ResourceRef> {
    let errors = diagnostics
        .iter()
        .filter(|one| one.severity == Severity::Error);
    let objects = errors.filter_map(|error| error.resource.as_ref());
    // Without such a policy what it guards would be open: the compiler denies what it cannot decide by it.
    objects.filter(|object| &*object.kind != "AuthorizationPolicy")
}

fn is_about(diagnostic: &Diagnostic, objects: &BTreeSet<ResourceRef>) -> bool {
    diagnostic
        .resource
        .as_ref()
        .is_some_and(|reference| objects.contains(reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(severity: Severity, name: &str) -> Diagnostic {
        Diagnostic {
            severity,
            code: "test",
            resource: Some(reference(name)),
            path: String::new(),
            message: "is wrong".to_owned(),
            help: None,
            position: None,
        }
    }

    fn reference(name: &str) -> ResourceRef {
        ResourceRef {
            kind: "VirtualService".into(),
            namespace: "default".into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_policy_that_cannot_be_obeyed_is_not_held_back() {
        let of = |kind: &str| ResourceRef {
            kind: kind.into(),
            ..reference("guard")
        };
        let error = |kind| Diagnostic {
            resource: Some(of(kind)),
            ..told(Severity::Error, "guard")
        };
        let told = [error("AuthorizationPolicy"), error("VirtualService")];
        let held_back: Vec<_> = errors(&told).collect();
        assert_eq!(held_back, [&of("VirtualService")]);
    }

    /// Promise 5.
    #[test]
    fn an_older_version_that_is_wrong_now_is_told_and_not_said_to_stay() {
        let outdated = BTreeSet::from([reference("fine"), reference("failing")]);
        let refused = vec![
            told(Severity::Error, "fine"),
            told(Severity::Error, "failing"),
        ];
        let older = vec![
            told(Severity::Warning, "fine"),
            told(Severity::Error, "failing"),
            told(Severity::Warning, "other"),
        ];
        let all = of_both(refused, older, &outdated);
        let helps: Vec<_> = all
            .iter()
            .map(|one| (one.resource.clone(), one.help.as_deref()))
            .collect();
        assert_eq!(
            helps,
            [
                (
                    Some(reference("fine")),
                    Some("its last good version stays in force")
                ),
                (Some(reference("failing")), None),
                (Some(reference("failing")), Some(IS_OLDER)),
                (Some(reference("other")), None),
            ]
        );
    }
}

//! The workloads of all Pods and WorkloadEntries, and whom addresses belong to.

use super::naming::{name_of_entry, name_of_pod};
use crate::Workload;
use ahash::{HashMap, HashMapExt};
use model::labels::{TLS_MODE, TLS_MODE_ISTIO};
use model::{Labels, ObjectKey, Objects, Pod, PodPhase, Resources, WorkloadAddress, WorkloadEntry};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The service account of a Pod that names none. Kubernetes writes it, hands do not.
const DEFAULT_ACCOUNT: &str = "default";

/// The workloads of Pods and WorkloadEntries. One that did not change is the same as before.
#[derive(Debug, Default)]
pub(crate) struct WorkloadIndex {
    pods: Known<Pod>,
    entries: Known<WorkloadEntry>,
    by_address: Arc<HashMap<IpAddr, Arc<Workload>>>,
    pod_at: HashMap<IpAddr, ObjectKey>,
}

/// Objects of one kind with their workloads.
#[derive(Debug)]
struct Known<T> {
    objects: Objects<T>,
    workloads: BTreeMap<ObjectKey, Arc<Workload>>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            objects: Objects::default(),
            workloads: BTreeMap::new(),
        }
    }
}

impl<T> Known<T> {
    /// Takes over what changed; says whether anything did.
    fn update(&mut self, now: &Objects<T>, make: impl Fn(&T) -> Workload) -> bool {
        if self.objects.are(now) {
            return false;
        }
        let mut known = std::mem::take(&mut self.workloads);
        for (key, object) in now.iter() {
            let before = known.remove(key);
            let is_same = || {
                let before = self.objects.get(key);
                before.is_some_and(|before| Arc::ptr_eq(before, object))
            };
            let workload = match before {
                Some(before) if is_same() => before,
                before => kept(before, make(object)),
            };
            self.workloads.insert(key.clone(), workload);
        }
        self.objects = now.clone();
        true
    }
}

fn kept(before: Option<Arc<Workload>>, now: Workload) -> Arc<Workload> {
    let same = before.filter(|before| **before == now);
    same.unwrap_or_else(|| Arc::new(now))
}

impl WorkloadIndex {
    /// Takes over what changed.
    pub(crate) fn update(&mut self, resources: &Resources) {
        let pods_changed = self.pods.update(&resources.pods, of_pod);
        let entries_changed = self.entries.update(&resources.workload_entries, of_entry);
        if pods_changed {
            self.pod_at = addresses_of(&resources.pods);
        }
        if pods_changed || entries_changed {
            let now = self.placed();
            if *self.by_address != now {
                self.by_address = Arc::new(now);
            }
        }
    }

    /// Whom an address belongs to.
    pub(crate) fn by_address(&self) -> &Arc<HashMap<IpAddr, Arc<Workload>>> {
        &self.by_address
    }

    /// The Pod that has an address of its own.
    pub(super) fn pod_at(&self, address: IpAddr) -> Option<&ObjectKey> {
        self.pod_at.get(&address.to_canonical())
    }

    /// The workload of a Pod that was there at the last update.
    pub(super) fn of_pod(&self, pod: &Pod) -> Option<Arc<Workload>> {
        let key = ObjectKey::from(&pod.meta.reference);
        self.pods.workloads.get(&key).cloned()
    }

    /// The workload of a WorkloadEntry, likewise.
    pub(super) fn of_entry(&self, entry: &WorkloadEntry) -> Option<Arc<Workload>> {
        let key = ObjectKey::from(&entry.meta.reference);
        self.entries.workloads.get(&key).cloned()
    }

    /// A Pod comes before a WorkloadEntry with its address.
    fn placed(&self) -> HashMap<IpAddr, Arc<Workload>> {
        let mut placed = HashMap::with_capacity(self.pod_at.len() + self.entries.objects.len());
        for (address, key) in &self.pod_at {
            if let Some(workload) = self.pods.workloads.get(key) {
                placed.insert(*address, workload.clone());
            }
        }
        let entries = self.entries.objects.values();
        for (entry, workload) in entries.zip(self.entries.workloads.values()) {
            if let Some(WorkloadAddress::Ip(address)) = entry.workload.address {
                let place = placed.entry(address.to_canonical());
                place.or_insert_with(|| workload.clone());
            }
        }
        placed
    }
}

/// Which Pod has an address: where two say so, the one that stays, and of these the youngest.
fn addresses_of(pods: &Objects<Pod>) -> HashMap<IpAddr, ObjectKey> {
    let mut found: HashMap<IpAddr, (&ObjectKey, &Pod)> = HashMap::with_capacity(pods.len());
    for (key, pod) in pods.iter() {
        for address in own_addresses(pod) {
            let (held_by, holder) = found.entry(address).or_insert((key, pod));
            if standing(pod) > standing(holder) {
                (*held_by, *holder) = (key, pod);
            }
        }
    }
    let found = found.into_iter();
    found
        .map(|(address, (key, _))| (address, key.clone()))
        .collect()
}

fn standing(pod: &Pod) -> impl PartialOrd + use<> {
    (!pod.terminating, pod.meta.creation_timestamp)
}

/// Those that are no other Pod's: not the node's, and not those of a Pod that has ended.
fn own_addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let has_own = runs(pod) && !pod.host_network;
    let addresses = pod.pod_ips.iter().filter(move |_| has_own);
    addresses.map(|address| address.to_canonical())
}

/// Whether it runs. A hand-written one says nothing about it.
pub(super) fn runs(pod: &Pod) -> bool {
    matches!(
        pod.phase,
        None | Some(PodPhase::Running | PodPhase::Unknown)
    )
}

fn of_pod(pod: &Pod) -> Workload {
    let account = pod.service_account.as_deref();
    Workload {
        name: name_of_pod(pod).into(),
        namespace: pod.meta.reference.namespace.clone(),
        service_account: Some(account.unwrap_or(DEFAULT_ACCOUNT).into()),
        in_mesh: is_in_mesh(&pod.meta.labels),
        labels: Arc::new(pod.meta.labels.clone()),
    }
}

fn of_entry(entry: &WorkloadEntry) -> Workload {
    Workload {
        name: name_of_entry(entry).into(),
        namespace: entry.meta.reference.namespace.clone(),
        ..of_spec(&entry.workload)
    }
}

/// What a WorkloadEntry, or an endpoint of a ServiceEntry, says about a workload.
pub(super) fn of_spec(spec: &model::Workload) -> Workload {
    Workload {
        service_account: spec.service_account.as_deref().map(Into::into),
        in_mesh: is_in_mesh(&spec.labels),
        labels: Arc::new(spec.labels.clone()),
        ..Workload::default()
    }
}

fn is_in_mesh(labels: &Labels) -> bool {
    labels
        .get(TLS_MODE)
        .is_some_and(|said| said == TLS_MODE_ISTIO)
}

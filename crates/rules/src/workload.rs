//! Workloads: what runs behind endpoints, and who it is in the mesh.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What runs behind an endpoint: a Pod, or a process outside of Kubernetes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Workload {
    /// What it is one of: the name of a Pod's Deployment, say. Empty: nothing tells it.
    ///
    /// Source: the label `service.istio.io/workload-name`, else a Pod's owner or its own name; the annotation
    /// `istio.io/autoRegistrationGroup` of a WorkloadEntry, else its own name; a ServiceEntry's name for its endpoints.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Whom its certificates are for, within the namespace. Absent: not known.
    pub service_account: Option<Arc<str>>,
    /// Its labels, which subsets select by.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Whether a proxy of the mesh stands before it, and speaks the mesh's TLS.
    ///
    /// Source: the label `security.istio.io/tlsMode` with the value `istio`.
    pub in_mesh: bool,
}

impl Workload {
    /// Who it is, whatever the trust domain is called. Absent: not known.
    pub fn account(&self) -> Option<Account> {
        Some(Account {
            namespace: self.namespace.clone(),
            name: self.service_account.clone()?,
        })
    }

    /// Who it is in a mesh: `spiffe://cluster.local/ns/shop/sa/cart`. Absent: not known.
    pub fn identity(&self, trust_domain: &str) -> Option<String> {
        Some(self.account()?.identity(trust_domain))
    }
}

/// A service account. Workloads that share one are the same to whoever verifies them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Account {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name there.
    pub name: Arc<str>,
}

impl Account {
    /// Its identity in a trust domain.
    ///
    /// Source: Istio's form of a SPIFFE ID.
    pub fn identity(&self, trust_domain: &str) -> String {
        format!(
            "spiffe://{trust_domain}/ns/{}/sa/{}",
            self.namespace, self.name
        )
    }
}

//! Workloads: what runs behind endpoints, and who it is in the mesh.

use model::labels::{CANONICAL_NAME, CANONICAL_REVISION};
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
    /// What those are called together that are the same to whoever looks at them, in all revisions.
    ///
    /// Source: Istio, canonical services: the labels `service.istio.io/canonical-name`, `app.kubernetes.io/name` and
    /// `app`, else the workload's name.
    pub fn canonical_name(&self) -> &str {
        self.first_of([CANONICAL_NAME, "app.kubernetes.io/name", "app"])
            .unwrap_or(&self.name)
    }

    /// Which of these revisions it is. `None`: it has none.
    ///
    /// Source: Istio, canonical services: the labels `service.istio.io/canonical-revision`, `app.kubernetes.io/version`
    /// and `version`.
    pub fn canonical_revision(&self) -> Option<&str> {
        self.first_of([CANONICAL_REVISION, "app.kubernetes.io/version", "version"])
    }

    fn first_of(&self, labels: [&str; 3]) -> Option<&str> {
        let first = labels.iter().find_map(|name| self.labels.get(*name));
        first.map(String::as_str)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(labels: &[(&str, &str)], name: &str, revision: Option<&str>) {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let workload = Workload {
            name: "web-7d4".into(),
            labels: Arc::new(labels.collect()),
            ..Workload::default()
        };
        let told = (workload.canonical_name(), workload.canonical_revision());
        assert_eq!(told, (name, revision));
    }

    #[test]
    fn istio_s_labels_come_before_those_of_kubernetes_and_of_old() {
        let mut labels = vec![("app", "web"), ("version", "v1")];
        check(&[], "web-7d4", None);
        check(&labels, "web", Some("v1"));
        labels.extend([
            ("app.kubernetes.io/name", "k8s"),
            ("app.kubernetes.io/version", "v2"),
        ]);
        check(&labels, "k8s", Some("v2"));
        labels.extend([
            ("service.istio.io/canonical-name", "istio"),
            ("service.istio.io/canonical-revision", "v3"),
        ]);
        check(&labels, "istio", Some("v3"));
    }
}

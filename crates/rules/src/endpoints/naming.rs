//! What workloads are called: by what makes them rather than by what is made.

use model::labels::WORKLOAD_NAME;
use model::{Labels, Pod, PodOwner, WorkloadEntry};

/// The group of a machine that has registered itself.
const GROUP: &str = "istio.io/autoRegistrationGroup";

/// The end of the name of a ReplicaSet that a Deployment has made.
const HASH: &str = "pod-template-hash";

/// The DeploymentConfig of OpenShift that has made a ReplicationController.
const CONFIG: &str = "deploymentconfig";

/// A Deployment's for its Pods.
pub(super) fn name_of_pod(pod: &Pod) -> &str {
    let labels = &pod.meta.labels;
    if let Some(name) = labels.get(WORKLOAD_NAME) {
        return name;
    }
    match &pod.owner {
        Some(owner) => behind(owner, labels),
        None => pod.meta.name(),
    }
}

/// Its group's, if it is of one.
pub(super) fn name_of_entry(entry: &WorkloadEntry) -> &str {
    let told = entry.meta.annotations.get(GROUP);
    let told = told.or_else(|| entry.workload.labels.get(WORKLOAD_NAME));
    told.map_or_else(|| entry.meta.name(), String::as_str)
}

/// What has made an owner, as far as its name tells, or the owner itself.
fn behind<'o>(owner: &'o PodOwner, labels: &'o Labels) -> &'o str {
    let name = &owner.name;
    let of_owner = match owner.kind.as_str() {
        "ReplicaSet" => labels
            .get(HASH)
            .filter(|hash| !hash.is_empty())
            .and_then(|hash| name.strip_suffix(hash.as_str())?.strip_suffix('-')),
        "ReplicationController" => labels.get(CONFIG).map(String::as_str),
        "Job" => name
            .rsplit_once('-')
            .filter(|(_, time)| is_time(time))
            .map(|(job, _)| job),
        _ => None,
    };
    let of_owner = of_owner.filter(|name| !name.is_empty());
    of_owner.unwrap_or(name)
}

/// When a CronJob has made a Job, in minutes or, formerly, in seconds.
fn is_time(text: &str) -> bool {
    (8..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: &str, name: &str, labels: &[(&str, &str)], want: &str) {
        let owner = PodOwner {
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        let labels = labels.iter();
        let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        assert_eq!(behind(&owner, &labels.collect()), want, "{kind} {name}");
    }

    #[test]
    fn workloads_are_called_by_what_makes_their_owners() {
        let hash = (HASH, "7d9f");
        check("ReplicaSet", "cart-7d9f", &[hash], "cart");
        check("ReplicaSet", "cart-7d9f", &[], "cart-7d9f");
        check("ReplicaSet", "cart7d9f", &[hash], "cart7d9f");
        check("ReplicaSet", "-7d9f", &[hash], "-7d9f");
        check("ReplicaSet", "cart-", &[(HASH, "")], "cart-");
        check("StatefulSet", "db-7d9f", &[hash], "db-7d9f");
        check("Job", "report-28123456", &[], "report");
        check("Job", "report-1712345678", &[], "report");
        check("Job", "report-2024", &[], "report-2024");
        check("Job", "report-x8123456", &[], "report-x8123456");
        check("Job", "-28123456", &[], "-28123456");
        let config = (CONFIG, "cart");
        check("ReplicationController", "cart-3", &[config], "cart");
        check("ReplicationController", "cart-3", &[], "cart-3");
    }
}

//! What is added to a pod.

mod containers;
mod env;
mod metadata;
mod overlay;
mod volumes;

pub(crate) use containers::{init, sidecar};
pub(crate) use metadata::{Added, annotations, labels, status};
pub(crate) use overlay::overlay;
pub(crate) use volumes::volumes;

use crate::InjectOptions;
use crate::pod::Pod;
use crate::settings::Settings;

/// What the additions to one pod follow from.
#[derive(Debug)]
pub(crate) struct Facts<'n> {
    /// The name of the object that makes the pod, as far as it is known.
    pub(crate) workload: Option<&'n str>,
    pub(crate) pod: &'n Pod<'n>,
    pub(crate) settings: &'n Settings,
    pub(crate) options: &'n InjectOptions,
    /// The probes that the agent takes over, as JSON, if there are any.
    pub(crate) probers: Option<String>,
    /// Where the application has metrics, as JSON, when the agent is to fetch them.
    pub(crate) application_metrics: Option<String>,
}

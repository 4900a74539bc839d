//! Whether the sidecar is an init container that goes on.

use crate::InjectOptions;
use crate::annotations::{Annotations, path};
use crate::finding::Report;
use crate::pod::{Container, Pod};
use crate::values::NativeSidecar;
use crate::workload::Kind;

const NATIVE: &str = "sidecar.istio.io/nativeSidecar";
const INIT_CONTAINERS: &str = "spec.initContainers";

/// Whether the sidecar is an init container. One that the pod declares stays where it is, if nothing says otherwise.
pub(crate) fn is_native(
    kind: Kind,
    pod: &Pod<'_>,
    annotations: &Annotations<'_>,
    options: &InjectOptions,
    status_port: Option<u16>,
    report: &mut Report<'_>,
) -> bool {
    let has_an_end = kind.is_job() || (kind == Kind::Pod && pod.has_an_end());
    let by_option = match options.native_sidecar {
        NativeSidecar::Always => Some(true),
        NativeSidecar::Never => Some(false),
        NativeSidecar::Auto => has_an_end.then_some(true),
    };
    let wanted = annotations.truth(NATIVE, report).or(by_option);
    let declared = pod.declared_sidecar();
    let declared_native = declared.map(|container| container.path.starts_with(INIT_CONTAINERS));
    let is_native = wanted.or(declared_native).unwrap_or(false);
    if let Some(container) = declared.filter(|_| declared_native != Some(is_native)) {
        tell_misplaced(container, is_native, report);
    }
    if has_an_end && !is_native {
        tell_endless(pod, status_port, report);
    }
    is_native
}

fn tell_misplaced(container: &Container<'_>, is_native: bool, report: &mut Report<'_>) {
    let list = if is_native {
        INIT_CONTAINERS
    } else {
        "spec.containers"
    };
    let message = format!("the sidecar belongs into {list} here");
    let annotation = format!("{NATIVE}: \"{}\"", !is_native);
    let help = format!("move it there, or give the pod the annotation {annotation}");
    let (at, said) = (container.node.start(), [message, help]);
    report.error_with_help(at, &container.path, "misplaced_sidecar", said);
}

fn tell_endless(pod: &Pod<'_>, status_port: Option<u16>, report: &mut Report<'_>) {
    let message = "the pod has no end of its own: the sidecar goes on when the application is done"
        .to_owned();
    let help = match status_port {
        Some(port) => format!(
            "have the application ask for POST http://127.0.0.1:{port}/quitquitquit at its end"
        ),
        None => format!("give the pod the annotation {NATIVE}: \"true\""),
    };
    let said = [message, help];
    report.warn(pod.spec.start(), &path(NATIVE), "endless_job", said);
}

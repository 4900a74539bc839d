//! Which crate may know which: dependencies point downward only.

use std::collections::BTreeSet;
use std::path::Path;

/// Every crate with those of ours it may name.
const LAYERS: &[(&str, &[&str])] = &[
    ("crates/model", &[]),
    ("crates/rules", &["model"]),
    ("crates/traffic", &[]),
    ("crates/telemetry", &[]),
    ("crates/custom-proxy", &[]),
    ("crates/health", &[]),
    ("crates/dns-proxy", &[]),
    ("crates/capture", &[]),
    ("crates/app-probes", &["health"]),
    ("crates/inject", &["model", "capture"]),
    ("crates/certificates", &["rules"]),
    ("crates/config", &["model", "rules", "certificates"]),
    ("crates/source-file", &["model", "config"]),
    ("crates/source-acme", &["certificates", "telemetry"]),
    ("crates/source-dns", &["model", "config"]),
    ("crates/source-kube", &["model", "config"]),
    ("crates/source-spiffe", &["model", "certificates", "config"]),
    (
        "crates/webhook",
        &[
            "certificates",
            "inject",
            "model",
            "source-kube",
            "telemetry",
        ],
    ),
    (
        "crates/dataplane",
        &[
            "model",
            "rules",
            "certificates",
            "custom-proxy",
            "traffic",
            "telemetry",
        ],
    ),
    (
        "crates/proxy",
        &[
            "certificates",
            "config",
            "dataplane",
            "health",
            "model",
            "rules",
            "source-acme",
            "source-dns",
            "source-file",
            "source-kube",
            "source-spiffe",
            "telemetry",
            "traffic",
        ],
    ),
    (
        "gateway",
        &[
            "config",
            "dataplane",
            "inject",
            "proxy",
            "rules",
            "source-acme",
            "source-kube",
            "telemetry",
            "webhook",
        ],
    ),
    (
        "mesh-agent",
        &[
            "app-probes",
            "capture",
            "config",
            "dns-proxy",
            "inject",
            "model",
            "proxy",
            "rules",
            "source-kube",
            "telemetry",
        ],
    ),
];

/// The names before ` = ` or `.` in `[dependencies]`.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifest =
        std::fs::read_to_string(root.join(folder).join("Cargo.toml")).expect("a manifest");
    manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn crates_know_only_those_below_them() {
    let ours: BTreeSet<&str> = LAYERS
        .iter()
        .filter_map(|(folder, _)| folder.rsplit('/').next())
        .collect();
    for (folder, allowed) in LAYERS {
        for name in dependencies(folder) {
            let known = allowed.contains(&name.as_str());
            assert!(
                known || !ours.contains(name.as_str()),
                "{folder} must not know {name}"
            );
        }
    }
}

#[test]
fn only_the_data_plane_knows_pingora_and_only_who_needs_them_notify_and_hickory() {
    for (folder, _) in LAYERS {
        for name in dependencies(folder) {
            // `custom-proxy` is a part of the data plane, apart for its one `unsafe` block.
            let is_dataplane = ["crates/dataplane", "crates/custom-proxy"].contains(folder);
            let is_pingora = name.starts_with("pingora") && !is_dataplane;
            let is_notify = name == "notify" && *folder != "crates/source-file";
            // The one looks names up, the other is asked for them.
            let knows_dns = ["crates/source-dns", "crates/dns-proxy"].contains(folder);
            let is_dns = name.starts_with("hickory") && !knows_dns;
            assert!(
                !is_pingora && !is_notify && !is_dns,
                "{folder} must not know {name}"
            );
        }
    }
}

#[test]
fn the_pure_crates_know_no_runtime() {
    for folder in ["crates/model", "crates/rules", "crates/traffic"] {
        let dependencies = dependencies(folder);
        for name in ["tokio", "rand", "socket2", "rustix"] {
            assert!(
                !dependencies.contains(name),
                "{folder} must not know {name}"
            );
        }
    }
}

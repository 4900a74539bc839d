//! Where a sidecar's certificate comes from.

use crate::values::{InvalidValue, is_object_name};
use serde::Deserialize;
use std::path::Path;
use std::str::FromStr;

/// Where a sidecar's certificate comes from.
///
/// Files are in `/var/run/secrets/workload-spiffe-credentials`, as `cert-chain.pem`, `key.pem` and `root-cert.pem` or as
/// `tls.crt`, `tls.key` and `ca.crt`. The bootstrap file names that folder in `[tls] identity`, and for Secrets says
/// `allow-readable-keys = true`: Kubernetes has no other way to let the agent's user read them. The socket is told to the
/// agent by `SPIFFE_ENDPOINT_SOCKET`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub enum Identity {
    /// It has none. Other workloads speak with it in clear.
    #[default]
    None,
    /// Files in a Secret. The pod starts when there is one.
    Secret {
        /// Its name. Absent: `istio.` and the name of the service account, as Istio's old certificate authority wrote it.
        name: Option<String>,
    },
    /// Files in a volume of a CSI driver, such as `spiffe.csi.cert-manager.io`.
    Csi {
        /// The driver's name.
        driver: String,
    },
    /// The SPIFFE Workload API at a socket of the node.
    Socket {
        /// The socket's folder on the node, absolute.
        folder: String,
        /// The socket's name in it.
        socket: String,
    },
    /// The SPIFFE Workload API at a socket that a CSI driver mounts.
    CsiSocket {
        /// The driver's name.
        driver: String,
        /// The socket's name in the volume.
        socket: String,
    },
}

/// The driver of the SPIFFE project.
const SPIFFE_DRIVER: &str = "csi.spiffe.io";

/// What SPIRE calls its socket.
const SPIRE_SOCKET: &str = "spire-agent.sock";

const EXPECTED: &str = "it is `none`, `secret`, `secret=NAME`, `csi=DRIVER`, `workload-api=/FOLDER/SOCKET`, \
                        `workload-api-csi` or `workload-api-csi=DRIVER/SOCKET`";

impl FromStr for Identity {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (kind, value) = match text.split_once('=') {
            Some((kind, value)) => (kind, Some(value)),
            None => (text, None),
        };
        let identity = match (kind, value) {
            ("none", None) => Some(Self::None),
            ("secret", None) => Some(Self::Secret { name: None }),
            ("secret", Some(name)) => {
                object_name(name).map(|name| Self::Secret { name: Some(name) })
            }
            ("csi", Some(driver)) => object_name(driver).map(|driver| Self::Csi { driver }),
            ("workload-api", Some(path)) => socket(path),
            ("workload-api-csi", None) => csi_socket(SPIFFE_DRIVER),
            ("workload-api-csi", Some(value)) => csi_socket(value),
            _ => None,
        };
        identity.ok_or_else(|| InvalidValue::new(text, EXPECTED))
    }
}

fn object_name(name: &str) -> Option<String> {
    is_object_name(name).then(|| name.to_owned())
}

fn socket(path: &str) -> Option<Identity> {
    let path = Path::new(path).is_absolute().then_some(path)?;
    let (folder, socket) = path.rsplit_once('/')?;
    // The root of a node is no folder that a pod should see.
    if folder.is_empty() || !is_file_name(socket) {
        return None;
    }
    Some(Identity::Socket {
        folder: folder.to_owned(),
        socket: socket.to_owned(),
    })
}

fn csi_socket(value: &str) -> Option<Identity> {
    let (driver, socket) = value.split_once('/').unwrap_or((value, SPIRE_SOCKET));
    let driver = object_name(driver)?;
    is_file_name(socket).then(|| Identity::CsiSocket {
        driver,
        socket: socket.to_owned(),
    })
}

fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_word() {
        let text = |text: &str| text.to_owned();
        for (word, want) in [
            ("none", Identity::None),
            ("secret", Identity::Secret { name: None }),
            (
                "secret=istio.cart",
                Identity::Secret {
                    name: Some(text("istio.cart")),
                },
            ),
            (
                "csi=spiffe.csi.cert-manager.io",
                Identity::Csi {
                    driver: text("spiffe.csi.cert-manager.io"),
                },
            ),
            (
                "workload-api=/run/spire/a.sock",
                Identity::Socket {
                    folder: text("/run/spire"),
                    socket: text("a.sock"),
                },
            ),
            (
                "workload-api-csi",
                Identity::CsiSocket {
                    driver: text("csi.spiffe.io"),
                    socket: text("spire-agent.sock"),
                },
            ),
            (
                "workload-api-csi=d.io/s",
                Identity::CsiSocket {
                    driver: text("d.io"),
                    socket: text("s"),
                },
            ),
        ] {
            assert_eq!(word.parse(), Ok(want), "{word}");
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        for word in [
            "",
            "None",
            "none=x",
            "secret=",
            "secret=A",
            "csi",
            "csi=",
            "workload-api",
            "workload-api=a/b",
        ] {
            assert!(word.parse::<Identity>().is_err(), "{word}");
        }
        for word in [
            "workload-api=/a",
            "workload-api=/a/",
            "workload-api=/a/..",
            "workload-api-csi=d/",
            "workload-api-csi=d/a/b",
        ] {
            assert!(word.parse::<Identity>().is_err(), "{word}");
        }
    }
}

//! Istio's PeerAuthentication, resolved for one workload.

use super::selection::{age, are_same, of_mesh_and_namespace};
use crate::compile::{Help, warning};
use crate::{CompileOptions, Mesh, Proxy};
use ahash::HashMap;
use model::{
    At, Diagnostic, Labels, Objects, Origin, PeerAuthentication, PeerTls, PeerTlsMode, ResourceRef,
    Resources, selects,
};
use std::sync::Arc;

/// What clients of a workload may speak.
///
/// Source: Istio `PeerAuthentication.MutualTLS.Mode`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum MtlsMode {
    /// The mesh's TLS is not ended: what comes is passed on as it is.
    Disable,
    /// Mutual TLS of the mesh, and everything else as it comes.
    #[default]
    Permissive,
    /// Mutual TLS of the mesh, and nothing else.
    Strict,
}

impl MtlsMode {
    /// As it is written in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "DISABLE",
            Self::Permissive => "PERMISSIVE",
            Self::Strict => "STRICT",
        }
    }

    /// Absent: the mode of the next wider level.
    fn of(tls: Option<&PeerTls>) -> Option<(Self, At)> {
        let tls = tls?;
        let mode = match tls.mode {
            PeerTlsMode::Unset => return None,
            PeerTlsMode::Disable => Self::Disable,
            PeerTlsMode::Permissive => Self::Permissive,
            PeerTlsMode::Strict => Self::Strict,
        };
        Some((mode, tls.at))
    }
}

/// A mode, and who says so.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MtlsSetting {
    /// The mode.
    pub mode: MtlsMode,
    /// The place in the object that sets it. Absent: none does.
    pub origin: Option<Arc<Origin>>,
}

/// Mutual TLS of one workload, by its own ports. Default: `PERMISSIVE` on all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PeerMtls {
    /// What holds for ports that are not in `ports`.
    pub default: MtlsSetting,
    /// What holds for ports of the workload that an object names.
    pub ports: HashMap<u16, MtlsSetting>,
}

impl PeerMtls {
    /// The mode of a port of the workload.
    pub fn of(&self, port: u16) -> MtlsMode {
        self.setting(port).mode
    }

    /// The mode of a port of the workload, and who says so.
    pub fn setting(&self, port: u16) -> &MtlsSetting {
        self.ports.get(&port).unwrap_or(&self.default)
    }
}

/// Resolves again and again: the same `Arc` as long as the objects are the same.
#[derive(Debug, Default)]
pub struct PeerMtlsCompiler {
    last: Option<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    proxy: Proxy,
    mesh: Mesh,
    /// Those of the workload's namespace and of the root namespace.
    objects: Vec<Arc<PeerAuthentication>>,
    result: Arc<PeerMtls>,
    diagnostics: Vec<Diagnostic>,
}

impl PeerMtlsCompiler {
    /// What holds for the workload of the options' proxy.
    ///
    /// A port's mode comes before the workload's, its namespace's and the root namespace's; `UNSET` leaves it to
    /// the next. Of several objects of one level the oldest counts, then the first by name.
    pub fn compile(&mut self, options: &CompileOptions, resources: &Resources) -> Arc<PeerMtls> {
        let CompileOptions { proxy, mesh, .. } = options;
        let objects = of_mesh_and_namespace(
            &resources.peer_authentications,
            &mesh.root_namespace,
            &proxy.namespace,
        );
        let is_same = |last: &&Compiled| {
            last.proxy == *proxy && last.mesh == *mesh && are_same(&last.objects, &objects)
        };
        if let Some(last) = self.last.as_ref().filter(is_same) {
            return last.result.clone();
        }
        let levels = Levels::of(&objects, &proxy.labels, &mesh.root_namespace);
        let result = Arc::new(levels.resolve());
        let diagnostics = levels.diagnostics;
        self.last = Some(Compiled {
            proxy: proxy.clone(),
            mesh: mesh.clone(),
            objects,
            result: result.clone(),
            diagnostics,
        });
        result
    }

    /// What is to be said about the objects of the last compilation.
    pub fn diagnostics(&self) -> impl Iterator<Item = Diagnostic> {
        let last = self.last.iter();
        last.flat_map(|last| last.diagnostics.iter().cloned())
    }
}

/// What workloads end of the mesh's TLS, as their clients see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerModes<'r> {
    objects: &'r Objects<PeerAuthentication>,
    root_namespace: &'r Arc<str>,
    /// Whether any object turns it off. Few meshes have one.
    turned_off: bool,
}

impl<'r> PeerModes<'r> {
    /// As these objects say.
    pub(crate) fn new(
        objects: &'r Objects<PeerAuthentication>,
        root_namespace: &'r Arc<str>,
    ) -> Self {
        Self {
            turned_off: objects.values().any(|object| turns_off(object)),
            objects,
            root_namespace,
        }
    }

    /// Whether a workload ends the mesh's TLS on one of its own ports.
    ///
    /// Source: Istio, which has clients speak in clear text to whom a PeerAuthentication sets to `DISABLE`.
    pub(crate) fn accepts_mtls(&self, namespace: &Arc<str>, labels: &Labels, port: u16) -> bool {
        if !self.turned_off {
            return true;
        }
        let objects = of_mesh_and_namespace(self.objects, self.root_namespace, namespace);
        let levels = Levels::of(&objects, labels, self.root_namespace);
        levels.mode(port) != MtlsMode::Disable
    }
}

fn turns_off(object: &PeerAuthentication) -> bool {
    let of_ports = object.port_level_mtls.values();
    let mut all = object.mtls.iter().chain(of_ports);
    all.any(|tls| tls.mode == PeerTlsMode::Disable)
}

/// The object that counts on each level.
#[derive(Default)]
struct Levels<'r> {
    mesh: Option<&'r PeerAuthentication>,
    namespace: Option<&'r PeerAuthentication>,
    workload: Option<&'r PeerAuthentication>,
    diagnostics: Vec<Diagnostic>,
}

impl<'r> Levels<'r> {
    fn of(objects: &'r [Arc<PeerAuthentication>], labels: &Labels, root: &str) -> Self {
        let mut by_age: Vec<&PeerAuthentication> = objects.iter().map(|object| &**object).collect();
        by_age.sort_by(|one, other| age(&one.meta).cmp(&age(&other.meta)));
        let mut levels = Self::default();
        for object in by_age {
            let is_root = object.meta.namespace() == root;
            match (object.selector.is_empty(), is_root) {
                (true, true) => place(&mut levels.mesh, object, &mut levels.diagnostics),
                (true, false) => place(&mut levels.namespace, object, &mut levels.diagnostics),
                (false, true) => levels.diagnostics.push(of_root(object)),
                (false, false) if selects(&object.selector, labels) => {
                    place(&mut levels.workload, object, &mut levels.diagnostics);
                }
                (false, false) => {}
            }
        }
        levels
    }

    /// What holds for ports that nobody names, and the object that says so.
    fn of_all_ports(&self) -> Option<(&'r PeerAuthentication, MtlsMode, At)> {
        let levels = [self.workload, self.namespace, self.mesh];
        levels.into_iter().flatten().find_map(|object| {
            let (mode, at) = MtlsMode::of(object.mtls.as_ref())?;
            Some((object, mode, at))
        })
    }

    fn mode(&self, port: u16) -> MtlsMode {
        let of_port = self.workload.and_then(|object| {
            let (mode, _) = MtlsMode::of(object.port_level_mtls.get(&port))?;
            Some(mode)
        });
        let default = || Some(self.of_all_ports()?.1);
        of_port.or_else(default).unwrap_or_default()
    }

    fn resolve(&self) -> PeerMtls {
        let set = self.of_all_ports();
        let set = set.map(|(object, mode, at)| setting(object, mode, "spec.mtls".to_owned(), at));
        let default = set.unwrap_or_default();
        let ports = self.workload.into_iter().flat_map(|object| {
            let ports = object.port_level_mtls.iter();
            ports.map(|(port, tls)| (*port, of_port(object, *port, tls, &default)))
        });
        PeerMtls {
            ports: ports.collect(),
            default: default.clone(),
        }
    }
}

/// Takes the first that comes; those behind it have no effect.
fn place<'r>(
    level: &mut Option<&'r PeerAuthentication>,
    object: &'r PeerAuthentication,
    diagnostics: &mut Vec<Diagnostic>,
) {
    match level {
        Some(first) => diagnostics.push(outranked(object, &first.meta.reference)),
        None => *level = Some(object),
    }
}

fn of_port(
    object: &PeerAuthentication,
    port: u16,
    tls: &PeerTls,
    default: &MtlsSetting,
) -> MtlsSetting {
    match MtlsMode::of(Some(tls)) {
        Some((mode, at)) => setting(object, mode, format!("spec.portLevelMtls.{port}"), at),
        None => default.clone(),
    }
}

fn setting(object: &PeerAuthentication, mode: MtlsMode, path: String, at: At) -> MtlsSetting {
    MtlsSetting {
        mode,
        origin: Some(Arc::new(object.meta.origin(path, at))),
    }
}

fn outranked(object: &PeerAuthentication, by: &ResourceRef) -> Diagnostic {
    let message = format!("{by} is for the same workloads and comes before this object");
    warning(&object.meta, "outranked", "", At::default(), message).help(
        "this object has no effect: the oldest counts, then the first by name; write one object of both",
    )
}

fn of_root(object: &PeerAuthentication) -> Diagnostic {
    let message = "an object of the root namespace that has a selector has no effect, as in Istio";
    warning(
        &object.meta,
        "no_effect",
        "spec.selector",
        At::default(),
        message,
    )
    .help("put it into the namespace of its workloads, or leave the selector out")
}

#[cfg(test)]
mod tests;

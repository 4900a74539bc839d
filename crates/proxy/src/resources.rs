//! Reading and compiling resources once, for `check`, `explain` and `egress`.

use crate::Program;
use crate::bootstrap::{Bootstrap, Capture};
use crate::render::Texts;
use anyhow::Context;
use config::{
    Change, Configuration, Content, CredentialSettings, IdentitySource, OrderedCredentials,
    Published, Settings,
};
use model::Defaults;
use rules::{CompileOptions, Locality, Mesh, Proxy, SidecarOptions};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Resources as they stand in their files.
pub struct Loaded {
    pub(crate) bootstrap: Bootstrap,
    pub(crate) published: Published,
    pub(crate) texts: Texts,
    configuration: Configuration,
}

impl Loaded {
    /// Reads the paths, or what the bootstrap file names when there are none.
    pub(crate) fn read(
        program: &Program,
        config: Option<&Path>,
        paths: &[PathBuf],
    ) -> anyhow::Result<Self> {
        Self::of(program.load_for_command(config, paths)?, paths)
    }

    /// Reads the paths, or what the bootstrap names when there are none.
    pub(crate) fn of(bootstrap: Bootstrap, paths: &[PathBuf]) -> anyhow::Result<Self> {
        let roots = if paths.is_empty() {
            &bootstrap.resources.files
        } else {
            paths
        };
        let changes = source_file::read_once(roots, source_file::MAX_FILE_BYTES)
            .context("the files of resources cannot be read")?;
        let texts = changes.iter().filter_map(text_of).collect();
        let mut configuration = Configuration::new(settings(&bootstrap, None));
        configuration.apply(changes);
        let published = configuration
            .compile(SystemTime::now())
            .context("nothing was compiled")?;
        Ok(Self {
            bootstrap,
            published,
            texts,
            configuration,
        })
    }

    /// Adds a text, as if it stood in a file of its own.
    pub(crate) fn add(&mut self, file: &str, text: &str) {
        let content = Content::Text(text.into());
        let file = file.into();
        self.configuration.apply(vec![Change { file, content }]);
        self.compile();
    }

    /// Reads the certificates that the resources name, too.
    pub(crate) fn read_certificates(&mut self) {
        let wanted = self.configuration.wanted_files();
        let files = source_file::read_certificates(wanted.iter().map(AsRef::as_ref));
        self.configuration.apply_files(files);
        self.compile();
    }

    fn compile(&mut self) {
        // Absent: that makes no difference.
        if let Some(published) = self.configuration.compile(SystemTime::now()) {
            self.published = published;
        }
    }
}

/// How resources are read and compiled for this proxy.
pub fn settings(bootstrap: &Bootstrap, last_good: Option<PathBuf>) -> Settings {
    let proxy = &bootstrap.proxy;
    let proxy = Proxy {
        name: proxy.name.as_str().into(),
        namespace: proxy.namespace.as_str().into(),
        labels: proxy.labels.clone(),
        locality: Locality::parse(&proxy.locality),
    };
    let aliases = bootstrap.mesh.trust_domain_aliases.iter();
    let mesh = Mesh {
        domain_suffix: bootstrap.mesh.domain_suffix.as_str().into(),
        root_namespace: bootstrap.mesh.root_namespace.as_str().into(),
        path_normalization: bootstrap.mesh.path_normalization,
        outbound_traffic_policy: bootstrap.mesh.outbound_traffic_policy.into(),
        trust_domain: bootstrap.mesh.trust_domain().into(),
        trust_domain_aliases: aliases.map(|alias| alias.as_str().into()).collect(),
        ..Mesh::default()
    };
    let defaults = Defaults {
        namespace: bootstrap.resources.default_namespace.as_str().into(),
        ..Defaults::default()
    };
    Settings {
        defaults,
        compile: CompileOptions {
            proxy,
            mesh,
            forbidden: bootstrap.dns.forbidden_networks.clone(),
            forward_proxy: bootstrap.forward_proxy(),
            sidecar: bootstrap.capture.as_ref().map(|capture| SidecarOptions {
                named_ports: bootstrap.proxy.ports.clone(),
                ..capture.options()
            }),
            names: bootstrap.capture.as_ref().and_then(Capture::names),
            auto_mtls: bootstrap.mesh.enable_auto_mtls && bootstrap.tls.has_identity(),
        },
        last_good,
        credentials: credentials(bootstrap),
    }
}

fn credentials(bootstrap: &Bootstrap) -> CredentialSettings {
    let tls = &bootstrap.tls;
    let named = |folder: &Path| (!folder.as_os_str().is_empty()).then(|| folder.to_path_buf());
    // Those in Secrets are found as all Secrets.
    let ordered = bootstrap.acme.as_ref().and_then(|acme| {
        let names = acme.credentials.keys().map(ToString::to_string);
        Some(OrderedCredentials {
            storage: acme.storage.clone()?,
            names: names.collect(),
        })
    });
    CredentialSettings {
        certificates: named(&tls.certificates),
        ordered,
        identity: match &tls.workload_api {
            Some(endpoint) => Some(IdentitySource::Told(
                format!("the Workload API {endpoint}").into(),
            )),
            None => named(&tls.identity).map(IdentitySource::Folder),
        },
        relative_to: bootstrap.folder.clone(),
        allow_readable_keys: tls.allow_readable_keys,
    }
}

fn text_of(change: &Change) -> Option<(std::sync::Arc<str>, std::sync::Arc<str>)> {
    match &change.content {
        Content::Text(text) => Some((change.file.clone(), text.clone())),
        _ => None,
    }
}

//! The flags of `mesh-agent inject`.

use crate::identity::Identity;
use crate::options::InjectOptions;
use crate::values::{ConfigMapFile, LogLevel, NativeSidecar, PullPolicy, Quantity};
use clap::{ArgAction, Args};
use std::path::PathBuf;

/// Add the sidecar to the workloads of Kubernetes YAML or JSON
///
/// Deployments, StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers, Jobs, CronJobs, Pods, and Lists of them get
/// it; everything else comes out as it went in, and so do workloads that have it already. Comments and layout stay.
///
/// The pods mount the bootstrap file from one ConfigMap and Istio's resources from another, which have to be in their
/// namespace:
///
///   kubectl create configmap mesh-agent --from-file=mesh-agent.toml
///   kubectl create configmap mesh-resources --from-file=resources/
///   mesh-agent inject -f deploy.yaml | kubectl apply -f -
///
/// The bootstrap file tells the agent where it has them, and what it may write:
///
///   resources.files = ["/etc/istio/resources"]
///   resources.last-good = "/var/lib/istio/data/last-good"
///
/// An agent that is to ask the API server has `[kubernetes]` in it, and is given a token instead of the other ConfigMap with
/// `--api-server true --resources ''`.
///
/// Flags win over the file of --config, and annotations of a pod, such as `sidecar.istio.io/proxyCPU`, over both.
#[derive(Args, Clone, Debug, Default)]
#[command(verbatim_doc_comment)]
pub struct InjectArgs {
    /// A file to read, or `-` for the standard input; may be given several times
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub filenames: Vec<PathBuf>,
    /// Where to write, which may be the file that is read [default: the standard output]
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A TOML file with any of what the following flags say: their names, with tables `requests`, `limits` (each with
    /// `cpu` and `memory`) and `annotations` [default: none]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The image of the agent [default: localhost/tidegate/mesh-agent of this version]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// When the image is pulled: Always, IfNotPresent or Never [default: as Kubernetes decides]
    #[arg(long, value_name = "POLICY")]
    pub image_pull_policy: Option<PullPolicy>,
    /// A Secret that the image is pulled with; may be given several times [default: none]
    #[arg(long = "image-pull-secret", value_name = "NAME")]
    pub image_pull_secrets: Vec<String>,
    /// The namespace of objects that name none [default: default]
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Whether the sidecar is an init container that goes on, as Kubernetes has them since 1.29: true, false, or auto
    /// for where pods have an end, which are those of Jobs and CronJobs, and Pods that are not restarted [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub native_sidecar: Option<NativeSidecar>,
    /// Whether the application starts when the sidecar is ready: true or false; behind a native one it always does
    /// [default: true]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    pub hold_application: Option<bool>,
    /// The ConfigMap with the agent's bootstrap file, and the file's key [default: mesh-agent/mesh-agent.toml]
    #[arg(long, value_name = "NAME[/KEY]")]
    pub bootstrap: Option<ConfigMapFile>,
    /// A ConfigMap with Istio's resources as files, which are in /etc/istio/resources; may be given several times, and
    /// empty for none [default: mesh-resources]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub resources: Vec<String>,
    /// Whether the agent asks the API server, as `[kubernetes]` of its bootstrap file says: true or false. It gets a token
    /// of the pod's service account, which needs permissions to read; see packaging/README.md [default: false]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    pub api_server: Option<bool>,
    /// Where the sidecar's certificate comes from: none; secret or secret=NAME (by default `istio.` and the service
    /// account); csi=DRIVER for files of a CSI volume; workload-api=/FOLDER/SOCKET for the SPIFFE Workload API at a
    /// socket of the node; workload-api-csi or workload-api-csi=DRIVER/SOCKET for one that a CSI driver mounts. Files
    /// are in /var/run/secrets/workload-spiffe-credentials, which `[tls] identity` has to name [default: none, so that all traffic is in clear]
    #[arg(long, value_name = "SOURCE")]
    pub identity: Option<Identity>,
    /// The trust domain of identities [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub trust_domain: Option<String>,
    /// The cluster's name in metrics [default: Kubernetes]
    #[arg(long, value_name = "NAME")]
    pub cluster_id: Option<String>,
    /// What the sidecar logs of itself: trace, debug, info, warning, error or off [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub sidecar_log_level: Option<LogLevel>,
    /// Whether the application's DNS queries go to the sidecar: true or false [default: false]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    pub dns_capture: Option<bool>,
    /// CPUs that the sidecar requests [default: 100m]
    #[arg(long, value_name = "AMOUNT")]
    pub cpu: Option<Quantity>,
    /// Memory that the sidecar requests [default: 40Mi]
    #[arg(long, value_name = "AMOUNT")]
    pub memory: Option<Quantity>,
    /// CPUs that the sidecar gets at most [default: 2]
    #[arg(long, value_name = "AMOUNT")]
    pub cpu_limit: Option<Quantity>,
    /// Memory that the sidecar gets at most [default: 1Gi]
    #[arg(long, value_name = "AMOUNT")]
    pub memory_limit: Option<Quantity>,
    /// An annotation that counts where a pod has not got it, such as
    /// traffic.sidecar.istio.io/excludeOutboundPorts=5432; may be given several times [default: none]
    #[arg(long = "annotation", value_name = "NAME=VALUE", value_parser = annotation)]
    pub annotations: Vec<(String, String)>,
}

impl InjectArgs {
    /// Has the flags win over options that came from elsewhere.
    pub fn over(&self, mut options: InjectOptions) -> InjectOptions {
        set(&mut options.image, &self.image);
        set(&mut options.namespace, &self.namespace);
        set(&mut options.native_sidecar, &self.native_sidecar);
        set(&mut options.hold_application, &self.hold_application);
        set(&mut options.bootstrap, &self.bootstrap);
        set(&mut options.api_server, &self.api_server);
        set(&mut options.identity, &self.identity);
        set(&mut options.trust_domain, &self.trust_domain);
        set(&mut options.cluster_id, &self.cluster_id);
        set(&mut options.log_level, &self.sidecar_log_level);
        set(&mut options.dns_capture, &self.dns_capture);
        set_some(&mut options.image_pull_policy, &self.image_pull_policy);
        set_some(&mut options.requests.cpu, &self.cpu);
        set_some(&mut options.requests.memory, &self.memory);
        set_some(&mut options.limits.cpu, &self.cpu_limit);
        set_some(&mut options.limits.memory, &self.memory_limit);
        set_list(&mut options.image_pull_secrets, &self.image_pull_secrets);
        set_list(&mut options.resources, &self.resources);
        options.annotations.extend(self.annotations.iter().cloned());
        options
    }
}

fn set<T: Clone>(option: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        option.clone_from(value);
    }
}

fn set_some<T: Clone>(option: &mut Option<T>, flag: &Option<T>) {
    if flag.is_some() {
        option.clone_from(flag);
    }
}

/// A list that was given as an empty text is an empty list.
fn set_list(option: &mut Vec<String>, flag: &[String]) {
    if !flag.is_empty() {
        *option = flag
            .iter()
            .filter(|value| !value.is_empty())
            .cloned()
            .collect();
    }
}

fn annotation(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("it is a name and a value, with `=` between them")?;
    Ok((name.to_owned(), value.to_owned()))
}

//! A file with sidecars added to its workloads.

use crate::annotations::Annotations;
use crate::catalogue::{self, Meaning};
use crate::change::Change;
use crate::checks;
use crate::decide::{self, Skipped};
use crate::finding::{Finding, Report};
use crate::metrics::Metrics;
use crate::options::InjectOptions;
use crate::pod::Pod;
use crate::probes::Probers;
use crate::settings::Settings;
use crate::template::Facts;
use crate::workload::{self, Kind, Object};
use crate::yaml::{Document, Node, Written, documents, read, written};
use model::{Limits, ResourceRef};
use std::sync::Arc;

/// A file with sidecars added to its workloads.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Injected {
    /// The text. What got no sidecar is as it was, byte for byte.
    pub text: String,
    /// The workloads that were found, in the order of the file.
    pub workloads: Vec<Workload>,
    /// Warnings, in the order of the documents.
    pub warnings: Vec<Finding>,
}

/// A workload, and what became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Workload {
    /// Its kind, namespace and name.
    pub object: ResourceRef,
    /// Why it got no sidecar. Absent: it got one.
    pub skipped: Option<Skipped>,
}

/// Adds sidecars to the workloads of a file, which is named as in messages: YAML documents, or JSON.
///
/// The text is the user's with insertions. It is given out with all of its workloads done or not at all.
///
/// # Errors
///
/// What is wrong, errors first: text that is no YAML, an annotation that has no meaning, a pod that could not work with
/// a sidecar. Warnings are among it.
pub fn inject(
    file: &Arc<str>,
    text: &str,
    options: &InjectOptions,
) -> Result<Injected, Vec<Finding>> {
    let mut injector = Injector {
        options,
        report: Report::new(file, text),
        workloads: Vec::new(),
    };
    injector.check_options();
    let text = injector.file(text);
    let Injector {
        report, workloads, ..
    } = injector;
    let mut findings = report.findings;
    findings.sort_by_cached_key(Finding::place);
    match text {
        Some(text) if !findings.iter().any(Finding::is_error) => Ok(Injected {
            text,
            workloads,
            warnings: findings,
        }),
        _ => Err(findings),
    }
}

struct Injector<'t> {
    options: &'t InjectOptions,
    report: Report<'t>,
    workloads: Vec<Workload>,
}

impl Injector<'_> {
    fn check_options(&mut self) {
        for name in self.options.annotations.keys() {
            let why = match catalogue::meaning(name) {
                Some(Meaning::Honoured) => continue,
                Some(Meaning::Ignored(why)) => format!("has no effect: {why}"),
                None => "is an annotation that Istio does not know".to_owned(),
            };
            let message = format!("the default annotation `{name}` of the options {why}");
            self.report.error(None, "", "invalid_option", message);
        }
    }

    fn file(&mut self, text: &str) -> Option<String> {
        let limits = Limits::default();
        let documents = documents(text);
        if text.len() > limits.file_bytes || documents.len() > limits.documents {
            let message = format!(
                "the file has {} bytes and {} documents, at most {} and {}",
                text.len(),
                documents.len(),
                limits.file_bytes,
                limits.documents
            );
            self.report.error(None, "", "too_large", message);
            return None;
        }
        let mut out = String::with_capacity(text.len() * 2);
        let mut at = 0;
        for (number, document) in (1..).zip(documents) {
            out += &text[at..document.start];
            at = document.start + document.text.len();
            self.report.turn_to(number, document.start);
            match self.document(document, &limits) {
                Some(changed) => out += &changed,
                None => out += document.text,
            }
        }
        out += &text[at..];
        Some(out)
    }

    /// The text of a document with sidecars. `None`: there is nothing to add.
    fn document(&mut self, document: Document<'_>, limits: &Limits) -> Option<String> {
        let text = document.text;
        if text.len() > limits.document_bytes {
            let message = format!(
                "the document has {} bytes, at most {}",
                text.len(),
                limits.document_bytes
            );
            self.report.error(None, "", "too_large", message);
            return None;
        }
        let mut read = match read(text, limits) {
            Ok(read) => read,
            Err(why) => {
                self.report.error(Some(why.at), "", why.code, why.message);
                return None;
            }
        };
        let before = self.report.errors();
        let is_changed = self.object(&mut read.root, "");
        if !is_changed || self.report.errors() > before {
            return None;
        }
        if let Some(why) = read.duplicate {
            self.report.turn_to_object(None, String::new());
            self.report.error(Some(why.at), "", why.code, why.message);
            return None;
        }
        Some(match written(text, &read.root) {
            Written::Edited(text) => text,
            Written::Anew(text) => {
                self.tell_anew();
                text
            }
        })
    }

    fn tell_anew(&mut self) {
        self.report.turn_to_object(None, String::new());
        let message = "the document could not be changed where it stands: it is written anew, without its comments";
        let help = "write it without `?` keys, and with anchors and tags on the line of what they are about";
        self.report.warn(
            None,
            "",
            "written_anew",
            [message.to_owned(), help.to_owned()],
        );
    }

    /// Changes an object, or those in a List. Returns whether anything was changed.
    fn object(&mut self, node: &mut Node, path: &str) -> bool {
        match Object::of(node) {
            Object::Other => false,
            Object::Workload(kind) => self.workload(kind, node, path),
            Object::ListOf(kind) => {
                self.tell_unopened(kind, node, path);
                false
            }
            Object::List => {
                let Some(items) = node.get_mut("items") else {
                    return false;
                };
                let mut is_changed = false;
                for (index, item) in items.items_mut().iter_mut().enumerate() {
                    is_changed |= self.object(item, &join(path, &format!("items[{index}]")));
                }
                is_changed
            }
        }
    }

    fn tell_unopened(&mut self, kind: Kind, node: &Node, path: &str) {
        let kind = kind.as_str();
        let message = format!("a {kind}List is not looked into: what is in it gets no sidecar");
        let help = format!(
            "make it a `List` of apiVersion `v1`, whose items have apiVersion and kind `{kind}` each"
        );
        self.report.turn_to_object(None, path.to_owned());
        self.report
            .warn(node.start(), "", "list_of_kind", [message, help]);
    }

    fn workload(&mut self, kind: Kind, node: &mut Node, path: &str) -> bool {
        let object = workload::reference(kind, node, &self.options.namespace);
        self.report
            .turn_to_object(Some(object.clone()), path.to_owned());
        if kind != Kind::Pod {
            self.tell_misplaced(node);
        }
        let workload = workload::of_pods(kind, node).map(str::to_owned);
        let pod_path = kind.pod_path();
        let Some(template) = node
            .follow_mut(pod_path)
            .filter(|template| template.is_mapping())
        else {
            let message = "is required, an object: it is the pod that gets the sidecar";
            self.report
                .error(node.start(), &pod_path.join("."), "missing_field", message);
            return false;
        };
        self.report
            .turn_to_object(Some(object.clone()), join(path, &pod_path.join(".")));
        let before = self.report.errors();
        let change = self.plan(kind, workload.as_deref(), template, object);
        match change {
            Some(change) if self.report.errors() == before => {
                change.apply(template);
                true
            }
            _ => false,
        }
    }

    /// What is to be changed in a pod. `None`: nothing, or something is wrong with it.
    fn plan(
        &mut self,
        kind: Kind,
        workload: Option<&str>,
        template: &Node,
        object: ResourceRef,
    ) -> Option<Change> {
        let (options, report) = (self.options, &mut self.report);
        let pod = Pod::read(template, report)?;
        let annotations = Annotations::new(&pod, &options.annotations);
        let skipped = decide::skipped(&pod, &annotations, &object.namespace, report);
        self.workloads.push(Workload {
            object,
            skipped: skipped.clone(),
        });
        if skipped.is_some() {
            return None;
        }
        let settings = Settings::read(kind, &pod, &annotations, options, report)?;
        checks::check(&pod, &settings, report);
        let probers = Probers::of(&pod, &settings, report);
        let metrics = Metrics::of(&pod, &settings);
        let facts = Facts {
            workload,
            pod: &pod,
            settings: &settings,
            options,
            probers: probers.to_json(),
            application_metrics: metrics
                .as_ref()
                .and_then(|metrics| metrics.application.clone()),
        };
        Some(Change::of(&facts, probers, metrics))
    }

    /// Istio reads the annotations of pods, and people put them on what makes pods.
    fn tell_misplaced(&mut self, node: &Node) {
        for list in ["annotations", "labels"] {
            let entries = node
                .follow(&["metadata", list])
                .map_or(&[][..], Node::entries);
            for entry in entries
                .iter()
                .filter(|entry| catalogue::is_istios(&entry.key))
            {
                let message = "has no effect here: it is for pods".to_owned();
                let help = format!("move it to the {list} of the pod's template");
                let path = format!("metadata.{list}[{}]", entry.key);
                self.report.warn(
                    entry.value.start(),
                    &path,
                    "misplaced_annotation",
                    [message, help],
                );
            }
        }
    }
}

fn join(path: &str, more: &str) -> String {
    let parts = [path, more];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(".")
}

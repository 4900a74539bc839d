//! The policies of a workload, incrementally.

use super::aliases::TrustDomains;
use super::compile::policy;
use super::policy::Policy;
use super::{Authorization, Policies};
use crate::compile::{Help, warning};
use crate::inbound::selection::{are_same, of_mesh_and_namespace};
use crate::{CompileOptions, Mesh, Proxy};
use ahash::HashMap;
use model::{AuthorizationAction, AuthorizationPolicy, Diagnostic, ObjectKey, Resources, selects};
use std::sync::Arc;

/// Compiles again and again: the same `Arc` as long as the objects are the same, and only policies that changed
/// otherwise.
#[derive(Debug, Default)]
pub struct AuthorizationCompiler {
    last: Option<Compiled>,
    /// Compiled policies, those in force only.
    policies: HashMap<ObjectKey, One>,
}

#[derive(Debug)]
struct Compiled {
    proxy: Proxy,
    mesh: Mesh,
    /// Those of the workload's namespace and of the root namespace.
    objects: Vec<Arc<AuthorizationPolicy>>,
    result: Arc<Authorization>,
    diagnostics: Vec<Diagnostic>,
}

/// A policy that selects the workload.
#[derive(Clone, Debug)]
struct One {
    object: Arc<AuthorizationPolicy>,
    policy: Arc<Policy>,
    diagnostics: Vec<Diagnostic>,
}

impl AuthorizationCompiler {
    /// The policies for the workload of the options' proxy: those of its namespace and of the root namespace that
    /// select it.
    ///
    /// Objects are compared by identity.
    pub fn compile(
        &mut self,
        options: &CompileOptions,
        resources: &Resources,
    ) -> Arc<Authorization> {
        let CompileOptions { proxy, mesh, .. } = options;
        let objects = of_mesh_and_namespace(
            &resources.authorization_policies,
            &mesh.root_namespace,
            &proxy.namespace,
        );
        let is_same_place = |last: &&Compiled| last.proxy == *proxy && last.mesh == *mesh;
        match self.last.as_ref().filter(is_same_place) {
            Some(last) if are_same(&last.objects, &objects) => return last.result.clone(),
            Some(_) => {}
            None => self.policies.clear(),
        }
        let mut diagnostics = Vec::new();
        let selected = self.select(&objects, options, &mut diagnostics);
        let result = Arc::new(assembled(selected.iter().map(|one| &one.policy)));
        diagnostics.extend(selected.iter().flat_map(|one| one.diagnostics.clone()));
        let key = |one: &One| ObjectKey::from(&one.object.meta.reference);
        self.policies = selected.into_iter().map(|one| (key(&one), one)).collect();
        self.last = Some(Compiled {
            proxy: proxy.clone(),
            mesh: mesh.clone(),
            objects,
            result: result.clone(),
            diagnostics,
        });
        result
    }

    /// What is to be said about the policies of the last compilation. An error of a policy is no reason to leave
    /// it out: it denies what it cannot decide.
    pub fn diagnostics(&self) -> impl Iterator<Item = Diagnostic> {
        let last = self.last.iter();
        last.flat_map(|last| last.diagnostics.iter().cloned())
    }

    fn select(
        &self,
        objects: &[Arc<AuthorizationPolicy>],
        options: &CompileOptions,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<One> {
        let domains = TrustDomains::from(&options.mesh);
        let mut selected = Vec::new();
        for object in objects {
            if !object.target_refs.is_empty() {
                diagnostics.push(attached(object));
            } else if selects(&object.selector, &options.proxy.labels) {
                selected.push(self.one(object, &domains));
            }
        }
        selected
    }

    /// As it was, if the object is as it was.
    fn one(&self, object: &Arc<AuthorizationPolicy>, domains: &TrustDomains) -> One {
        let known = self.policies.get(&ObjectKey::from(&object.meta.reference));
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.object, object)) {
            return known.clone();
        }
        let mut diagnostics = Vec::new();
        if object.dry_run && object.action.value == AuthorizationAction::Audit {
            diagnostics.push(audited_in_dry_run(object));
        }
        One {
            policy: Arc::new(policy(object, domains, &mut diagnostics)),
            object: object.clone(),
            diagnostics,
        }
    }
}

fn assembled<'p>(policies: impl Iterator<Item = &'p Arc<Policy>>) -> Authorization {
    let mut all = Authorization::default();
    for policy in policies {
        let of = match policy.dry_run {
            true => &mut all.dry_run,
            false => &mut all.enforced,
        };
        match policy.action {
            AuthorizationAction::Custom => of.custom.push(policy.clone()),
            AuthorizationAction::Deny => of.deny.push(policy.clone()),
            AuthorizationAction::Allow => of.allow.push(policy.clone()),
            AuthorizationAction::Audit if policy.dry_run => {}
            AuthorizationAction::Audit => all.audit.push(policy.clone()),
        }
    }
    for of in [&mut all.enforced, &mut all.dry_run] {
        let allowing = of.allow.iter().map(|policy| policy.origin.clone());
        of.allowing = allowing.collect();
    }
    all.is_idle = all.audit.is_empty() && all.enforced.is_empty() && all.dry_run.is_empty();
    all
}

impl Policies {
    fn is_empty(&self) -> bool {
        self.custom.is_empty() && self.deny.is_empty() && self.allow.is_empty()
    }
}

fn attached(object: &AuthorizationPolicy) -> Diagnostic {
    let first = object.target_refs.first();
    let at = first.map(|target| target.at).unwrap_or_default();
    let kind = first.map_or("", |target| target.kind.as_str());
    let message = format!("a policy that is attached to a {kind} is not for sidecars, as in Istio");
    warning(&object.meta, "not_selected", "spec.targetRefs", at, message)
        .help("select workloads by selector.matchLabels instead")
}

fn audited_in_dry_run(object: &AuthorizationPolicy) -> Diagnostic {
    let message = "an AUDIT policy in dry run has no effect";
    warning(
        &object.meta,
        "no_effect",
        "spec.action",
        object.action.at,
        message,
    )
    .help("take the annotation istio.io/dry-run away")
}

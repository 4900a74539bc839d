//! The objects, and what happened to them.

use crate::asked::Asked;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Kinds whose objects have no namespace.
const WITHOUT_NAMESPACE: [&str; 6] = [
    "clusterroles",
    "customresourcedefinitions",
    "mutatingwebhookconfigurations",
    "namespaces",
    "nodes",
    "validatingwebhookconfigurations",
];

/// An object's namespace, empty where its kind has none, and its name.
pub(crate) type Key = (String, String);

/// Why something is not done: the status, its reason, and what is said of it.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Something that happened to an object.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    pub(crate) plural: String,
    pub(crate) kind: &'static str,
    pub(crate) object: Value,
}

/// The objects, and what happened to them.
#[derive(Clone, Default)]
pub(crate) struct Store {
    pub(crate) revision: u64,
    pub(crate) objects: BTreeMap<String, BTreeMap<Key, Value>>,
    pub(crate) events: Vec<Event>,
    /// Nobody can go on from before this revision.
    pub(crate) oldest: u64,
    made: u64,
}

/// The metadata's field, or nothing.
fn metadata<'o>(object: &'o Value, field: &str) -> &'o str {
    object["metadata"][field].as_str().unwrap_or_default()
}

pub(crate) fn has_namespace(plural: &str) -> bool {
    !WITHOUT_NAMESPACE.contains(&plural)
}

/// The objects that a request selects by field or label.
pub(crate) fn is_selected(asked: &Asked, object: &Value) -> bool {
    let is_in = |namespace: &String| metadata(object, "namespace") == namespace;
    if !asked.namespace.as_ref().is_none_or(is_in) {
        return false;
    }
    let selects = |selector: &str, value: &dyn Fn(&str) -> String| {
        let terms = asked.query.get(selector).map_or("", String::as_str);
        let mut terms = terms.split(',').filter(|term| !term.is_empty());
        terms.all(|term| match term.split_once('=') {
            Some((field, wanted)) => value(field) == wanted.trim_start_matches('='),
            None => false,
        })
    };
    let field = |path: &str| {
        let pointer = format!("/{}", path.replace('.', "/"));
        let value = object.pointer(&pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let label = |name: &str| {
        let value = object["metadata"]["labels"][name].as_str();
        value.unwrap_or_default().to_owned()
    };
    selects("fieldSelector", &field) && selects("labelSelector", &label)
}

impl Store {
    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<&Value> {
        let key = (namespace.to_owned(), name.to_owned());
        self.objects.get(plural)?.get(&key)
    }

    /// Adds an object, or another version of it, whatever was there.
    pub(crate) fn put(&mut self, plural: &str, object: Value) -> Value {
        let before = self.get(
            plural,
            metadata(&object, "namespace"),
            metadata(&object, "name"),
        );
        let before = before.cloned();
        self.keep(plural, object, before)
    }

    /// Makes an object that is not there.
    pub(crate) fn create(&mut self, plural: &str, mut object: Value) -> Result<Value, Refusal> {
        if metadata(&object, "name").is_empty() {
            let name = format!("{}{:05}", metadata(&object, "generateName"), self.made);
            object["metadata"]["name"] = json!(name);
        }
        let (namespace, name) = (metadata(&object, "namespace"), metadata(&object, "name"));
        if self.get(plural, namespace, name).is_some() {
            return Err(Refusal {
                code: 409,
                reason: "AlreadyExists",
                message: format!("{plural} \"{name}\" already exists"),
            });
        }
        Ok(self.keep(plural, object, None))
    }

    /// Puts one in the place of what is there, if that is the version it was made from.
    pub(crate) fn replace(&mut self, asked: &Asked, mut object: Value) -> Result<Value, Refusal> {
        let before = self.named(asked)?.clone();
        let from = metadata(&object, "resourceVersion");
        if !from.is_empty() && from != metadata(&before, "resourceVersion") {
            return Err(conflict(asked));
        }
        let (target, source) = match asked.subresource.as_deref() {
            Some("status") => (before.clone(), object),
            _ => (object.take(), before.clone()),
        };
        let object = with_status(target, &source);
        Ok(self.keep(&asked.plural, object, Some(before)))
    }

    /// Merges something into what is there, which an apply makes where it is not.
    pub(crate) fn patch(&mut self, asked: &Asked, patch: &Value) -> Result<Value, Refusal> {
        let is_apply = asked.content_type.starts_with("application/apply-patch");
        if is_apply && asked.subresource.is_none() && self.named(asked).is_err() {
            let mut object = patch.clone();
            object["metadata"]["name"] = json!(asked.name);
            if let Some(namespace) = &asked.namespace {
                object["metadata"]["namespace"] = json!(namespace);
            }
            return Ok(self.keep(&asked.plural, object, None));
        }
        let before = self.named(asked)?.clone();
        let from = metadata(patch, "resourceVersion");
        if !from.is_empty() && from != metadata(&before, "resourceVersion") {
            return Err(conflict(asked));
        }
        let mut merged = before.clone();
        merge(&mut merged, patch);
        let object = match asked.subresource.as_deref() {
            Some("status") => with_status(before.clone(), &merged),
            _ => with_status(merged, &before),
        };
        Ok(self.keep(&asked.plural, object, Some(before)))
    }

    /// Takes an object away.
    pub(crate) fn delete(&mut self, asked: &Asked, options: &Value) -> Result<Value, Refusal> {
        let wanted = options["preconditions"]["resourceVersion"].as_str();
        let object = self.named(asked)?;
        if wanted.is_some_and(|wanted| wanted != metadata(object, "resourceVersion")) {
            return Err(conflict(asked));
        }
        let key = (
            metadata(object, "namespace").to_owned(),
            metadata(object, "name").to_owned(),
        );
        self.remove(&asked.plural, &key)
            .ok_or_else(|| not_found(asked))
    }

    pub(crate) fn remove(&mut self, plural: &str, key: &Key) -> Option<Value> {
        let mut object = self.objects.get_mut(plural)?.remove(key)?;
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.happened(plural, "DELETED", object.clone());
        Some(object)
    }

    /// Forgets what happened.
    pub(crate) fn forget(&mut self) {
        self.events.clear();
        self.revision += 1;
        self.oldest = self.revision;
    }

    /// The object that a request names.
    pub(crate) fn named(&self, asked: &Asked) -> Result<&Value, Refusal> {
        let namespace = asked.namespace.as_deref().unwrap_or_default();
        let name = asked.name.as_deref().unwrap_or_default();
        let object = self.get(&asked.plural, namespace, name);
        object.ok_or_else(|| not_found(asked))
    }

    /// A version of an object, unless nothing of it is different.
    fn keep(&mut self, plural: &str, mut object: Value, before: Option<Value>) -> Value {
        let kind = match &before {
            Some(before) => {
                carry_on(&mut object, before);
                if *before == object {
                    return object;
                }
                if is_other(&object, before) {
                    let generation = before["metadata"]["generation"].as_u64().unwrap_or(1);
                    object["metadata"]["generation"] = json!(generation + 1);
                }
                "MODIFIED"
            }
            None => {
                self.made += 1;
                object["metadata"]["uid"] = json!(format!("uid-{}", self.made));
                object["metadata"]["generation"] = json!(1);
                "ADDED"
            }
        };
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let key = (
            metadata(&object, "namespace").to_owned(),
            metadata(&object, "name").to_owned(),
        );
        let of_kind = self.objects.entry(plural.to_owned()).or_default();
        of_kind.insert(key, object.clone());
        self.happened(plural, kind, object.clone());
        object
    }

    fn happened(&mut self, plural: &str, kind: &'static str, object: Value) {
        self.events.push(Event {
            revision: self.revision,
            plural: plural.to_owned(),
            kind,
            object,
        });
    }
}

/// What a client does not decide.
fn carry_on(object: &mut Value, before: &Value) {
    for field in ["uid", "generation", "resourceVersion", "creationTimestamp"] {
        match before["metadata"].get(field) {
            Some(value) => object["metadata"][field] = value.clone(),
            None => drop(
                object["metadata"]
                    .as_object_mut()
                    .map(|all| all.remove(field)),
            ),
        }
    }
}

/// Whether more than metadata and status is different.
fn is_other(object: &Value, before: &Value) -> bool {
    let fields = |value: &Value| -> Map<String, Value> {
        let mut fields = value.as_object().cloned().unwrap_or_default();
        fields.remove("metadata");
        fields.remove("status");
        fields
    };
    fields(object) != fields(before)
}

/// One with the status of the other.
fn with_status(mut one: Value, other: &Value) -> Value {
    if let Some(fields) = one.as_object_mut() {
        match other.get("status") {
            Some(status) => drop(fields.insert("status".to_owned(), status.clone())),
            None => drop(fields.remove("status")),
        }
    }
    one
}

/// Source: RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.remove(key)),
            value => merge(target.entry(key.clone()).or_insert(Value::Null), value),
        }
    }
}

fn not_found(asked: &Asked) -> Refusal {
    let name = asked.name.as_deref().unwrap_or_default();
    Refusal {
        code: 404,
        reason: "NotFound",
        message: format!("{} \"{name}\" not found", asked.plural),
    }
}

fn conflict(asked: &Asked) -> Refusal {
    let name = asked.name.as_deref().unwrap_or_default();
    Refusal {
        code: 409,
        reason: "Conflict",
        message: format!("{} \"{name}\": the object has been modified", asked.plural),
    }
}

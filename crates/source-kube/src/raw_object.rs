//! An object as it came, of which only the head was read.

use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// An object as it came, of which only the head was read: one that cannot be read, since it is nested too deeply say, must
/// not be in the way of the list it comes in. In what a watch tells, `type` has to stand before `object`, as all API
/// servers write it: what comes the other way round would have to be read to be kept.
#[derive(Clone, Debug)]
pub(crate) struct RawObject {
    /// What was read of its metadata.
    metadata: ObjectMeta,
    text: Box<RawValue>,
}

/// Managed fields are left out: they are nested as deeply as the object.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct WithStatus {
    #[serde(default)]
    status: Value,
}

impl RawObject {
    /// All of it, or why it cannot be read.
    pub(crate) fn fields(&self) -> Result<Map<String, Value>, serde_json::Error> {
        serde_json::from_str(self.text.get())
    }

    /// Its status, null where it has none, or why that cannot be read.
    pub(crate) fn status(&self) -> Result<Value, serde_json::Error> {
        let read = serde_json::from_str::<WithStatus>(self.text.get());
        read.map(|read| read.status)
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(from)?;
        let Head { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        Ok(Self {
            metadata: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                generation: metadata.generation,
                ..ObjectMeta::default()
            },
            text,
        })
    }
}

impl Resource for RawObject {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn group(of: &ApiResource) -> Cow<'_, str> {
        of.group.as_str().into()
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        of.version.as_str().into()
    }

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        of.kind.as_str().into()
    }

    fn api_version(of: &ApiResource) -> Cow<'_, str> {
        of.api_version.as_str().into()
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        of.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::ResourceExt;

    #[test]
    fn one_that_is_nested_too_deeply_is_known_by_its_head() {
        let depth = 5000;
        let deep = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let text = format!(
            r#"{{"metadata": {{"name": "a", "managedFields": [{{"fieldsV1": {deep}}}], "generation": 3}},
            "spec": {deep}, "status": {{"conditions": []}}}}"#
        );
        let object: RawObject = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (object.name_any().as_str(), object.metadata.generation),
            ("a", Some(3))
        );
        assert!(
            object
                .fields()
                .unwrap_err()
                .to_string()
                .contains("recursion limit")
        );
        let status = object.status().unwrap();
        assert_eq!(status, serde_json::json!({"conditions": []}));
    }
}

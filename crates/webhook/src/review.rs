//! AdmissionReview: what an API server asks, and what it is answered.
//!
//! Source: Kubernetes `admission.k8s.io/v1`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// What an API server asks. Fields that nobody here needs are left out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    /// What the answer is known by.
    pub(crate) uid: String,
    #[serde(default)]
    pub(crate) kind: GroupVersionKind,
    /// `status` and the like. Empty: the object itself.
    #[serde(default)]
    pub(crate) sub_resource: String,
    /// Empty for objects that have none.
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) operation: String,
    /// The object as it is to be. Null for DELETE.
    #[serde(default)]
    pub(crate) object: Object,
    /// The object as it is. Null for CREATE.
    #[serde(default)]
    pub(crate) old_object: Object,
}

/// An object, or why it cannot be read: API servers nest more deeply than anybody else reads.
#[derive(Debug)]
pub(crate) struct Object(pub(crate) Result<Value, String>);

impl Default for Object {
    fn default() -> Self {
        Self(Ok(Value::Null))
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(from)?;
        let read = serde_json::from_str(text.get());
        Ok(Self(read.map_err(|error| error.to_string())))
    }
}

/// The kind that is asked about.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GroupVersionKind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
}

/// Why a body is no question.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unasked {
    /// It is no JSON, or not of this form.
    #[error("the body is no AdmissionReview: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is another kind of object, or of another version.
    #[error("the body is {kind:?} of {api_version:?}, and {KIND} of {API_VERSION} is answered")]
    Other {
        /// Its version.
        api_version: String,
        /// Its kind.
        kind: String,
    },
    /// There is no request in it, or one without `uid`.
    #[error("the AdmissionReview has no request with a uid")]
    Empty,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

impl Request {
    /// Reads the body of a request.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Unasked> {
        let asked: Asked = serde_json::from_slice(body)?;
        if asked.api_version != API_VERSION || asked.kind != KIND {
            return Err(Unasked::Other {
                api_version: shortened(asked.api_version),
                kind: shortened(asked.kind),
            });
        }
        asked
            .request
            .filter(|request| !request.uid.is_empty())
            .ok_or(Unasked::Empty)
    }
}

/// What somebody else wrote, in a message.
fn shortened(text: String) -> String {
    text.chars().take(64).collect()
}

/// What becomes of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// Why it is refused. Absent: it is not.
    pub(crate) refusal: Option<String>,
    /// What who asks should know.
    pub(crate) warnings: Vec<String>,
    /// What is changed in the object. Absent: nothing.
    pub(crate) patch: Option<json_patch::Patch>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

/// What the client of the API server is told. `Invalid`, which Kubernetes' own checks say, has older versions of kubectl leave
/// out the message.
#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}

impl Answer {
    /// The body of the answer to the request of this `uid`.
    pub(crate) fn write(&self, uid: &str) -> Result<Vec<u8>, serde_json::Error> {
        let status = self.refusal.as_deref().map(|message| Status {
            code: 400,
            reason: "BadRequest",
            message,
        });
        let patch = match &self.patch {
            Some(patch) => Some(STANDARD.encode(serde_json::to_vec(patch)?)),
            None => None,
        };
        serde_json::to_vec(&Answered {
            api_version: API_VERSION,
            kind: KIND,
            response: Response {
                uid,
                allowed: status.is_none(),
                status,
                patch_type: patch.is_some().then_some("JSONPatch"),
                patch,
                warnings: &self.warnings,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<Request, Unasked> {
        Request::read(value.to_string().as_bytes())
    }

    #[test]
    fn a_question_is_read_and_what_is_not_known_passed_over() {
        let request = read(&json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "7",
                "kind": {"group": "g", "version": "v1", "kind": "K"},
                "operation": "CREATE",
                "namespace": "shop",
                "object": {"a": 1},
                "oldObject": null,
                "dryRun": true,
                "of later versions": [],
            },
        }))
        .unwrap();
        assert_eq!(
            (&*request.uid, &*request.kind.kind, &*request.namespace),
            ("7", "K", "shop")
        );
        assert_eq!(request.object.0, Ok(json!({"a": 1})));
        assert_eq!(request.old_object.0, Ok(Value::Null));
        assert!(request.sub_resource.is_empty());
    }

    #[test]
    fn what_is_no_question_is_told_apart() {
        let of = |value: Value| read(&value).unwrap_err().to_string();
        assert!(Request::read(b"{").unwrap_err().to_string().contains("EOF"));
        assert!(of(json!([])).starts_with("the body is no AdmissionReview"));
        let beta = json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"});
        assert!(of(beta).contains("admission.k8s.io/v1beta1"));
        let long = json!({"apiVersion": "x".repeat(10_000), "kind": "y"});
        assert!(of(long).len() < 300);
        for request in [json!(null), json!({"uid": ""})] {
            let review = json!({"apiVersion": API_VERSION, "kind": KIND, "request": request});
            assert!(matches!(read(&review), Err(Unasked::Empty)), "{review}");
        }
    }

    #[test]
    fn answers_are_of_the_version_that_was_asked_in() {
        let written = |answer: Answer| -> Value {
            serde_json::from_slice(&answer.write("7").unwrap()).unwrap()
        };
        assert_eq!(
            written(Answer::default()),
            json!({
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "response": {"uid": "7", "allowed": true},
            })
        );
        let refused = Answer {
            refusal: Some("why".to_owned()),
            warnings: vec!["w".to_owned()],
            patch: None,
        };
        assert_eq!(
            written(refused)["response"],
            json!({
                "uid": "7",
                "allowed": false,
                "status": {"code": 400, "reason": "BadRequest", "message": "why"},
                "warnings": ["w"],
            })
        );
        let patch = serde_json::from_value(json!([{"op": "remove", "path": "/a"}])).unwrap();
        let patched = written(Answer {
            patch: Some(patch),
            ..Answer::default()
        });
        let patch = patched["response"]["patch"].as_str().unwrap();
        assert_eq!(patched["response"]["patchType"], "JSONPatch");
        assert_eq!(
            STANDARD.decode(patch).unwrap(),
            br#"[{"op":"remove","path":"/a"}]"#
        );
    }
}

//! Header operations: what Istio's `Headers` compile to.

use http::{HeaderName, HeaderValue};
use std::borrow::Cow;

/// Removals, then `set`, then `add`, each sorted by name: the order in which Istio emits them.
///
/// Source: Istio `Headers.HeaderOperations`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderOps {
    /// Removed first, so that remove and add of one name replace it.
    pub remove: Vec<HeaderName>,
    /// Overwrites or creates.
    pub set: Vec<(HeaderName, HeaderTemplate)>,
    /// Appends one more value.
    pub add: Vec<(HeaderName, HeaderTemplate)>,
}

/// A header value, fixed or holding Envoy format operators such as `%REQ(x-user)%`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HeaderTemplate {
    /// No operator inside.
    Fixed(HeaderValue),
    /// Literal pieces and operators, in order.
    Parts(Vec<TemplatePart>),
}

/// One piece of a [`HeaderTemplate::Parts`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TemplatePart {
    /// Copied as it stands.
    Literal(String),
    /// Asked of the [`Facts`] of the request.
    Operator(Operator),
}

/// An Envoy format operator, without its percent signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operator {
    /// The operator's name: `REQ`, `PROTOCOL`, `DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT`…
    pub name: String,
    /// What stands in parentheses.
    pub argument: Option<String>,
    /// What follows as `:N`: the greatest length in bytes.
    pub limit: Option<usize>,
}

/// What operators are evaluated against. The data plane implements it.
pub trait Facts {
    /// The operator's value; `None` prints nothing, as in Envoy's header values.
    fn value(&self, operator: &Operator) -> Option<Cow<'_, str>>;
}

/// A message whose headers can be changed. The data plane implements it, so that header case is kept.
pub trait HeaderTarget {
    /// Replaces every value of `name`.
    fn set(&mut self, name: &HeaderName, value: HeaderValue);
    /// Adds one more value.
    fn append(&mut self, name: &HeaderName, value: HeaderValue);
    /// Removes every value.
    fn remove(&mut self, name: &HeaderName);
}

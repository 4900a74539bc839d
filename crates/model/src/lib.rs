//! Istio and Kubernetes resources: parsed from YAML or JSON, checked, and located.
//!
//! A resource that exists is valid. What could not be read is a [`Diagnostic`] with the object, the field
//! path, and the file, line and column where it stands. This crate opens no file and knows no clock; it
//! does not relate resources to each other, which is what `rules` does.

mod arc_map;
mod decode;
mod diagnostic;
pub mod labels;
mod limits;
mod not_honoured;
mod parse;
mod resources;
mod value;
mod yaml;

pub use arc_map::{ArcMap, Difference};
pub use diagnostic::*;
pub use ipnet::IpNet;
pub use limits::Limits;
pub use parse::{Defaults, Outcome, Parsed, ParsedObject, json_as_yaml, parse, parse_bytes};
pub use resources::*;
pub use value::*;

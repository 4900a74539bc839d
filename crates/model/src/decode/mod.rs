//! Trees to resources. Every problem of an object is reported, not only the first.

mod cursor;
mod fields;
mod suggest;
mod values;

mod consistent_hash;
mod destination_rule;
mod envelope;
mod gateway;
mod kubernetes;
mod load_balancer;
mod locality;
mod security;
mod service_entry;
mod sidecar;
mod tls;
mod traffic_policy;
mod virtual_service;
mod workload;

pub(crate) use cursor::{Context, Cursor};
pub(crate) use envelope::{Envelope, Identity, decode, is_cluster_wide, is_known};
pub(crate) use fields::Fields;

//! Answers a Kubernetes API server that asks before it stores something: `gateway webhook`.
//!
//! [`Server`] is an HTTPS server that reads AdmissionReviews. At `/validate` Istio's resources are checked as the gateway
//! checks them; at `/inject` pods get their sidecar as `mesh-agent inject` adds it. Every replica answers everything: they
//! share nothing but a Secret with certificates.
//!
//! [`Keeping`] makes those certificates, replaces them in time, and tells the API server whom to trust. What the API
//! server has been told verifies what any replica shows, whatever else is going on; the tests simulate years of it.
//!
//! Which objects are asked about, and what becomes of them when nobody answers, webhook configurations say, which this
//! crate writes nothing else of. It knows no other objects: what refers to something is not wrong because that is missing.

mod cluster;
mod keeper;
mod keeping;
mod keys;
mod limits;
mod pods;
mod review;
mod reviewer;
mod rotation;
mod server;
mod telling;
mod validate;

pub use cluster::Places;
pub use keeping::{Keeping, server_names};
pub use reviewer::{NoReviewer, Reviewer};
pub use server::{Server, Shown};

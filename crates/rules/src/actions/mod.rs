//! What actions do to messages: pure functions, one subject a file.

mod cors;
mod effective;
mod fault;
mod grpc;
mod operations;
mod pause;
mod redirect;
mod retry;
mod rewrite;
mod substitution;
mod template;

pub use effective::EffectiveOps;
pub use grpc::{grpc_status_for, http_status_for};
pub use operations::HeadFacts;
pub use pause::retry_after;
pub use retry::{AttemptFailure, InvalidRetryOn};
pub use substitution::{InvalidSubstitution, substitution};
pub use template::{InvalidTemplate, KNOWN_OPERATORS};

pub(crate) use cors::{preflight, response_headers};
pub(crate) use operations::answer_headers;
pub(crate) use redirect::location_value;

//! Why the API server does not do what it is asked.

use kube::core::Status;
use std::error::Error;

/// What the API server says, or what is at the bottom of why it says nothing.
pub(crate) fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => reason_of(Some(status), error),
        _ => reason_of(None, error),
    }
}

/// The same where the status is to be found elsewhere.
pub(crate) fn reason_of(status: Option<&Status>, error: &dyn Error) -> String {
    if let Some(status) = status {
        return match status.message.is_empty() {
            true => format!("the API server answers {}", status.code),
            false => status.message.clone(),
        };
    }
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    format!("the API server cannot be asked: {error}")
}

/// What the API server answered. Absent: it did not.
pub(crate) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

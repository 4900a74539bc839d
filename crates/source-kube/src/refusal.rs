//! Why the API server does not do what it is asked.

use std::error::Error;

/// What the API server says, or what is at the bottom of why it says nothing.
pub(crate) fn reason(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return match status.message.is_empty() {
            true => format!("the API server answers {}", status.code),
            false => status.message.clone(),
        };
    }
    let mut error: &dyn Error = error;
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

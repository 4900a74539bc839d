//! One request to the API server, and what can become of it.

use crate::refusal::reason;
use kube::Error;
use std::time::Duration;
use tokio::time::timeout;

/// How long an answer may take. What is read and written here is small.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why something cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(String);

/// Why something was not written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unwritten {
    /// Somebody else has written it since it was read, or made it, or taken it away. Whoever wants to write it reads it again.
    #[error("it was written by somebody else meanwhile")]
    Conflict,
    /// For another reason.
    #[error(transparent)]
    Failed(#[from] Unanswered),
}

/// The answer to something that is read.
pub(crate) async fn asked<T>(
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Unanswered> {
    match timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|error| unanswered(&error)),
        Err(_) => Err(Unanswered(
            "the API server does not answer in time".to_owned(),
        )),
    }
}

/// The answer to something that is written.
pub(crate) async fn written<T>(
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<(), Unwritten> {
    let answer = async {
        match answer.await {
            // One that is replaced, and has gone since it was read, is not found.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => {
                Ok(Err(Unwritten::Conflict))
            }
            answer => answer.map(|_| Ok(())),
        }
    };
    asked(answer).await?
}

fn unanswered(error: &Error) -> Unanswered {
    Unanswered(reason(error))
}

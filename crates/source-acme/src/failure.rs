//! What can go wrong with an order, and what an operator can do about it.

use crate::ChallengeKind;
use crate::client::{AuthoritiesError, RequestError};
use crate::schedule::FailureKind;
use crate::storage::StorageError;
use certificates::InvalidCredential;
use instant_acme::{Error, Problem};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No answer from the server, or one that makes no sense.
    #[error(transparent)]
    Server(#[from] Error),
    /// The server could not see that a name leads here.
    #[error("the ACME server could not validate {name} with {challenge}")]
    NotAuthorized {
        name: String,
        challenge: ChallengeKind,
        #[source]
        problem: Problem,
    },
    /// The server gave the order up without saying why.
    #[error("the ACME server gave the order up")]
    Abandoned,
    /// The server offers other kinds of challenge only.
    #[error("the ACME server offers neither http-01 nor tls-alpn-01 for {0}")]
    NoChallenge(String),
    /// Nobody answers challenges here.
    #[error("the {challenge} challenge of {name} cannot be answered: too many are pending")]
    NotPublished {
        name: String,
        challenge: ChallengeKind,
    },
    /// Other replicas do not answer challenges.
    #[error("the challenges cannot be made known to the other replicas")]
    NotShared,
    /// The order as a whole took too long.
    #[error("the order was not complete within {0}s")]
    TimedOut(u64),
    /// What was asked for could not be put into bytes.
    #[error("the certificate signing request cannot be made")]
    Request(#[from] rcgen::Error),
    /// What came is no certificate for the key.
    #[error("the certificate that came cannot be used")]
    Unusable(#[from] InvalidCredential),
    /// What came is for other names.
    #[error("the certificate that came is for {0}")]
    OtherNames(String),
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What would come could not be stored, and was not asked for.
    #[error("nothing is asked of the ACME server as long as it could not be stored")]
    Unwritable(#[source] StorageError),
    /// A certificate came, and is kept until it can be stored.
    #[error("the certificate that came cannot be stored")]
    Unstored(#[source] StorageError),
    /// The attempt panicked.
    #[error("the attempt ended with a bug")]
    Bug,
    /// The server cannot be verified.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// The key of the external account.
    #[error("the external account's key {} cannot be read", file.display())]
    ExternalAccount {
        file: PathBuf,
        #[source]
        error: io::Error,
    },
}

impl Failure {
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Server(error) if request_error(error).is_some() => FailureKind::Unreachable,
            // Bad luck, or a server that was just started: nothing that it counts.
            Self::Server(_) if self.is_problem("badNonce") => FailureKind::Unreachable,
            // Nothing is asked of the server before there is room, nor again for what it gave.
            Self::Unwritable(_) | Self::Unstored(_) | Self::NotShared => FailureKind::Unreachable,
            // An account that cannot be stored was counted all the same: `Storage` is no such case.
            Self::Authorities(_) | Self::ExternalAccount { .. } => FailureKind::Unreachable,
            _ => FailureKind::Refused,
        }
    }

    /// What the server says is wrong.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Server(Error::Api(problem)) | Self::NotAuthorized { problem, .. } => {
                Some(problem)
            }
            _ => None,
        }
    }

    /// Whether the server says that it is of this type: `rateLimited`.
    pub(crate) fn is_problem(&self, name: &str) -> bool {
        self.problem()
            .is_some_and(|problem| kind_of(problem) == name)
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::NotAuthorized {
                challenge, problem, ..
            } => of_validation(*challenge, kind_of(problem)),
            Self::Server(Error::Api(problem)) => of_problem(kind_of(problem)),
            Self::Server(error) if request_error(error).is_some() => {
                "check [acme] directory and ca-certificate, and the way to the server"
            }
            Self::NoChallenge(_) => "use another ACME server for this name",
            Self::Authorities(_) => "check [acme] ca-certificate",
            Self::ExternalAccount { .. } => "check [acme] external-account",
            Self::Storage(_) | Self::Unwritable(_) | Self::Unstored(_) => {
                "check [acme] storage, its permissions and the space on its disk"
            }
            Self::Bug => "report it, with what the log says before",
            Self::Unusable(_) => "check this machine's clock",
            _ => "nothing, unless it goes on",
        }
    }
}

/// Why there was no answer, if that is what happened.
pub(crate) fn request_error(error: &Error) -> Option<&RequestError> {
    match error {
        Error::Other(other) => other.downcast_ref(),
        _ => None,
    }
}

/// The last part of `urn:ietf:params:acme:error:rateLimited`.
fn kind_of(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix("urn:ietf:params:acme:error:")
        .unwrap_or(kind)
}

fn of_validation(challenge: ChallengeKind, problem: &str) -> &'static str {
    match (problem, challenge) {
        ("dns", _) => "make a DNS record of the name that leads to this gateway",
        ("caa", _) => "allow this ACME server in the name's CAA record",
        (_, ChallengeKind::Http01) => {
            "check that the name's DNS record leads to this gateway, and port 80 of it to a Gateway server of \
             protocol HTTP"
        }
        (_, ChallengeKind::TlsAlpn01) => {
            "check that the name's DNS record leads to this gateway, and port 443 of it to a Gateway server of \
             protocol HTTPS, with TLS passed on as it is"
        }
    }
}

fn of_problem(problem: &str) -> &'static str {
    match problem {
        "rateLimited" => "wait; try out changes at the server's staging directory",
        "externalAccountRequired" => {
            "get a key from the server's operator for [acme] external-account"
        }
        "invalidContact" | "unsupportedContact" => "check [acme] contact",
        "rejectedIdentifier" | "malformed" => "check the names in [acme] credentials",
        "caa" => "allow this ACME server in the name's CAA record",
        "userActionRequired" => "agree to the server's new terms, where its answer says",
        "unauthorized" => {
            "check that the account is still allowed; remove it from account.json for a new one"
        }
        _ => "nothing, unless it goes on",
    }
}

/// An error with all its causes on one line.
pub(crate) struct Chain<'e>(pub(crate) &'e (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut error = self.0.source();
        while let Some(cause) = error {
            write!(f, ": {cause}")?;
            error = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str) -> Problem {
        Problem {
            r#type: Some(format!("urn:ietf:params:acme:error:{kind}")),
            detail: Some("no".into()),
            status: None,
            subproblems: Vec::new(),
        }
    }

    fn full() -> StorageError {
        StorageError::Write("acme".into(), io::ErrorKind::StorageFull.into())
    }

    #[test]
    fn what_the_server_did_not_hear_of_is_tried_again_soon() {
        let unreachable = Error::Other(Box::new(RequestError::Timeout));
        let cases = [
            (Failure::Server(unreachable), FailureKind::Unreachable),
            (
                Failure::Server(Error::Api(problem("rateLimited"))),
                FailureKind::Refused,
            ),
            (
                Failure::Server(Error::Api(problem("badNonce"))),
                FailureKind::Unreachable,
            ),
            (Failure::Abandoned, FailureKind::Refused),
            (Failure::Server(Error::Crypto), FailureKind::Refused),
            (Failure::Bug, FailureKind::Refused),
            (full().into(), FailureKind::Refused),
            (Failure::Unwritable(full()), FailureKind::Unreachable),
            (Failure::Unstored(full()), FailureKind::Unreachable),
        ];
        for (failure, want) in cases {
            assert_eq!(failure.kind(), want, "{failure}");
        }
    }

    #[test]
    fn a_failed_validation_says_everything_on_one_line_and_what_to_do() {
        let failure = Failure::NotAuthorized {
            name: "shop.test".into(),
            challenge: ChallengeKind::Http01,
            problem: problem("connection"),
        };
        assert_eq!(
            Chain(&failure).to_string(),
            "the ACME server could not validate shop.test with http-01: API error: no \
             (urn:ietf:params:acme:error:connection)"
        );
        assert!(failure.advice().contains("port 80"));
        assert!(failure.is_problem("connection"));
    }
}

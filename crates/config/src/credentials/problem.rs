//! What is wrong with a credential, and how that is told.

use certificates::{SpiffeId, TrustDomain};
use model::{Diagnostic, Origin, Severity};
use rules::CredentialRef;
use std::path::PathBuf;

/// What keeps what lies there from being served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Problem {
    /// The files were not read yet, which is nobody's fault.
    NotTold,
    /// It is nowhere.
    Missing {
        /// Where it could be.
        places: Vec<String>,
        /// Whether it is ordered, and will come by itself.
        is_ordered: bool,
    },
    /// Nothing says where the proxy's identity comes from.
    NoIdentity,
    /// Who tells the identity has none, or none that is newer.
    Unavailable {
        /// Who tells it.
        source: String,
        /// Why, after that name.
        reason: String,
    },
    /// It is a good identity of another form than Istio's.
    OtherForm {
        /// Where it was read.
        source: String,
        /// The identity.
        id: SpiffeId,
    },
    /// Authorities of another trust domain are no good. The others count.
    Federated {
        /// Of which domain.
        domain: TrustDomain,
        /// Where they were read.
        source: String,
        /// What is wrong.
        reason: String,
    },
    /// One part of it is there and another is not.
    Incomplete {
        /// The Secret or the folder.
        place: String,
        /// What it lacks.
        lacks: &'static str,
    },
    /// A part of it is there, with nothing in it: perhaps it is being written, perhaps the disk was full.
    Empty {
        /// The file, or the entry of a Secret.
        entry: String,
    },
    /// What is wrong is with the list of revocations. Without it nobody could tell whose certificates count.
    Revocations(Box<Self>),
    /// The list of revocations that counts was taken away. What it revoked would be trusted again.
    RevocationsGone {
        /// Where the list was.
        list: String,
    },
    /// The list of revocations counts, and was to be followed by a newer one.
    Lapsed {
        /// Where it was read.
        list: String,
        /// Since when.
        reason: String,
    },
    /// A file is there and cannot be read.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Others than its owner can read the key.
    OpenKey {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It was read, and is no good.
    Invalid {
        /// Where it was read.
        source: String,
        /// What is wrong.
        reason: String,
    },
    /// It is good, and its time is over or has not come.
    OutOfTime {
        /// Where it was read.
        source: String,
        /// Which of the two.
        reason: String,
    },
    /// There are too many.
    TooMany(usize),
}

/// What becomes of handshakes meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Meanwhile {
    /// What was good before is served.
    LastGood,
    /// What is wrong is served, since nothing better is there.
    Itself,
    /// Nothing is.
    Nothing,
}

impl Problem {
    /// The same of a list of revocations. That nothing was read yet stays what it is: no problem.
    pub(super) fn of_revocations(self) -> Self {
        match self {
            Self::NotTold => Self::NotTold,
            problem => Self::Revocations(Box::new(problem)),
        }
    }

    /// Whether it is told where the revocations are named.
    pub(super) fn is_of_revocations(&self) -> bool {
        matches!(
            self,
            Self::Revocations(_) | Self::RevocationsGone { .. } | Self::Lapsed { .. }
        )
    }

    /// Whether it may be a moment of a change: of two files that are replaced, one is first.
    pub(super) fn may_pass(&self) -> bool {
        !matches!(
            self,
            Self::OutOfTime { .. } | Self::Lapsed { .. } | Self::TooMany(_)
        )
    }

    /// A warning where somebody who is not at fault may be about to bring it, and where nothing is refused.
    fn severity(&self) -> Severity {
        match self {
            Self::Missing { .. }
            | Self::NoIdentity
            | Self::NotTold
            | Self::Unavailable { .. }
            | Self::OtherForm { .. }
            | Self::Lapsed { .. } => Severity::Warning,
            _ => Severity::Error,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotTold => "unread_certificate",
            Self::Missing { .. } | Self::NoIdentity => "missing_certificate",
            Self::Unavailable { .. } => "unavailable_identity",
            Self::OtherForm { .. } => "identity_of_other_form",
            Self::Federated { .. } => "invalid_federated_authorities",
            Self::Incomplete { .. } | Self::Empty { .. } => "incomplete_certificate",
            Self::Revocations(problem) => problem.code(),
            Self::RevocationsGone { .. } => "revocations_gone",
            Self::Lapsed { .. } => "revocations_out_of_time",
            Self::Unreadable { .. } => "unreadable_certificate",
            Self::OpenKey { .. } => "readable_key",
            Self::Invalid { .. } => "invalid_certificate",
            Self::OutOfTime { .. } => "certificate_out_of_time",
            Self::TooMany(_) => "too_many_certificates",
        }
    }

    /// What is wrong, after the name of what it is wrong with.
    fn text(&self) -> String {
        match self {
            Self::NotTold => "was not read yet".to_owned(),
            Self::Missing { places, .. } => format!("is missing, there is no {}", either(places)),
            Self::NoIdentity => {
                "is missing, the bootstrap file names neither `identity` nor `workload-api` in `[tls]`"
                    .to_owned()
            }
            Self::Unavailable { source, reason } => format!("is not to be had, {source} {reason}"),
            Self::OtherForm { source, id } => format!(
                "is {id}, and not spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT as Istio's are ({source})"
            ),
            Self::Federated {
                domain,
                source,
                reason,
            } => format!("lack those of the trust domain {domain}, {reason} ({source})"),
            Self::Incomplete { place, lacks } => format!("is incomplete, {place} has no {lacks}"),
            Self::Empty { entry } => format!("is unusable, {entry} is empty"),
            Self::Revocations(problem) => match &**problem {
                problem @ Self::Invalid { .. } => problem.text(),
                problem => format!("is refused, its list of revocations {}", problem.text()),
            },
            Self::RevocationsGone { list } => format!(
                "is refused, its list of revocations {list} is gone, and without it what was revoked would be trusted again"
            ),
            Self::Lapsed { list, reason } => {
                format!("has a list of revocations that is out of date, {reason} ({list})")
            }
            Self::Unreadable { file, reason } => {
                format!("cannot be read: {} {reason}", file.display())
            }
            Self::OpenKey { file, mode } => format!(
                "is refused, others than its owner can read the key {} (mode {:04o})",
                file.display(),
                mode & 0o7777
            ),
            Self::Invalid { source, reason } => format!("is refused, {reason} ({source})"),
            Self::OutOfTime { source, reason } => {
                format!("is out of its time, {reason} ({source})")
            }
            Self::TooMany(most) => format!("is one too many, at most {most} are read"),
        }
    }

    fn help(&self) -> String {
        match self {
            Self::NotTold => "wait a moment".to_owned(),
            Self::Missing {
                is_ordered: true, ..
            } => "it is ordered, and comes by itself unless the log says otherwise".to_owned(),
            Self::Missing { .. } => "put it there; it is taken up at once".to_owned(),
            Self::NoIdentity => {
                "name the folder that holds cert-chain.pem, key.pem and root-cert.pem, or tls.crt, \
                 tls.key and ca.crt, or the socket of the SPIFFE Workload API"
                    .to_owned()
            }
            Self::Unavailable { .. } => {
                "see that it runs and issues an identity to this process".to_owned()
            }
            Self::OtherForm { .. } => {
                "have it issued with namespace and service account, or expect no rule that names \
                 these to match it"
                    .to_owned()
            }
            Self::Federated { .. } => "have them issued anew".to_owned(),
            Self::Incomplete { lacks, .. } => format!("add {lacks}"),
            Self::Empty { .. } => "put its content there".to_owned(),
            Self::Revocations(problem) => problem.help(),
            Self::RevocationsGone { .. } => {
                "put the list back (a restart without it lifts the revocations)".to_owned()
            }
            Self::Lapsed { .. } => "replace it with the authority's newest list".to_owned(),
            Self::Unreadable { .. } => "let the user that this process runs as read it".to_owned(),
            Self::OpenKey { file, .. } => format!(
                "`chmod 600 {}`, or set `allow-readable-keys = true` in `[tls]`",
                file.display()
            ),
            Self::Invalid { .. } => "replace it with one that is good".to_owned(),
            Self::OutOfTime { .. } => "renew it".to_owned(),
            Self::TooMany(_) => "let servers and clusters share certificates".to_owned(),
        }
    }

    /// The diagnostic at the field that names it.
    pub(super) fn told(
        &self,
        reference: &CredentialRef,
        place: &Origin,
        meanwhile: Meanwhile,
    ) -> Diagnostic {
        let meanwhile = match meanwhile {
            Meanwhile::LastGood => "until then the last good one stays",
            Meanwhile::Itself if self.is_of_revocations() => "until then it goes on counting",
            Meanwhile::Itself if matches!(self, Self::Federated { .. }) => {
                "until then nobody of that domain is trusted"
            }
            Meanwhile::Itself => "until then it is served all the same",
            Meanwhile::Nothing => "until then handshakes that need it fail",
        };
        Diagnostic {
            severity: self.severity(),
            code: self.code(),
            resource: Some(place.resource.clone()),
            path: place.path.clone(),
            message: self.message(reference),
            help: Some(format!("{}; {meanwhile}", self.help())),
            position: place.position.clone(),
        }
    }

    /// One line.
    pub(super) fn message(&self, reference: &CredentialRef) -> String {
        format!("{reference}: {}", self.text())
    }
}

fn either(places: &[String]) -> String {
    match places {
        [] => "place for it".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

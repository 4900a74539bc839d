//! PeerAuthentications and AuthorizationPolicies as users write them, and whether what is compiled of them decides
//! as a slow reference does.

#![expect(
    clippy::unwrap_used,
    reason = "a case that cannot be read must stop the test"
)]

mod agreement;
mod generated;
mod golden;
mod reference;

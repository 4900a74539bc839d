//! PeerAuthentication and AuthorizationPolicy.

mod authorization_policy;
mod condition;
mod operation;
mod peer_authentication;
mod selection;
mod source;
mod values;

pub(super) use authorization_policy::authorization_policy;
pub(super) use peer_authentication::peer_authentication;

//! Who asks: `from[].source`.

use super::values::{
    Pair, check_accounts, has_any, name, pair, principal, service_account, value, warn_of_token,
};
use crate::decode::{Cursor, Fields};
use crate::{AuthorizationAction, Source};

const PRINCIPALS: Pair = ("principals", "notPrincipals");
const REQUEST_PRINCIPALS: Pair = ("requestPrincipals", "notRequestPrincipals");
const NAMESPACES: Pair = ("namespaces", "notNamespaces");
const SERVICE_ACCOUNTS: Pair = ("serviceAccounts", "notServiceAccounts");
const TRUST_DOMAINS: Pair = ("trustDomains", "notTrustDomains");
const IP_BLOCKS: Pair = ("ipBlocks", "notIpBlocks");
const REMOTE_IP_BLOCKS: Pair = ("remoteIpBlocks", "notRemoteIpBlocks");

const ALL: &[Pair] = &[
    PRINCIPALS,
    REQUEST_PRINCIPALS,
    NAMESPACES,
    SERVICE_ACCOUNTS,
    TRUST_DOMAINS,
    IP_BLOCKS,
    REMOTE_IP_BLOCKS,
];

/// An item of `from`.
pub(super) fn from(cursor: &Cursor<'_>, action: AuthorizationAction) -> Option<Source> {
    cursor.object(|fields| {
        let cursor = fields.required("source")?;
        cursor.object(|fields| Some(source(fields, action)))
    })
}

fn source(fields: &Fields<'_>, action: AuthorizationAction) -> Source {
    if !has_any(fields, ALL) {
        fields
            .cursor
            .error("missing_field", "a source must have at least one field")
            .help("leave out \"from\" for any source");
    }
    if has_any(fields, &[SERVICE_ACCOUNTS]) && has_any(fields, &[PRINCIPALS, NAMESPACES]) {
        fields
            .cursor
            .error(
                "exclusive_fields",
                "service accounts exclude principals and namespaces",
            )
            .help("write several sources");
    }
    check_accounts(fields, SERVICE_ACCOUNTS);
    warn_of_token(fields, REQUEST_PRINCIPALS, action);
    Source {
        at: fields.at(),
        principals: pair(fields, PRINCIPALS, principal),
        request_principals: pair(fields, REQUEST_PRINCIPALS, value),
        namespaces: pair(fields, NAMESPACES, name),
        service_accounts: pair(fields, SERVICE_ACCOUNTS, service_account),
        trust_domains: pair(fields, TRUST_DOMAINS, name),
        ip_blocks: pair(fields, IP_BLOCKS, |cursor| cursor.network()),
        remote_ip_blocks: pair(fields, REMOTE_IP_BLOCKS, |cursor| cursor.network()),
    }
}

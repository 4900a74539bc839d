//! Answers that are made here.

use crate::query::Query;
use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Message, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::IpAddr;

/// How long an answer counts, in seconds: endpoints come and go.
///
/// Source: Istio's DNS proxy.
pub(crate) const TTL: u32 = 30;

/// More addresses are left out of one answer; who asks again is told others.
const MAX_ADDRESSES: usize = 1024;

/// No record of an address is longer, as its name was written before.
const LONGEST_RECORD: usize = 28;

/// What is said about the length of queries, as that of answers.
const MAX_PAYLOAD: u16 = 1232;

/// An answer to a query, with nothing in it yet.
pub(crate) fn reply(query: &Query, code: ResponseCode) -> Message {
    let mut metadata = Metadata::response_from_request(&query.metadata);
    metadata.response_code = code;
    metadata.recursion_available = true;
    let mut message = Message::response(metadata.id, metadata.op_code);
    message.metadata = metadata;
    message.add_query(query.question.clone());
    message.edns = query.edns.as_ref().map(own_edns);
    message
}

/// An answer that is known here.
pub(crate) fn known(query: &Query, answers: Vec<Record>) -> Message {
    let mut message = reply(query, ResponseCode::NoError);
    message.metadata.authoritative = true;
    message.answers = answers;
    message
}

/// Version 0 with no options. That DNSSEC is wanted is repeated, RFC 3225, section 3.
fn own_edns(asked: &Edns) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_PAYLOAD);
    edns.set_dnssec_ok(asked.flags().dnssec_ok);
    edns
}

/// Those of the kind that is asked for. The first of them is where `turn` is in the whole of its numbers.
pub(crate) fn addresses(
    name: &Name,
    wanted: RecordType,
    mut addresses: Vec<IpAddr>,
    turn: u64,
) -> Vec<Record> {
    addresses.retain(|address| match wanted {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        _ => true,
    });
    // Less than there are, as `turn` is less than 2^64.
    let first = (u128::from(turn) * addresses.len() as u128) >> 64;
    addresses.rotate_left(first as usize);
    let data = addresses.into_iter().map(|address| match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    });
    data.take(MAX_ADDRESSES)
        .map(|data| Record::from_rdata(name.clone(), TTL, data))
        .collect()
}

pub(crate) fn alias(name: &Name, target: &Name) -> Record {
    Record::from_rdata(name.clone(), TTL, RData::CNAME(CNAME(target.clone())))
}

pub(crate) fn pointer(name: &Name, target: &Name) -> Record {
    Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target.clone())))
}

/// A name that ends at the root.
pub(crate) fn absolute(text: &str) -> Result<Name, ProtoError> {
    let mut name = Name::from_ascii(text)?;
    name.set_fqdn(true);
    Ok(name)
}

/// A message as bytes.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// Whether something was left out.
    pub(crate) is_cut: bool,
}

/// Encodes as much as `limit` lets through: some resolvers do not come again over TCP, and make do with what they get.
pub(crate) fn encode(mut message: Message, limit: usize) -> Result<Encoded, ProtoError> {
    let mut is_cut = false;
    loop {
        let bytes = message.to_vec()?;
        let too_long = bytes.len().saturating_sub(limit);
        if too_long == 0 || (is_cut && message.answers.is_empty()) {
            return Ok(Encoded { bytes, is_cut });
        }
        is_cut = true;
        message.metadata.truncation = true;
        message.authorities.clear();
        message.additionals.clear();
        let fewer = too_long.div_ceil(LONGEST_RECORD);
        let rest = message.answers.len().saturating_sub(fewer);
        message.answers.truncate(rest);
    }
}

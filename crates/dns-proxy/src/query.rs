//! A query, read as far as it must be to answer it.

use crate::message::{MAX_MESSAGE, MIN_LIMIT, Raw};
use hickory_proto::op::{Edns, Message, Metadata, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::RecordType;

/// What carries a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// A query with one question.
#[derive(Debug)]
pub(crate) struct Query {
    /// As it came.
    pub(crate) packet: Vec<u8>,
    pub(crate) metadata: Metadata,
    pub(crate) question: Question,
    /// Lower case, without a trailing dot. Empty for the root.
    pub(crate) name: String,
    pub(crate) edns: Option<Edns>,
    /// How long its answer may be.
    pub(crate) limit: usize,
}

/// What is no query that can be answered.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Unusable {
    /// It is not even worth a word: an answer could be sent in a circle.
    Garbage,
    /// This is the answer.
    Refused(Vec<u8>),
}

impl Query {
    pub(crate) fn read(packet: &[u8], over: Transport) -> Result<Self, Unusable> {
        let raw = Raw::new(packet).filter(|raw| !raw.is_response());
        let raw = raw.ok_or(Unusable::Garbage)?;
        let refused = |code: ResponseCode| Unusable::Refused(raw.refused(code.low()));
        if raw.op_code() != u8::from(OpCode::Query) {
            return Err(refused(ResponseCode::NotImp));
        }
        // Others would take room for as many as are announced.
        if raw.question_count() != 1 {
            return Err(refused(ResponseCode::FormErr));
        }
        let message = Message::from_vec(packet).map_err(|_| refused(ResponseCode::FormErr))?;
        let [question] = message.queries.as_slice() else {
            return Err(refused(ResponseCode::FormErr));
        };
        // A zone comes in many messages.
        if matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR) {
            return Err(refused(ResponseCode::Refused));
        }
        let name = question.name().to_lowercase().to_ascii();
        Ok(Self {
            packet: packet.to_vec(),
            metadata: message.metadata,
            question: question.clone(),
            name: name.strip_suffix('.').unwrap_or(&name).to_owned(),
            limit: match over {
                Transport::Tcp => MAX_MESSAGE,
                Transport::Udp => limit(message.edns.as_ref()),
            },
            edns: message.edns,
        })
    }
}

/// How long an answer may be over UDP.
fn limit(edns: Option<&Edns>) -> usize {
    let said = edns.map_or(MIN_LIMIT, |edns| usize::from(edns.max_payload()));
    said.max(MIN_LIMIT)
}

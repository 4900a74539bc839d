//! A query that others are asked.

use crate::message::{MAX_MESSAGE, Raw};
use crate::query::Query;
use crate::reply::known;
use hickory_proto::ProtoError;
use hickory_proto::op::{Message, Query as Question, ResponseCode};
use hickory_proto::rr::{Name, Record};
use tokio::sync::OwnedSemaphorePermit;

/// A query that others are asked.
pub(crate) struct Errand {
    pub(crate) query: Query,
    /// What is known of the name: that it is another name.
    pub(crate) aliases: Vec<Record>,
    /// The name that is asked for. Absent: that of the query, which is asked on as it is.
    pub(crate) target: Option<Name>,
    /// Whether the name is known here, whatever others say.
    pub(crate) is_known: bool,
    /// Its place among those that are asked on at a time.
    pub(crate) _turn: OwnedSemaphorePermit,
}

impl Errand {
    /// What others are asked.
    ///
    /// # Errors
    /// When the target does not fit into a message.
    pub(crate) fn packet(&self) -> Result<Vec<u8>, ProtoError> {
        let Some(target) = &self.target else {
            return Ok(self.query.packet.clone());
        };
        let Query {
            metadata, question, ..
        } = &self.query;
        let mut asked = Question::query(target.clone(), question.query_type());
        asked.set_query_class(question.query_class());
        let mut message = Message::query();
        message.metadata.recursion_desired = metadata.recursion_desired;
        message.metadata.checking_disabled = metadata.checking_disabled;
        message.add_query(asked);
        message.edns.clone_from(&self.query.edns);
        message.to_vec()
    }

    /// How long the answer of others may be. Where it becomes a part of another, that is made to fit.
    pub(crate) fn limit(&self) -> usize {
        match self.target {
            None => self.query.limit,
            Some(_) => MAX_MESSAGE,
        }
    }

    /// Whether the answer of others is the answer, but for its number.
    pub(crate) fn is_as_it_came(&self, answer: &[u8]) -> bool {
        let raw = Raw::new(answer);
        let denies = raw.is_some_and(|raw| raw.response_code() == ResponseCode::NXDomain.low());
        self.target.is_none() && !(self.is_known && denies)
    }

    /// What is known here, and then what others know.
    ///
    /// # Errors
    /// When their answer cannot be read.
    pub(crate) fn merged(&self, answer: &[u8]) -> Result<Message, ProtoError> {
        let theirs = Message::from_vec(answer)?;
        let code = theirs.metadata.response_code;
        let mut merged = known(&self.query, self.aliases.clone());
        // A name that has addresses here is one, and has nothing else.
        if !(self.is_known && code == ResponseCode::NXDomain) {
            merged.metadata.response_code = code;
            merged.metadata.truncation = theirs.metadata.truncation;
            merged.answers.extend(theirs.answers);
            merged.authorities = theirs.authorities;
        }
        Ok(merged)
    }
}

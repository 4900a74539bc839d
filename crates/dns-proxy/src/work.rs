//! What becomes of a query.

use crate::chain::{Chain, End, name_of_address};
use crate::errand::Errand;
use crate::message::{Raw, set_id};
use crate::names::{Names, PublishedNames};
use crate::query::{Query, Transport, Unusable};
use crate::reply::{addresses, encode, known, reply};
use crate::resolv::ResolvConf;
use crate::settings::{BeforeNames, Settings};
use crate::stats::{Counters, count};
use crate::upstream::Asking;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Where queries are answered.
pub(crate) struct Desk {
    pub(crate) settings: Settings,
    pub(crate) counters: Arc<Counters>,
    pub(crate) resolv: ResolvConf,
    names: PublishedNames,
    /// One for each query that others are asked.
    turns: Arc<Semaphore>,
    /// How many answers there were, which says what address is the first of the next.
    answers: AtomicU64,
}

/// What becomes of a query.
pub(crate) enum Step {
    /// Nothing.
    Silence,
    /// This is the answer.
    Reply(Vec<u8>),
    /// Others are to be asked.
    Ask(Box<Errand>),
}

impl Desk {
    pub(crate) fn new(
        settings: Settings,
        names: PublishedNames,
        resolv: ResolvConf,
        counters: Arc<Counters>,
    ) -> Self {
        let turns = settings.max_in_flight.min(Semaphore::MAX_PERMITS);
        Self {
            turns: Arc::new(Semaphore::new(turns)),
            settings,
            counters,
            resolv,
            names,
            answers: AtomicU64::new(0),
        }
    }

    /// Answers a query, or says that others are to be asked.
    pub(crate) fn step(&self, packet: &[u8], over: Transport) -> Step {
        count(&self.counters.queries);
        let query = match Query::read(packet, over) {
            Ok(query) => query,
            Err(unusable) => {
                count(&self.counters.malformed);
                return match unusable {
                    Unusable::Garbage => Step::Silence,
                    Unusable::Refused(reply) => Step::Reply(reply),
                };
            }
        };
        if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            count(&self.counters.malformed);
            return self.fail(&query, ResponseCode::BADVERS);
        }
        let names = self.names.borrow().clone();
        match (names, self.settings.before_names) {
            (Some(names), _) => self.look_up(query, &*names),
            (None, BeforeNames::Forward) => self.ask_on(query),
            (None, BeforeNames::Fail) => {
                count(&self.counters.early);
                self.fail(&query, ResponseCode::ServFail)
            }
        }
    }

    fn look_up(&self, query: Query, names: &dyn Names) -> Step {
        if query.question.query_class() != DNSClass::IN {
            return self.ask_on(query);
        }
        if query.question.query_type() == RecordType::PTR
            && let Some(record) = name_of_address(&query, names)
        {
            return self.known(&query, vec![record]);
        }
        let upstreams = self.resolv.current();
        match Chain::of(&query, names, upstreams.search.as_deref()) {
            Some(chain) => self.answer(query, chain),
            None => self.ask_on(query),
        }
    }

    fn answer(&self, query: Query, Chain { mut aliases, end }: Chain) -> Step {
        let wanted = query.question.query_type();
        if wanted == RecordType::CNAME && !aliases.is_empty() {
            aliases.truncate(1);
            return self.known(&query, aliases);
        }
        match (end, wanted) {
            (End::Nowhere, _) => self.fail(&query, ResponseCode::ServFail),
            (End::Elsewhere(target), _) => self.ask(query, aliases, Some(target), false),
            (End::Addresses(name, found), RecordType::A | RecordType::AAAA | RecordType::ANY) => {
                aliases.extend(addresses(&name, wanted, found, self.turn()));
                self.known(&query, aliases)
            }
            // Hints of addresses there, and of other protocols, would lead past the addresses here.
            (End::Addresses(..), RecordType::HTTPS | RecordType::SVCB | RecordType::CNAME) => {
                self.known(&query, aliases)
            }
            // Mail and the like are the business of others.
            (End::Addresses(name, _), _) => {
                let target = (!aliases.is_empty()).then_some(name);
                self.ask(query, aliases, target, true)
            }
        }
    }

    /// The next number. Every second or third of them, as when two names are asked for in turn, are as spread as all
    /// are: multiples of the golden ratio.
    fn turn(&self) -> u64 {
        const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
        let number = self.answers.fetch_add(1, Relaxed);
        number.wrapping_mul(GOLDEN_RATIO)
    }

    /// Asks others as it is.
    fn ask_on(&self, query: Query) -> Step {
        self.ask(query, Vec::new(), None, false)
    }

    fn ask(&self, query: Query, aliases: Vec<Record>, target: Option<Name>, known: bool) -> Step {
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else {
            count(&self.counters.overflowed);
            return self.fail(&query, ResponseCode::ServFail);
        };
        Step::Ask(Box::new(Errand {
            query,
            aliases,
            target,
            is_known: known,
            _turn: turn,
        }))
    }

    /// Asks others, and returns the answer.
    pub(crate) async fn run(&self, errand: Errand) -> Vec<u8> {
        count(&self.counters.forwarded);
        let answer = self.answer_of_others(&errand).await;
        answer.unwrap_or_else(|| {
            count(&self.counters.failed);
            let failure = reply(&errand.query, ResponseCode::ServFail);
            self.encoded(&errand.query, failure)
        })
    }

    async fn answer_of_others(&self, errand: &Errand) -> Option<Vec<u8>> {
        let packet = errand.packet().ok()?;
        let upstreams = self.resolv.current();
        let asking = Asking {
            servers: &upstreams.servers,
            timeout: self.settings.timeout,
            attempts: self.settings.attempts,
            counters: &self.counters,
        };
        let asked = asking.answer(&packet, errand.limit());
        let mut answer = timeout(self.settings.patience, asked).await.ok()??;
        if errand.is_as_it_came(&answer) {
            if Raw::new(&answer).is_some_and(Raw::is_truncated) {
                count(&self.counters.truncated);
            }
            set_id(&mut answer, errand.query.metadata.id);
            return Some(answer);
        }
        match errand.merged(&answer) {
            Ok(merged) => Some(self.encoded(&errand.query, merged)),
            Err(error) => {
                tracing::debug!(%error, "an answer of a nameserver cannot be read");
                None
            }
        }
    }

    fn known(&self, query: &Query, answers: Vec<Record>) -> Step {
        count(&self.counters.answered);
        Step::Reply(self.encoded(query, known(query, answers)))
    }

    fn fail(&self, query: &Query, code: ResponseCode) -> Step {
        Step::Reply(self.encoded(query, reply(query, code)))
    }

    fn encoded(&self, query: &Query, message: Message) -> Vec<u8> {
        match encode(message, query.limit) {
            Ok(encoded) => {
                if encoded.is_cut {
                    count(&self.counters.truncated);
                }
                encoded.bytes
            }
            Err(error) => {
                tracing::debug!(%error, name = query.name, "an answer cannot be encoded");
                let raw = Raw::new(&query.packet);
                let code = ResponseCode::ServFail.low();
                raw.map(|raw| raw.refused(code)).unwrap_or_default()
            }
        }
    }
}

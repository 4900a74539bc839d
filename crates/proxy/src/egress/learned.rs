//! What passed through the forward proxy, by host, port and protocol.

use dataplane::{Passage, PassageProtocol};
use rules::Denial;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many rows there may be.
pub(super) const MAX_ROWS: usize = 10_000;

/// How many clients a row names.
pub(super) const MAX_CLIENTS: usize = 16;

/// The longest name that DNS knows.
const MAX_HOST_BYTES: usize = 255;

/// What passed, up to 10,000 rows. What does not fit any more is counted.
#[derive(Debug, Default)]
pub(crate) struct Learned(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rows: HashMap<Key, Seen>,
    left_out: u64,
    is_changed: bool,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    host: Box<str>,
    port: u16,
    protocol: PassageProtocol,
}

/// What is known of a host, port and protocol.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Seen {
    /// Requests, or connections.
    pub(crate) count: u64,
    /// Bytes that came from clients.
    pub(crate) received: u64,
    /// Bytes that went to clients.
    pub(crate) sent: u64,
    /// When the first of them ended, in seconds since 1970.
    pub(crate) first_seen: u64,
    /// When the last of them ended.
    pub(crate) last_seen: u64,
    /// Whose they were: the first 16 addresses.
    pub(crate) clients: Vec<IpAddr>,
    /// How many of `count` were of clients that are not among these.
    pub(crate) of_further_clients: u64,
    /// Why the last of them would have been refused. Absent: it is allowed.
    #[serde(default, with = "code")]
    pub(crate) denial: Option<Denial>,
}

/// A host, port and protocol, and what is known of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Row {
    /// A name or an address, without brackets. Lower case.
    pub(crate) host: String,
    pub(crate) port: u16,
    #[serde(with = "Protocol")]
    pub(crate) protocol: PassageProtocol,
    #[serde(flatten)]
    pub(crate) seen: Seen,
}

/// All that was learnt, as it stands in the file.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Rows {
    /// How many requests and connections are in no row, since there were 10,000 already.
    #[serde(default)]
    pub(crate) left_out: u64,
    /// By host, port and protocol.
    pub(crate) rows: Vec<Row>,
}

#[derive(Deserialize, Serialize)]
#[serde(remote = "PassageProtocol", rename_all = "lowercase")]
enum Protocol {
    Http,
    Tls,
    Tcp,
}

impl Learned {
    /// What was known when the process ended.
    pub(super) fn of(known: Rows) -> Self {
        let learned = Self::default();
        {
            let mut state = learned.lock();
            state.left_out = known.left_out;
            for row in known.rows {
                state.restore(row);
            }
            state.is_changed = false;
        }
        learned
    }

    /// Takes in what has passed. `now` is in seconds since 1970. Tells whether it was the first that did not fit.
    pub(super) fn record(&self, passage: &Passage<'_>, now: u64) -> Recorded {
        let key = Key::new(passage.host, passage.port, passage.protocol);
        let mut state = self.lock();
        state.is_changed = true;
        let is_first = state.left_out == 0;
        let seen = key.and_then(|key| state.seen(key, now));
        let Some(seen) = seen else {
            state.left_out = state.left_out.saturating_add(1);
            return match is_first {
                true => Recorded::FirstLeftOut,
                false => Recorded::LeftOut,
            };
        };
        seen.record(passage, now);
        Recorded::InARow
    }

    /// All that was learnt, by host, port and protocol.
    pub(crate) fn rows(&self) -> Rows {
        let mut rows = self.copy();
        // Not while those wait who record.
        rows.rows.sort_by(|one, other| one.key().cmp(&other.key()));
        rows
    }

    fn copy(&self) -> Rows {
        let state = self.lock();
        let rows = state.rows.iter().map(|(key, seen)| Row {
            host: key.host.to_string(),
            port: key.port,
            protocol: key.protocol,
            seen: seen.clone(),
        });
        Rows {
            left_out: state.left_out,
            rows: rows.collect(),
        }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.lock().rows.len()
    }

    /// Whether something was recorded since this was asked last.
    pub(super) fn take_changed(&self) -> bool {
        std::mem::take(&mut self.lock().is_changed)
    }

    /// What was taken could not be kept.
    pub(super) fn put_back_changed(&self) {
        self.lock().is_changed = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left sums of some moment, which are as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a passage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Recorded {
    InARow,
    /// It was counted only, as others before.
    LeftOut,
    /// It is the first that was counted only.
    FirstLeftOut,
}

impl State {
    /// The row of a key, a new one if there is room.
    fn seen(&mut self, key: Key, now: u64) -> Option<&mut Seen> {
        let has_room = self.rows.len() < MAX_ROWS;
        match self.rows.entry(key) {
            Entry::Occupied(row) => Some(row.into_mut()),
            Entry::Vacant(place) => has_room.then(|| place.insert(Seen::nothing(now))),
        }
    }

    fn restore(&mut self, row: Row) {
        let Row {
            host,
            port,
            protocol,
            seen: known,
        } = row;
        let key = Key::new(&host, port, protocol);
        let left_out = match key.and_then(|key| self.seen(key, known.first_seen)) {
            Some(seen) => {
                seen.add(known);
                0
            }
            None => known.count,
        };
        self.left_out = self.left_out.saturating_add(left_out);
    }
}

impl Key {
    /// Absent: no host or port could be like that.
    fn new(host: &str, port: u16, protocol: PassageProtocol) -> Option<Self> {
        let bare = without_brackets(host);
        let bare = bare.strip_suffix('.').unwrap_or(bare);
        if bare.is_empty() || bare.len() > MAX_HOST_BYTES || port == 0 {
            return None;
        }
        Some(Self {
            host: bare.to_ascii_lowercase().into(),
            port,
            protocol,
        })
    }
}

/// `2001:db8::1` of `[2001:db8::1]`.
pub(super) fn without_brackets(host: &str) -> &str {
    let inner = host.strip_prefix('[');
    inner
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

impl Seen {
    fn nothing(now: u64) -> Self {
        Self {
            count: 0,
            received: 0,
            sent: 0,
            first_seen: now,
            last_seen: now,
            clients: Vec::new(),
            of_further_clients: 0,
            denial: None,
        }
    }

    fn record(&mut self, passage: &Passage<'_>, now: u64) {
        self.count = self.count.saturating_add(1);
        self.received = self.received.saturating_add(passage.received);
        self.sent = self.sent.saturating_add(passage.sent);
        // The clock may have been set back.
        self.first_seen = self.first_seen.min(now);
        self.last_seen = self.last_seen.max(now);
        self.denial = passage.denial;
        if !self.names(passage.client) {
            self.of_further_clients = self.of_further_clients.saturating_add(1);
        }
    }

    /// Whether a client is among those that are named, which it is from now on if there is room.
    fn names(&mut self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        if self.clients.contains(&client) {
            return true;
        }
        let has_room = self.clients.len() < MAX_CLIENTS;
        if has_room {
            self.clients.push(client);
        }
        has_room
    }

    /// Adds up what two rows say.
    pub(super) fn add(&mut self, other: Self) {
        let of_further = (self.of_further_clients).saturating_add(other.of_further_clients);
        self.of_further_clients = of_further;
        self.count = self.count.saturating_add(other.count);
        self.received = self.received.saturating_add(other.received);
        self.sent = self.sent.saturating_add(other.sent);
        self.first_seen = self.first_seen.min(other.first_seen);
        if self.last_seen <= other.last_seen {
            (self.last_seen, self.denial) = (other.last_seen, other.denial);
        }
        for client in other.clients {
            if !self.names(client) {
                self.of_further_clients = self.of_further_clients.saturating_add(1);
            }
        }
    }
}

impl Row {
    fn key(&self) -> (&str, u16, PassageProtocol) {
        (&self.host, self.port, self.protocol)
    }

    /// Bytes in both directions.
    pub(crate) fn bytes(&self) -> u64 {
        self.seen.received.saturating_add(self.seen.sent)
    }
}

/// Denials by their codes.
mod code {
    use rules::Denial;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        denial: &Option<Denial>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match denial {
            Some(denial) => serializer.serialize_some(denial.code()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Denial>, D::Error> {
        let code = Option::<String>::deserialize(deserializer)?;
        let Some(code) = code else {
            return Ok(None);
        };
        let denial = Denial::ALL.into_iter().find(|one| one.code() == code);
        let unknown = || serde::de::Error::custom(format_args!("`{code}` is no code of a denial"));
        denial.map(Some).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(host: &str) -> Passage<'_> {
        Passage {
            host,
            port: 443,
            protocol: PassageProtocol::Tls,
            received: 10,
            sent: 100,
            client: IpAddr::from([10, 0, 0, 1]),
            denial: Some(Denial::NotInRegistry),
        }
    }

    #[test]
    fn one_host_is_one_row_however_it_is_spelt() {
        let learned = Learned::default();
        assert!(!learned.take_changed());
        for (host, now) in [("a.test", 5), ("A.Test.", 3), ("a.test", 9)] {
            assert_eq!(learned.record(&passage(host), now), Recorded::InARow);
        }
        assert!(learned.take_changed() && !learned.take_changed());
        let rows = learned.rows().rows;
        assert_eq!((rows.len(), &*rows[0].host), (1, "a.test"));
        let seen = &rows[0].seen;
        assert_eq!((seen.count, seen.received, seen.sent), (3, 30, 300));
        assert_eq!((seen.first_seen, seen.last_seen), (3, 9));
        assert_eq!(seen.clients, [IpAddr::from([10, 0, 0, 1])]);
    }

    #[test]
    fn ports_and_protocols_have_rows_of_their_own_in_order() {
        let learned = Learned::default();
        let one = passage("b.test");
        let http = PassageProtocol::Http;
        for passage in [
            one,
            Passage { port: 80, ..one },
            Passage {
                protocol: http,
                ..one
            },
            Passage {
                host: "[2001:DB8::1]",
                ..one
            },
        ] {
            learned.record(&passage, 1);
        }
        let rows = learned.rows().rows;
        let keys: Vec<_> = rows.iter().map(Row::key).collect();
        let want = [
            ("2001:db8::1", 443, PassageProtocol::Tls),
            ("b.test", 80, PassageProtocol::Tls),
            ("b.test", 443, PassageProtocol::Http),
            ("b.test", 443, PassageProtocol::Tls),
        ];
        assert_eq!(keys, want);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let learned = Learned::default();
        for number in 0..MAX_ROWS {
            let host = format!("h{number}.test");
            assert_eq!(learned.record(&passage(&host), 1), Recorded::InARow);
        }
        assert_eq!(
            learned.record(&passage("x.test"), 1),
            Recorded::FirstLeftOut
        );
        assert_eq!(learned.record(&passage("y.test"), 1), Recorded::LeftOut);
        assert_eq!(learned.record(&passage("h1.test"), 1), Recorded::InARow);
        let rows = learned.rows();
        assert_eq!((rows.rows.len(), rows.left_out), (MAX_ROWS, 2));
        let again = Learned::of(rows.clone());
        assert_eq!(again.rows(), rows);
        assert!(!again.take_changed());
    }

    #[test]
    fn what_no_host_is_makes_no_row() {
        let learned = Learned::default();
        let long = "a".repeat(256);
        for host in ["", ".", "[]", &long] {
            learned.record(&passage(host), 1);
        }
        learned.record(
            &Passage {
                port: 0,
                ..passage("a.test")
            },
            1,
        );
        let rows = learned.rows();
        assert_eq!((rows.rows.len(), rows.left_out), (0, 5));
    }

    #[test]
    fn further_clients_are_counted() {
        let learned = Learned::default();
        for last in (0..20).chain(0..20) {
            let client = IpAddr::from([10, 0, 0, last]);
            learned.record(
                &Passage {
                    client,
                    ..passage("a.test")
                },
                1,
            );
        }
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        learned.record(
            &Passage {
                client: mapped,
                ..passage("a.test")
            },
            1,
        );
        let rows = learned.rows().rows;
        let seen = &rows[0].seen;
        assert_eq!(
            (seen.clients.len(), seen.of_further_clients),
            (MAX_CLIENTS, 8)
        );
        assert_eq!(seen.count, 41);
    }

    #[test]
    fn sums_do_not_overflow() {
        let learned = Learned::default();
        let much = Passage {
            received: u64::MAX,
            sent: u64::MAX,
            ..passage("a.test")
        };
        learned.record(&much, u64::MAX);
        learned.record(&much, 0);
        let twice = [learned.rows().rows, learned.rows().rows].concat();
        let rows = Learned::of(Rows {
            left_out: u64::MAX,
            rows: twice,
        })
        .rows();
        assert_eq!((rows.rows.len(), rows.rows[0].bytes()), (1, u64::MAX));
    }

    #[test]
    fn the_last_denial_counts() {
        let learned = Learned::default();
        learned.record(&passage("a.test"), 1);
        learned.record(
            &Passage {
                denial: None,
                ..passage("a.test")
            },
            2,
        );
        assert_eq!(learned.rows().rows[0].seen.denial, None);
        learned.record(
            &Passage {
                denial: Some(Denial::Port),
                ..passage("a.test")
            },
            3,
        );
        assert_eq!(learned.rows().rows[0].seen.denial, Some(Denial::Port));
    }

    #[test]
    fn the_file_says_what_was_learnt() {
        let learned = Learned::default();
        learned.record(&passage("a.test"), 7);
        let text = serde_json::to_string(&learned.rows()).unwrap();
        let want = r#"{"left_out":0,"rows":[{"host":"a.test","port":443,"protocol":"tls","count":1,"received":10,"sent":100,"first_seen":7,"last_seen":7,"clients":["10.0.0.1"],"of_further_clients":0,"denial":"not_in_registry"}]}"#;
        assert_eq!(text, want);
        let read: Rows = serde_json::from_str(&text).unwrap();
        assert_eq!(read, learned.rows());
    }
}

//! A DNS server that answers as a test says.

use std::collections::HashMap;
use std::io;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const HEAD: usize = 12;

/// How long an answer is waited for, also one that is not to come.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// No error, the server failed, there is no such name.
const OK: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// A DNS server, by UDP, on loopback unless said otherwise. A name that it was not told of does not exist.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    socket: Arc<UdpSocket>,
    shared: Arc<Mutex<Told>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Told {
    names: HashMap<String, Entry>,
    moods: HashMap<String, Mood>,
    queries: HashMap<String, usize>,
    mood: Mood,
    stopping: bool,
}

/// What a name stands for.
#[derive(Debug)]
struct Entry {
    /// The answers in turn, the last one for ever.
    answers: Vec<Vec<IpAddr>>,
    ttl: u32,
    /// How often each type of record was asked for.
    asked: HashMap<u16, usize>,
}

/// How a [`NameServer`] answers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mood {
    /// As it should.
    #[default]
    Well,
    /// That it failed.
    Failing,
    /// Not at all.
    Silent,
}

impl NameServer {
    /// Starts one that knows no name.
    pub fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// As [`NameServer::start`], at a given address.
    pub fn start_at(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).expect("a port to listen on");
        let socket = Arc::new(socket);
        let address = socket.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Mutex::new(Told::default()));
        let thread = std::thread::spawn({
            let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
            move || serve(&socket, &shared)
        });
        Self {
            address,
            socket,
            shared,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A name stands for these addresses from now on, with a time to live in seconds. Without addresses it exists
    /// and has none. `*.example.org` is every name below `example.org` that it was not told of otherwise.
    ///
    /// # Panics
    ///
    /// When an address is none.
    pub fn set(&self, name: &str, addresses: &[&str], ttl: u32) {
        self.set_in_turn(name, &[addresses], ttl);
    }

    /// As [`NameServer::set`], with another answer to each query in turn, the last one for ever. Queries for A and
    /// for AAAA are counted by themselves.
    ///
    /// # Panics
    ///
    /// When an address is none.
    pub fn set_in_turn(&self, name: &str, answers: &[&[&str]], ttl: u32) {
        let parse = |one: &&str| one.parse().expect("an address");
        let answers = answers.iter().map(|all| all.iter().map(parse).collect());
        let entry = Entry {
            answers: answers.collect(),
            ttl,
            asked: HashMap::new(),
        };
        lock(&self.shared).names.insert(name.to_owned(), entry);
    }

    /// A name does not exist from now on.
    pub fn remove(&self, name: &str) {
        lock(&self.shared).names.remove(name);
    }

    /// Answers like this from now on.
    pub fn mood(&self, mood: Mood) {
        lock(&self.shared).mood = mood;
    }

    /// Answers like this from now on when asked for this name, whatever its mood is.
    pub fn mood_about(&self, name: &str, mood: Mood) {
        lock(&self.shared).moods.insert(name.to_owned(), mood);
    }

    /// How often a name was asked for.
    pub fn queries(&self, name: &str) -> usize {
        let told = lock(&self.shared);
        told.queries.get(name).copied().unwrap_or_default()
    }
}

/// What a DNS server answers about a name by UDP: the code, and the IPv4 addresses after all aliases. `None`: no answer.
///
/// # Panics
///
/// When there is no way to ask, or the answer is none of DNS.
pub fn look_up(server: SocketAddr, name: &str) -> Option<(u8, Vec<Ipv4Addr>)> {
    let query = query(name);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port to ask from");
    let limit = Some(ANSWER_LIMIT);
    socket.set_read_timeout(limit).expect("a limit");
    socket.send_to(&query, server).expect("a way to the server");
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).ok()?;
    let addresses = addresses_of(&answer[query.len()..length]);
    Some((answer[3] & 0xf, addresses.expect("records")))
}

/// Asks for A, and for recursion.
fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a short label"));
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// The addresses among records; whose they are does not matter.
fn addresses_of(mut records: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let mut addresses = Vec::new();
    while !records.is_empty() {
        let rest = after_name(records)?;
        let kind = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
        let length = u16::from_be_bytes([*rest.get(8)?, *rest.get(9)?]);
        let data = rest.get(10..)?;
        let (data, after) = data.split_at_checked(length.into())?;
        if let (TYPE_A, [a, b, c, d]) = (kind, data) {
            addresses.push(Ipv4Addr::new(*a, *b, *c, *d));
        }
        records = after;
    }
    Some(addresses)
}

/// A name ends with an empty label, or a pointer to one that was written before.
fn after_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let length = *bytes.first()?;
        match length {
            0 => return bytes.get(1..),
            0xc0.. => return bytes.get(2..),
            _ => bytes = bytes.get(usize::from(length) + 1..)?,
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        lock(&self.shared).stopping = true;
        // Wakes the thread, in whichever network namespace it is.
        let _ = self.socket.send_to(&[], self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(socket: &UdpSocket, shared: &Mutex<Told>) {
    let mut query = [0; 4096];
    loop {
        let (length, client) = match socket.recv_from(&mut query) {
            Ok(received) => received,
            // A client that is gone already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(_) => return,
        };
        let mut told = lock(shared);
        if told.stopping {
            return;
        }
        let answer = Question::read(&query[..length]).and_then(|asked| told.answer(&asked));
        drop(told);
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, client);
        }
    }
}

struct Question<'q> {
    head: &'q [u8],
    /// The first question, as it was sent.
    bytes: &'q [u8],
    name: String,
    record_type: u16,
}

impl<'q> Question<'q> {
    fn read(query: &'q [u8]) -> Option<Self> {
        let (head, rest) = query.split_at_checked(HEAD)?;
        let (mut labels, mut at) = (Vec::new(), 0);
        loop {
            let length = usize::from(*rest.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(rest.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let kind = rest.get(at..at + 2)?;
        Some(Self {
            head,
            bytes: rest.get(..at + 4)?,
            name: labels.join("."),
            record_type: u16::from_be_bytes([kind[0], kind[1]]),
        })
    }

    /// An answer with these addresses.
    fn answer(&self, code: u8, addresses: &[IpAddr], ttl: u32) -> Vec<u8> {
        let mut answer = self.head[..2].to_vec();
        let count = u16::try_from(addresses.len()).expect("few addresses");
        // A recursive answer to one question, nothing beside.
        answer.extend([0x81, 0x80 | code, 0, 1]);
        answer.extend(count.to_be_bytes());
        answer.extend([0; 4]);
        answer.extend(self.bytes);
        for address in addresses {
            // The name of the question.
            answer.extend([0xc0, 0x0c]);
            answer.extend(self.record_type.to_be_bytes());
            answer.extend([0, 1]);
            answer.extend(ttl.to_be_bytes());
            match address {
                IpAddr::V4(address) => {
                    answer.extend([0, 4]);
                    answer.extend(address.octets());
                }
                IpAddr::V6(address) => {
                    answer.extend([0, 16]);
                    answer.extend(address.octets());
                }
            }
        }
        answer
    }
}

impl Told {
    fn answer(&mut self, asked: &Question<'_>) -> Option<Vec<u8>> {
        *self.queries.entry(asked.name.clone()).or_default() += 1;
        match self.moods.get(&asked.name).unwrap_or(&self.mood) {
            Mood::Silent => return None,
            Mood::Failing => return Some(asked.answer(SERVER_FAILURE, &[], 0)),
            Mood::Well => {}
        }
        let Some(entry) = self.entry(&asked.name) else {
            return Some(asked.answer(NO_SUCH_NAME, &[], 0));
        };
        let addresses = entry.next(asked.record_type);
        Some(asked.answer(OK, &addresses, entry.ttl))
    }

    /// The entry of a name, or of the longest wildcard above it.
    fn entry(&mut self, name: &str) -> Option<&mut Entry> {
        let parents = name.match_indices('.').map(|(at, _)| &name[at..]);
        let mut known = iter::once(name.to_owned())
            .chain(parents.map(|parent| format!("*{parent}")))
            .filter(|known| self.names.contains_key(known));
        let known = known.next()?;
        self.names.get_mut(&known)
    }
}

impl Entry {
    /// The answer whose turn it is.
    fn next(&mut self, record_type: u16) -> Vec<IpAddr> {
        let asked = self.asked.entry(record_type).or_default();
        let turn = (*asked).min(self.answers.len().saturating_sub(1));
        *asked += 1;
        let is_wanted = |address: &&IpAddr| match record_type {
            TYPE_A => address.is_ipv4(),
            TYPE_AAAA => address.is_ipv6(),
            _ => false,
        };
        let all = self.answers.get(turn).into_iter().flatten();
        all.filter(is_wanted).copied().collect()
    }
}

//! A resolver that knows what the case says.

use crate::{Resolve, Resolving, Unresolved};
use ahash::HashMap;
use model::Hostname;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// Names and what is said of them. Who asks for another is told that there is no such name.
#[derive(Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<String, Said>>,
    asked: AtomicUsize,
    waiting: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Said {
    Addresses(Arc<[IpAddr]>),
    Failure(&'static str),
    Nothing,
}

impl Names {
    pub(crate) fn of(answers: &[(&str, &[&str])]) -> Arc<Self> {
        let names = Arc::new(Self::default());
        for (name, addresses) in answers {
            names.say(name, addresses);
        }
        names
    }

    pub(crate) fn say(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        self.set(name, Said::Addresses(addresses.collect()));
    }

    pub(crate) fn fail(&self, name: &str, reason: &'static str) {
        self.set(name, Said::Failure(reason));
    }

    /// Whoever asks waits for ever.
    pub(crate) fn say_nothing(&self, name: &str) {
        self.set(name, Said::Nothing);
    }

    /// How often a name was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    /// How many wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    fn set(&self, name: &str, said: Said) {
        self.answers.lock().unwrap().insert(name.to_owned(), said);
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a Hostname) -> Resolving<'a> {
        self.asked.fetch_add(1, SeqCst);
        let said = self.answers.lock().unwrap().get(name.as_str()).cloned();
        let failed = |reason| {
            Err(Unresolved {
                reason,
                text: format!("the name server 192.0.2.53 said so of {name}"),
            })
        };
        match said {
            Some(Said::Addresses(addresses)) => Box::pin(std::future::ready(Ok(addresses))),
            Some(Said::Failure(reason)) => Box::pin(std::future::ready(failed(reason))),
            Some(Said::Nothing) => {
                self.waiting.fetch_add(1, SeqCst);
                let waits = Waits(self.waiting.clone());
                Box::pin(async move {
                    let _waits = waits;
                    std::future::pending().await
                })
            }
            None => Box::pin(std::future::ready(failed("dns_no_such_name"))),
        }
    }
}

struct Waits(Arc<AtomicUsize>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

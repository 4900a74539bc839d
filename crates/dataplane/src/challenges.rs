//! What is answered to an ACME server that wants to see who holds a name.

use ahash::HashMap;
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Challenges of each kind at most, and thus names of orders in flight. More are not kept.
const MAX: usize = 1024;

/// The pending challenges of a process. Clones share them.
///
/// Asking costs one atomic load while nothing is pending, which is nearly always.
#[derive(Clone, Default)]
pub struct Challenges(Arc<Pending>);

#[derive(Default)]
struct Pending {
    http01: Answers<Arc<str>>,
    tls_alpn01: Answers<Arc<CertifiedKey>>,
}

impl Challenges {
    /// The protocol that a validating server asks for, and nobody else.
    ///
    /// Source: RFC 8737, section 6.2.
    pub const TLS_ALPN: &[u8] = b"acme-tls/1";

    /// Where a validating server asks, before the token.
    ///
    /// Source: RFC 8555, section 8.3.
    pub const HTTP_PREFIX: &str = "/.well-known/acme-challenge/";

    /// Answers `GET /.well-known/acme-challenge/{token}` with this text as long as the guard lives.
    ///
    /// Absent: too many are pending.
    #[must_use = "dropping the guard takes the answer away"]
    pub fn set_http01(&self, token: &str, key_authorization: Arc<str>) -> Option<ChallengeGuard> {
        let number = self.0.http01.insert(token.to_owned(), key_authorization)?;
        Some(self.guard(Kind::Http01, token.to_owned(), number))
    }

    /// The key authorization of a pending token, which is the whole body of the answer.
    pub fn http01(&self, token: &str) -> Option<Arc<str>> {
        self.0.http01.find(token)
    }

    /// Shows this certificate to who asks for `name` with the protocol [`Self::TLS_ALPN`] as long as the guard lives.
    ///
    /// Absent: too many are pending.
    #[must_use = "dropping the guard takes the certificate away"]
    pub fn set_tls_alpn01(
        &self,
        name: &str,
        certificate: Arc<CertifiedKey>,
    ) -> Option<ChallengeGuard> {
        let name = name.to_ascii_lowercase();
        let number = self.0.tls_alpn01.insert(name.clone(), certificate)?;
        Some(self.guard(Kind::TlsAlpn01, name, number))
    }

    /// The challenge certificate of a name, in any case. Only for a client that offers [`Self::TLS_ALPN`] alone.
    pub fn tls_alpn01(&self, sni: &str) -> Option<Arc<CertifiedKey>> {
        if self.0.tls_alpn01.is_empty() {
            return None;
        }
        self.0.tls_alpn01.find(&sni.to_ascii_lowercase())
    }

    fn guard(&self, kind: Kind, name: String, number: u64) -> ChallengeGuard {
        ChallengeGuard {
            pending: Arc::clone(&self.0),
            kind,
            name,
            number,
        }
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: &AtomicUsize| count.load(Ordering::Acquire);
        f.debug_struct("Challenges")
            .field("http01", &count(&self.0.http01.count))
            .field("tls_alpn01", &count(&self.0.tls_alpn01.count))
            .finish()
    }
}

/// Takes a challenge away when it is dropped, unless a newer one stands in its place.
#[must_use = "dropping the guard takes the challenge away"]
pub struct ChallengeGuard {
    pending: Arc<Pending>,
    kind: Kind,
    name: String,
    number: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Http01,
    TlsAlpn01,
}

impl fmt::Debug for ChallengeGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChallengeGuard")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Drop for ChallengeGuard {
    fn drop(&mut self) {
        match self.kind {
            Kind::Http01 => self.pending.http01.remove(&self.name, self.number),
            Kind::TlsAlpn01 => self.pending.tls_alpn01.remove(&self.name, self.number),
        }
    }
}

/// Answers by what is asked for, each with the number of its insertion.
struct Answers<T> {
    /// How many there are, so that the common case takes no lock.
    count: AtomicUsize,
    inner: RwLock<Numbered<T>>,
}

struct Numbered<T> {
    next: u64,
    by_name: HashMap<String, (u64, T)>,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self {
            count: AtomicUsize::new(0),
            inner: RwLock::new(Numbered {
                next: 0,
                by_name: HashMap::default(),
            }),
        }
    }
}

impl<T: Clone> Answers<T> {
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn find(&self, name: &str) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.by_name.get(name).map(|(_, answer)| answer.clone())
    }

    fn insert(&self, name: String, answer: T) -> Option<u64> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.by_name.len() >= MAX && !inner.by_name.contains_key(&name) {
            return None;
        }
        let number = inner.next;
        inner.next += 1;
        inner.by_name.insert(name, (number, answer));
        self.count.store(inner.by_name.len(), Ordering::Release);
        Some(number)
    }

    fn remove(&self, name: &str, number: u64) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner
            .by_name
            .get(name)
            .is_some_and(|(own, _)| *own == number)
        {
            inner.by_name.remove(name);
            self.count.store(inner.by_name.len(), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring::sign::any_supported_type;
    use rustls_pki_types::PrivateKeyDer;

    #[test]
    fn a_token_is_answered_until_its_guard_is_dropped() {
        let challenges = Challenges::default();
        assert_eq!(challenges.http01("t"), None);
        let guard = challenges.set_http01("t", "t.key".into());
        assert_eq!(challenges.clone().http01("t").as_deref(), Some("t.key"));
        assert_eq!(challenges.http01("T"), None, "tokens have a case");
        drop(guard);
        assert_eq!(challenges.http01("t"), None);
    }

    #[test]
    fn a_dropped_guard_leaves_a_newer_answer_alone() {
        let challenges = Challenges::default();
        let older = challenges.set_http01("t", "older".into());
        let _newer = challenges.set_http01("t", "newer".into());
        drop(older);
        assert_eq!(challenges.http01("t").as_deref(), Some("newer"));
    }

    #[test]
    fn only_so_many_are_kept() {
        let challenges = Challenges::default();
        let set = |number: usize| challenges.set_http01(&number.to_string(), "a".into());
        let guards: Vec<_> = (0..MAX).map_while(set).collect();
        assert_eq!(guards.len(), MAX);
        assert!(set(MAX).is_none());
        assert!(set(0).is_some(), "one that is there can be replaced");
    }

    #[test]
    fn a_challenge_certificate_is_found_in_any_case() {
        let challenges = Challenges::default();
        let certificate = Arc::new(certified_key());
        let guard = challenges.set_tls_alpn01("Shop.test", Arc::clone(&certificate));
        let found = challenges.tls_alpn01("sHOP.TEST");
        assert!(found.is_some_and(|found| Arc::ptr_eq(&found, &certificate)));
        assert!(challenges.tls_alpn01("other.test").is_none());
        drop(guard);
        assert!(challenges.tls_alpn01("shop.test").is_none());
    }

    fn certified_key() -> CertifiedKey {
        let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let key = any_supported_type(&key).unwrap();
        CertifiedKey::new(vec![made.cert.der().clone()], key)
    }
}

//! What is wrong with probes as they are written.

/// Probes that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum InvalidProbers {
    /// It is not the JSON that injection writes.
    #[error("no object of probes as injection writes it")]
    Json(#[source] serde_json::Error),
    /// The path of a probe is none that injection gives it.
    #[error(
        "`{0}` is no path of a probe: it is `/app-health/CONTAINER/` with `readyz`, `livez` or `startupz`, or \
         `/app-lifecycle/CONTAINER/` with `prestopz` or `poststartz`"
    )]
    Path(String),
    /// There is not one way of asking, but none or several.
    #[error("{path}: one of `httpGet`, `tcpSocket` and `grpc` is to be there, not {count}")]
    Ways {
        /// The path of the probe.
        path: String,
        /// How many there are.
        count: usize,
    },
    /// A value that cannot be sent.
    #[error("{path}: {field}: `{value}` {problem}")]
    Value {
        /// The path of the probe.
        path: String,
        /// As it is called in JSON.
        field: &'static str,
        /// As it is written.
        value: String,
        /// Why it cannot be, and what to write.
        problem: &'static str,
    },
    /// A bug here.
    #[error("TLS cannot be spoken to the application")]
    Tls(#[source] rustls::Error),
}

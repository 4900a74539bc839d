//! The process's own log, in a process of its own: it can be started only once.

use telemetry::logging::{self, LogFormat, StartError};

#[test]
fn the_level_changes_at_run_time_for_tracing_and_log_alike() {
    assert!(matches!(
        logging::start("loud", LogFormat::Text),
        Err(StartError::Level(_))
    ));
    let handle = logging::start("info", LogFormat::Text).expect("a first start");
    assert!(matches!(
        logging::start("info", LogFormat::Json),
        Err(StartError::Started(_))
    ));

    assert!(tracing::enabled!(target: "dataplane", tracing::Level::INFO));
    assert!(!tracing::enabled!(target: "dataplane", tracing::Level::DEBUG));
    assert!(log::log_enabled!(target: "hyper", log::Level::Info));
    assert!(!log::log_enabled!(target: "hyper", log::Level::Debug));
    // A client's nonsense is no warning to an operator.
    assert!(log::log_enabled!(target: "rustls", log::Level::Error));
    assert!(!log::log_enabled!(target: "rustls::check", log::Level::Warn));

    handle.set_level("info,rustls=debug").expect("a level");
    assert_eq!(handle.level(), "info,rustls=debug");
    assert!(log::log_enabled!(target: "rustls", log::Level::Debug));
    assert!(!tracing::enabled!(target: "dataplane", tracing::Level::DEBUG));

    handle.set_level("debug").expect("a level");
    assert!(tracing::enabled!(target: "dataplane", tracing::Level::DEBUG));
    for quiet in ["pingora_core::services", "pingora_proxy"] {
        assert!(
            !log::log_enabled!(target: quiet, log::Level::Error),
            "{quiet}"
        );
    }
    handle
        .set_level("info,pingora_proxy=warn")
        .expect("a level");
    assert!(log::log_enabled!(target: "pingora_proxy", log::Level::Warn));
    handle.set_level("debug").expect("a level");

    for invalid in ["loud", "info,loud", "dataplane=loud", ""] {
        assert!(handle.set_level(invalid).is_err(), "{invalid:?}");
        assert_eq!(handle.level(), "debug");
    }
}

//! Where the requests of remote stores run: one small runtime of the process, driven from any
//! thread, also from one that belongs to another runtime. And how long to be patient with a server.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::StoreError;

/// Runs `future` to its end on the runtime of the stores, while this thread waits.
pub(super) fn wait<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, StoreError> {
    let (send, receive) = sync_channel(1);
    runtime()?.spawn(async move {
        // Who asked waits until this is sent.
        _ = send.send(future.await);
    });
    receive
        .recv()
        .map_err(|_| StoreError::Runtime("a request was abandoned".into()))
}

/// Never dropped: dropping a runtime in a thread of another one panics.
fn runtime() -> Result<&'static Runtime, StoreError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        // Whoever embeds the library may have chosen a provider already; then that one serves.
        _ = rustls::crypto::ring::default_provider().install_default();
        Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("weighbridge-store")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| error.to_string())
    });
    made.as_ref()
        .map_err(|error| StoreError::Runtime(error.clone()))
}

/// How often and how long one operation is tried.
pub(super) struct Patience {
    attempts: u32,
    since: Instant,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience {
            attempts: 0,
            since: Instant::now(),
        }
    }

    /// Was there an attempt before?
    #[cfg(feature = "postgres")]
    pub(super) fn is_later(&self) -> bool {
        self.attempts > 0
    }

    /// Waits before the next attempt; false if there should be none.
    pub(super) async fn pause(&mut self) -> bool {
        self.attempts += 1;
        if self.attempts >= MAX_ATTEMPTS || self.since.elapsed() >= MAX_TOTAL {
            return false;
        }
        tokio::time::sleep(jitter(FIRST_PAUSE * 2_u32.pow(self.attempts.min(6)))).await;
        true
    }
}

/// A random time of at most `longest`, so that those who failed together do not return together.
fn jitter(longest: Duration) -> Duration {
    let mut random = [0; 4];
    // Without random numbers everybody waits the longest.
    if getrandom::fill(&mut random).is_err() {
        return longest;
    }
    longest * (u32::from_le_bytes(random) >> 16) / (1 << 16)
}

/// How long one request may take that carries `bytes`.
pub(super) fn limit(bytes: u64) -> Duration {
    REQUEST + Duration::from_secs(bytes / SLOWEST)
}

/// Seven pauses: 0.1 s, 0.2 s, … at the longest, 12 s together.
const MAX_ATTEMPTS: u32 = 8;
const MAX_TOTAL: Duration = Duration::from_secs(90);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// For a request of no size.
const REQUEST: Duration = Duration::from_secs(30);
/// Bytes a second; what is slower is given up.
const SLOWEST: u64 = 128 << 10;
pub(super) const CONNECT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_in_a_thread_of_another_runtime_too() {
        let other = Builder::new_current_thread().build().unwrap();
        assert_eq!(other.block_on(async { wait(async { 7 }).unwrap() }), 7);
    }

    #[test]
    fn a_request_that_panics_is_an_error() {
        assert!(wait(async { panic!("on purpose") }).is_err());
    }

    #[test]
    fn patience_ends() {
        let attempts = wait(async {
            let mut patience = Patience::new();
            patience.attempts = MAX_ATTEMPTS - 2;
            (patience.pause().await, patience.pause().await)
        });
        assert_eq!(attempts.unwrap(), (true, false));
    }
}

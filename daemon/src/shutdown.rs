use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

/// Says when to stop: cheap to clone, for tasks and for plain threads alike.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Nothing requested yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A part that can be stopped alone, and that stops with the whole: a camera of a producer.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Asks everyone to stop. Asking twice is asking once.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// Whether stopping was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns once stopping is asked for.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// For plain threads: sleeps for at most `longest`, less if stopping is asked for meanwhile. Returns whether it was.
    pub fn wait_timeout(&self, longest: Duration) -> bool {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let deadline = Instant::now() + longest;
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut requested = pin!(self.0.cancelled());
        while requested.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::park_timeout(left);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_sleeps_through_a_shutdown() {
        let shutdown = Shutdown::new();
        let child = shutdown.child();
        let waiter = thread::spawn(move || child.wait_timeout(Duration::from_secs(60)));
        shutdown.trigger();
        assert!(waiter.join().unwrap());
    }

    #[test]
    fn stopping_one_part_stops_the_whole() {
        let shutdown = Shutdown::new();
        let (one, other) = (shutdown.child(), shutdown.child());
        one.trigger();
        assert!(one.is_requested() && !other.is_requested() && !shutdown.is_requested());
        assert!(!other.wait_timeout(Duration::from_millis(1)));
        shutdown.trigger();
        assert!(other.is_requested());
    }

    #[tokio::test]
    async fn task_sleeps_through_a_shutdown() {
        let shutdown = Shutdown::new();
        let waiter = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        shutdown.trigger();
        waiter.await.unwrap();
        shutdown.requested().await;
    }
}

//! Work that runs once however many want it, and stops when nobody does.
//!
//! The table holds weak handles, and those who wait hold strong ones: whether anybody still wants
//! the work is a matter of counting references. When the last strong handle is dropped, the task is
//! aborted; its own handles drop with it, and so the cancellation runs down the graph. A finished
//! flight is found for as long as somebody keeps a handle of it.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::future::{Future, FutureExt, Shared, WeakShared};
use tokio::task::JoinHandle;

use crate::error::Error;

/// How many flights there may be before those that nobody wants are first swept out.
const FIRST_SWEEP: usize = 64;

/// A strong handle: while one is there, the work goes on. Await a clone to keep the handle.
pub(crate) type Handle<T> = Shared<Flight<T>>;

/// A task that is aborted when it is dropped.
#[derive(Debug)]
pub(crate) struct Flight<T>(JoinHandle<Result<T, Error>>);

impl<T> Future for Flight<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(context)) {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Err(Error::Canceled),
            },
        })
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// All flights of one kind, by key.
#[derive(Debug)]
pub(crate) struct Flights<K, T>(Mutex<Table<K, T>>);

#[derive(Debug)]
struct Table<K, T> {
    flights: HashMap<K, WeakShared<Flight<T>>>,
    next_sweep: usize,
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::new(Table { flights: HashMap::new(), next_sweep: FIRST_SWEEP }))
    }
}

impl<K: Hash + Eq, T: Clone + Send + 'static> Flights<K, T> {
    /// Joins the flight of a key, or starts it; tells whether it was started.
    ///
    /// A flight that is known to have failed is not joined but started again.
    pub(crate) fn join<W>(&self, key: K, work: impl FnOnce() -> W) -> (Handle<T>, bool)
    where
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let mut table = lock(&self.0);
        let flying = table.flights.get(&key).and_then(WeakShared::upgrade);
        if let Some(handle) = flying
            && !matches!(handle.peek(), Some(Err(_)))
        {
            return (handle, false);
        }
        let handle = spawn(work()).shared();
        table.sweep();
        // A handle that was never polled to its end can always be made weak.
        if let Some(weak) = handle.downgrade() {
            table.flights.insert(key, weak);
        }
        (handle, true)
    }
}

impl<K: Hash + Eq, T: Clone> Table<K, T> {
    /// Forgets what nobody holds, each time the table has doubled.
    fn sweep(&mut self) {
        if self.flights.len() >= self.next_sweep {
            self.flights.retain(|_, flight| flight.upgrade().is_some());
            self.next_sweep = FIRST_SWEEP.max(2 * self.flights.len());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where a task gets the handle that owns it")]
fn spawn<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Flight<T> {
    Flight(tokio::spawn(work))
}

/// Locks what no panic can leave half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_kept_handle_keeps_the_result() {
        let (flights, runs) = (Flights::default(), Arc::new(AtomicUsize::new(0)));
        let join = || {
            let runs = Arc::clone(&runs);
            flights.join(1, || async move { Ok(runs.fetch_add(1, Ordering::Relaxed)) })
        };
        let (handle, started) = join();
        assert!(started);
        assert_eq!(handle.clone().await.unwrap(), 0);
        let (again, started) = join();
        assert!(!started);
        assert_eq!(again.await.unwrap(), 0);
        drop(handle);
        assert_eq!(join().0.await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_flight_starts_again() {
        let flights = Flights::<_, ()>::default();
        let join = || flights.join(1, || async { Err(Error::Canceled) });
        let (failed, _) = join();
        assert!(failed.clone().await.is_err());
        assert!(join().1);
    }

    #[tokio::test(start_paused = true)]
    async fn flights_that_nobody_holds_are_swept_out() {
        let flights = Flights::default();
        let (kept, _) = flights.join(0, || async { Ok(()) });
        for key in 1..1000 {
            flights.join(key, || async { Ok(()) }).0.await.unwrap();
        }
        assert!(lock(&flights.0).flights.len() <= 2 * FIRST_SWEEP);
        assert!(!flights.join(0, || async { Ok(()) }).1);
        drop(kept);
    }

    #[tokio::test]
    #[should_panic(expected = "a bug")]
    async fn a_panic_reaches_those_who_wait() {
        let flights = Flights::<_, ()>::default();
        let _ = flights.join(1, || async { panic!("a bug") }).0.await;
    }
}

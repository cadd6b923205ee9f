//! What goes wrong between a registry and its clients, on request.

use std::sync::{Mutex, PoisonError};

use crate::http::Request;

/// What goes wrong with a request or with its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status is answered in place of anything else.
    Status(u16),
    /// The connection is closed in the middle of the body.
    Truncated,
    /// The connection is closed after so many thousandths of the body.
    Cut(usize),
    /// Nothing moves from the middle of the body on.
    Stalled,
    /// The connection is torn down in the middle of the body.
    Reset,
    /// Nobody is let in any more with what let them in before.
    Expired,
    /// A byte of the body is another one.
    Corrupt,
}

/// A fault that waits for its requests.
#[derive(Debug)]
struct Waiting {
    method: &'static str,
    part: String,
    fault: Fault,
    left: usize,
}

/// The faults to come, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Faults {
    waiting: Mutex<Vec<Waiting>>,
    met: Mutex<usize>,
}

impl Faults {
    pub(super) fn expect(&self, method: &'static str, part: &str, fault: Fault, left: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(Waiting { method, part: part.to_owned(), fault, left });
    }

    /// Ends all faults; how many requests met one.
    pub(super) fn end(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        std::mem::take(&mut *self.met.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The fault that a request meets.
    pub(super) fn meet(&self, request: &Request) -> Option<Fault> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let met = waiting.iter_mut().find(|one| {
            let is_it = one.method.split('|').any(|method| method == request.method);
            one.left > 0 && is_it && request.path.contains(&one.part)
        })?;
        met.left -= 1;
        *self.met.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Some(met.fault)
    }
}

//! Work that an interrupt stops: the first one cancels it cleanly, the second one ends us.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::tell;
use crate::failure::{Cause, Failure, INTERRUPTED};

/// How long threads that are in the middle of something may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a future to its end. An interrupt, or a polite request to end, drops it: that is how
/// everything in the library is canceled.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Failure::io("start threads"))?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = work => result,
            stopped = stopped() => Err(stopped),
        }
    });
    end(runtime);
    result
}

fn end(runtime: Runtime) {
    runtime.shutdown_timeout(PATIENCE);
}

/// Waits for a reason to stop.
async fn stopped() -> Failure {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        // Without handlers the signals end us as they always do.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tell("canceling (once more to quit at once)\n");
    end_us_next_time();
    Cause::Canceled.into()
}

/// Has an interrupt, or a polite request to end, do something before it ends the program.
pub(crate) fn before_the_end(tidy: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::io("start threads"))?;
    // Caught from here on, not only when the thread runs.
    let entered = runtime.enter();
    let caught = signal(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
    drop(entered);
    let (mut interrupt, mut terminate) = caught.map_err(Failure::io("catch signals"))?;
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        tidy();
        std::process::exit(i32::from(INTERRUPTED));
    };
    let started = std::thread::Builder::new().name("interrupt".to_owned()).spawn(wait);
    started.map(drop).map_err(Failure::io("start threads"))
}

/// Lets the next interrupt end the program, whatever it is doing.
fn end_us_next_time() {
    let wait = || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        let signaled = runtime.block_on(tokio::signal::ctrl_c());
        if signaled.is_ok() {
            std::process::exit(i32::from(INTERRUPTED));
        }
    };
    drop(std::thread::Builder::new().name("interrupt".to_owned()).spawn(wait));
}

//! A gate between a test and the steps of a build: steps come to it and wait until it is opened.
//!
//! A step comes by `nc 127.0.0.1 PORT </dev/null`, which ends when the gate lets it through.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::eventually;

/// Where steps wait for a test.
#[derive(Debug)]
pub struct Gate {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    arrived: usize,
    waiting: Vec<TcpStream>,
    is_open: bool,
}

impl Gate {
    /// A gate that is shut.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let port = listener.local_addr().expect("a listener has an address").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                state.arrived += 1;
                if !state.is_open {
                    state.waiting.push(stream);
                }
            }
        });
        Self { port, state }
    }

    /// The command by which a step comes to the gate.
    pub fn command(&self) -> String {
        format!("nc 127.0.0.1 {} </dev/null", self.port)
    }

    /// How many have come so far.
    pub fn arrived(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).arrived
    }

    /// Waits until so many have come.
    pub fn until(&self, count: usize) {
        eventually(&format!("{count} steps at the gate"), || {
            (self.arrived() >= count).then_some(())
        });
    }

    /// Waits until nobody who came is there any more, though the gate is shut.
    pub fn until_gone(&self) {
        eventually("the steps at the gate have ended", || {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.waiting.retain_mut(is_there);
            state.waiting.is_empty().then_some(())
        });
    }

    /// Lets all through, those who come later too.
    pub fn open(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_open = true;
        state.waiting.clear();
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the process at the other end lives. It has ended its own writing from the start, so
/// reading tells nothing; a byte written to it is answered by a reset once it is gone.
fn is_there(stream: &mut TcpStream) -> bool {
    let _ = stream.set_nonblocking(true);
    let mut byte = [0];
    let end = match stream.read(&mut byte) {
        Err(error) => error.kind() == ErrorKind::WouldBlock,
        Ok(_) => true,
    };
    end && std::io::Write::write(stream, b"\n").is_ok()
}

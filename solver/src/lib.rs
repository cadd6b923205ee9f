//! The graph of a build, and finding its result with as little work as possible.
//!
//! A [`Graph`] says what is made from what. A [`Solver`] asks three questions of each vertex in a
//! row: is its result known by its definition? Is it known by the contents of its inputs? If not,
//! a [`Worker`] runs it. Equal work runs once, whoever wants it, and work that nobody wants any
//! more is stopped.

mod attempt;
pub mod error;
pub mod event;
mod flight;
pub mod graph;
mod key;
pub mod miss;
pub mod op;
mod plan;
mod run;
pub mod solve;
mod used;
pub mod worker;

pub use error::Error;
pub use event::{CachedBy, Event, Events, StepId, Stream, What};
pub use graph::{Edge, Graph, Vertex, VertexId, Work};
pub use key::{content_of, scratch};
pub use miss::{Change, FileChange, Miss};
pub use solve::Solver;
pub use used::Used;
pub use worker::{Mode, Task, Worker};

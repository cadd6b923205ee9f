//! The properties of the solver, on a toy worker; time is paused, so no test waits.

mod caching;
mod elsewhere;
mod reports;
mod sharing;
mod toy;
mod waiting;

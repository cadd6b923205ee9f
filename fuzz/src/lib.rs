//! The parts of the library that read text, as their source is: they need nothing of the rest, so
//! that the targets are made in seconds, and only what is fed is instrumented.

#[path = "../../builder/src/dockerfile/mod.rs"]
pub mod dockerfile;

/// The rules of `.dockerignore`.
#[path = "../../builder/src/context"]
pub mod context {
    pub mod ignore;
}

//! `load`: images from an archive.

use super::Outcome;
use crate::failure::Failure;

pub(super) fn run() -> Outcome {
    let hint = "`rbuild pull` fetches an image from a registry";
    Err(Failure::usage("`rbuild load` is not supported yet").hint(hint))
}

//! `man`: the manual pages, one for each verb.

use std::fs;

use clap::CommandFactory;

use super::{DONE, Outcome, print};
use crate::args::{Cli, ManArgs};
use crate::failure::Failure;

pub(super) fn run(args: &ManArgs) -> Outcome {
    if let Some(folder) = &args.folder {
        let failed = || Failure::io(format!("write to `{}`", folder.display()));
        fs::create_dir_all(folder).map_err(failed())?;
        clap_mangen::generate_to(Cli::command(), folder).map_err(failed())?;
    } else {
        let mut page = Vec::new();
        let made = clap_mangen::Man::new(Cli::command()).render(&mut page);
        made.map_err(Failure::io("write the page"))?;
        print(&String::from_utf8_lossy(&page))?;
    }
    Ok(DONE)
}

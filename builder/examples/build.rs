//! Builds the Dockerfile of a folder and names the image, as root:
//! `cargo run -p rbuild --example build -- FOLDER NAME [STORE]`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the program that the library leaves printing to"
)]

use rbuild::{Build, Error, Event, Store, What};

/// Where `rbuild` itself keeps images when root runs it.
const STORE: &str = "/var/lib/rbuild";

fn main() -> rbuild::Result<()> {
    // First of all, since a RUN starts as a copy of this program.
    rbuild::main(async {
        let mut arguments = std::env::args().skip(1);
        let (Some(folder), Some(name)) = (arguments.next(), arguments.next()) else {
            return Err(Error::Usage("say FOLDER NAME [STORE]".to_owned()));
        };
        let store = Store::open(arguments.next().as_deref().unwrap_or(STORE))?;
        let image = Build::new(folder.as_str())
            .tag(name)
            .on_event(|event| tell(&event))
            .run(&store)
            .await?;
        println!("{} is {}", image.names.join(", "), image.digest());
        Ok(())
    })
}

/// Shows the few events that somebody who waits wants to see.
fn tell(event: &Event) {
    match &event.what {
        What::Planned { name, .. } => eprintln!("{} {name}", event.step.0),
        What::Log { data, .. } => eprint!("{}", String::from_utf8_lossy(data)),
        What::Cached { .. } => eprintln!("{} cached", event.step.0),
        What::Finished => eprintln!("{} done", event.step.0),
        _ => {}
    }
}

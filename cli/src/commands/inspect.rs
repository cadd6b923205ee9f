//! `inspect`: all that is known of containers and images, as JSON.

use rbuild::{Store, container, images};
use serde_json::Value;

use super::{Outcome, Session, print, tell};
use crate::args::InspectArgs;
use crate::failure::Failure;
use crate::format::Format;

pub(super) fn run(args: &InspectArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let format = args.format.as_deref().map(Format::parse).transpose()?;
    let mut found = Vec::new();
    let mut code = super::DONE;
    for name in &args.names {
        match look_up(args, &store, name) {
            Ok(value) => found.push(value),
            Err(failure) => {
                tell(&failure.render());
                code = failure.code();
            }
        }
    }
    match format {
        Some(format) => {
            for value in &found {
                print(&format.one(value)?)?;
            }
        }
        None => print(&format!("{:#}\n", Value::from(found)))?,
    }
    Ok(code)
}

fn look_up(args: &InspectArgs, store: &Store, name: &str) -> Result<Value, Failure> {
    let image = || Ok(images::inspect(store, name)?);
    let container = || match container::inspect(store, name) {
        Ok(mut value) => {
            if args.size {
                value["SizeRw"] = container::size(store, name)?.into();
            }
            Ok(value)
        }
        Err(error) => Err(error),
    };
    match args.kind.as_deref() {
        Some("image") => image(),
        Some(_) => Ok(container()?),
        None => match container() {
            Err(container::Error::NotFound(_)) => match image() {
                Err::<_, Failure>(_) => Err(Failure::failed(format!("no such object: {name}"))),
                found => found,
            },
            found => Ok(found?),
        },
    }
}

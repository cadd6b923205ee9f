//! Flags that docker has and rbuild lacks: each is refused by name, or let pass where leaving it
//! out changes nothing that anybody can see.

use std::fmt;
use std::marker::PhantomData;

use clap::{Arg, ArgAction, ArgMatches, Command};

/// One flag of docker's.
pub(super) struct Flag {
    long: &'static str,
    short: Option<char>,
    takes_value: bool,
    refused: bool,
}

/// A flag with a value that rbuild refuses.
pub(super) const fn refused(long: &'static str) -> Flag {
    Flag { long, short: None, takes_value: true, refused: true }
}

/// A flag that rbuild lets pass.
pub(super) const fn ignored(long: &'static str) -> Flag {
    Flag { long, short: None, takes_value: true, refused: false }
}

impl Flag {
    /// The same flag without a value.
    pub(super) const fn switch(self) -> Self {
        Self { takes_value: false, ..self }
    }

    /// The same flag with a short form.
    pub(super) const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }
}

/// The foreign flags of one verb.
pub(super) trait Flags {
    /// All of them.
    const FLAGS: &'static [Flag];
}

/// Takes the foreign flags of a verb from its command line.
pub(crate) struct Foreign<V> {
    refused: Option<&'static str>,
    verb: PhantomData<V>,
}

impl<V> Foreign<V> {
    /// The first flag typed that rbuild can't honour.
    pub(crate) fn refused(&self) -> Option<&'static str> {
        self.refused
    }
}

impl<V: Flags> clap::Args for Foreign<V> {
    fn augment_args(command: Command) -> Command {
        command.args(V::FLAGS.iter().map(|flag| {
            let action = if flag.takes_value { ArgAction::Append } else { ArgAction::SetTrue };
            let arg = Arg::new(flag.long).long(flag.long).action(action).hide(true);
            match flag.short {
                Some(short) => arg.short(short),
                None => arg,
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<V: Flags> clap::FromArgMatches for Foreign<V> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let typed = |flag: &&Flag| {
            flag.refused
                && matches.value_source(flag.long) == Some(clap::parser::ValueSource::CommandLine)
        };
        let refused = V::FLAGS.iter().find(typed).map(|flag| flag.long);
        Ok(Self { refused, verb: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<V> fmt::Debug for Foreign<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Foreign").field(&self.refused).finish()
    }
}

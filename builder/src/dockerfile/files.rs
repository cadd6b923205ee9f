//! The grammar of `COPY`, `ADD` and `RUN`: the instructions with files in them.

use super::clause::{Clause, Notes};
use super::diagnostic::Diagnostic;
use super::flag::{Known, Takes};
use super::heredoc::{self, Token};
use super::hint::suggest;
use super::mount::MountOptions;
use super::tree::{
    Add, Copy, Device, Heredoc, Instruction, Network, Run, RunCommand, Security, Source, Word,
};
use super::value::boolean;
use super::word::{Piece, plain};

/// The flags of `COPY`.
const COPY: Known = &[
    ("from", Takes::Value),
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Boolean),
    ("parents", Takes::Boolean),
    ("exclude", Takes::Values),
];
/// The flags of `ADD`.
const ADD: Known = &[
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Boolean),
    ("exclude", Takes::Values),
    ("checksum", Takes::Value),
    ("keep-git-dir", Takes::Boolean),
    ("unpack", Takes::Boolean),
];
/// The flags of `RUN`.
const RUN: Known = &[
    ("mount", Takes::Values),
    ("network", Takes::Value),
    ("security", Takes::Value),
    ("device", Takes::Values),
];

/// Tells that a value which is not expanded holds a variable.
pub(super) fn has_variable(text: &str) -> bool {
    text.find('$').is_some_and(|at| at + 1 < text.len())
}

impl Clause<'_> {
    pub(super) fn copy(
        &self,
        tokens: &[Token],
        heredocs: &[Heredoc],
        notes: &mut Notes,
    ) -> Result<Instruction, Diagnostic> {
        self.check_flags(COPY, notes);
        let from = self.flag_word("from");
        if let Some(from) = from.as_ref().filter(|from| has_variable(&from.text)) {
            notes.errors.push(no_variables("--from", from));
        }
        let (sources, destination) = self.sources(tokens, heredocs)?;
        Ok(Instruction::Copy(Copy {
            sources,
            destination,
            from,
            chown: self.flag_word("chown"),
            chmod: self.flag_word("chmod"),
            link: self.flags.boolean("link").unwrap_or(false),
            parents: self.flags.boolean("parents").unwrap_or(false),
            exclude: self.flag_words("exclude"),
        }))
    }

    pub(super) fn add(
        &self,
        tokens: &[Token],
        heredocs: &[Heredoc],
        notes: &mut Notes,
    ) -> Result<Instruction, Diagnostic> {
        self.check_flags(ADD, notes);
        if let Some(error) = notes.errors.first_mut()
            && self.flags.get("from").is_some()
        {
            error.hint = Some("only COPY copies from a stage or an image".to_owned());
        }
        let (sources, destination) = self.sources(tokens, heredocs)?;
        Ok(Instruction::Add(Add {
            sources,
            destination,
            chown: self.flag_word("chown"),
            chmod: self.flag_word("chmod"),
            link: self.flags.boolean("link").unwrap_or(false),
            exclude: self.flag_words("exclude"),
            checksum: self.flag_word("checksum"),
            keep_git_dir: self.flags.boolean("keep-git-dir"),
            unpack: self.flags.boolean("unpack"),
        }))
    }

    fn flag_words(&self, name: &str) -> Vec<Word> {
        let word = |flag: &super::flag::Flag| {
            Some(Word { text: flag.value.clone()?, span: self.flag_span(&flag.range) })
        };
        self.flags.all(name).filter_map(word).collect()
    }

    fn sources(
        &self,
        tokens: &[Token],
        heredocs: &[Heredoc],
    ) -> Result<(Vec<Source>, Word), Diagnostic> {
        let mut sources = match self.json(self.arguments)? {
            Some(paths) => {
                let span = self.span(0..self.arguments.len());
                paths.into_iter().map(|text| Source::Path(Word { text, span })).collect()
            }
            None => self.plain_sources(tokens, heredocs),
        };
        for source in &sources {
            if let Source::Heredoc(heredoc) = source {
                self.check_file_name(heredoc)?;
            }
        }
        match sources.pop() {
            Some(Source::Path(destination)) if !sources.is_empty() => Ok((sources, destination)),
            Some(Source::Heredoc(_)) => Err(self
                .error("cannot take a heredoc as its destination")
                .hint(format!("write the path behind it: `{} <<EOF /path`", self.keyword))),
            _ => Err(self.error("requires at least two arguments: sources and a destination")),
        }
    }

    /// The words between here-documents, and those.
    fn plain_sources(&self, tokens: &[Token], heredocs: &[Heredoc]) -> Vec<Source> {
        let mut sources = Vec::new();
        let mut from = 0;
        let paths = |from: usize, to: usize| {
            let shift = move |piece: Piece| Piece {
                range: piece.range.start + from..piece.range.end + from,
                text: piece.text,
            };
            let text = self.arguments.get(from..to).unwrap_or_default();
            plain(text).into_iter().map(move |piece| Source::Path(self.word(shift(piece))))
        };
        for (token, heredoc) in tokens.iter().zip(heredocs) {
            let Some(start) = token.range.start.checked_sub(self.arguments_start) else {
                continue;
            };
            sources.extend(paths(from, start));
            sources.push(Source::Heredoc(heredoc.clone()));
            from = token.range.end - self.arguments_start;
        }
        sources.extend(paths(from, self.arguments.len()));
        sources
    }

    pub(super) fn run(
        &self,
        heredocs: &[Heredoc],
        notes: &mut Notes,
    ) -> Result<Instruction, Diagnostic> {
        self.check_flags(RUN, notes);
        let command = match self.json(self.arguments)? {
            Some(words) if words.is_empty() => return Err(self.error("needs a command")),
            Some(words) => RunCommand::Exec(words),
            None => self.script(heredocs)?,
        };
        let mut mounts = Vec::new();
        for flag in self.flags.all("mount") {
            let Some(value) = flag.value.as_deref() else {
                continue;
            };
            match MountOptions::parse(value, self.flag_span(&flag.range)) {
                Ok(options) => mounts.push(options),
                Err(error) => notes.errors.push(error),
            }
        }
        let network =
            [("default", Network::Default), ("none", Network::None), ("host", Network::Host)];
        let security = [("sandbox", Security::Sandbox), ("insecure", Security::Insecure)];
        let mut devices = Vec::new();
        for word in self.flag_words("device") {
            match device(&word.text) {
                Ok(device) => devices.push(device),
                Err(message) => notes.errors.push(Diagnostic::error(word.span, message)),
            }
        }
        Ok(Instruction::Run(Run {
            command,
            mounts,
            network: self.choice("network", &network, notes),
            security: self.choice("security", &security, notes),
            devices,
            heredocs: heredocs.to_vec(),
        }))
    }

    /// What a `RUN` in shell form runs.
    fn script(&self, heredocs: &[Heredoc]) -> Result<RunCommand, Diagnostic> {
        if let [heredoc] = heredocs
            && heredoc::alone(self.arguments)
        {
            let text = heredoc.text().into_owned();
            let name = heredoc.name.clone();
            if heredoc.body.starts_with("#!") {
                self.check_file_name(heredoc)?;
                return Ok(RunCommand::Script { name, text });
            }
            return Ok(RunCommand::Shell(text));
        }
        let mut text = self.arguments.to_owned();
        for heredoc in heredocs {
            text.push('\n');
            text.push_str(&heredoc.body);
            text.push_str(&heredoc.name);
        }
        Ok(RunCommand::Shell(text))
    }

    /// Refuses a here-document that becomes a file and whose word is not the name of one.
    fn check_file_name(&self, heredoc: &Heredoc) -> Result<(), Diagnostic> {
        let name = heredoc.name.as_str();
        if !name.contains('/') && !matches!(name, "." | "..") {
            return Ok(());
        }
        Err(self.error(&format!("cannot make a file named `{name}`")).hint(
            "the word behind `<<` is the name of the file: leave the path to the destination"
                .to_owned(),
        ))
    }

    /// Reads a flag that takes one of a few words.
    fn choice<T: std::marker::Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
        notes: &mut Notes,
    ) -> Option<T> {
        let word = self.flag_word(name)?;
        let choice = choices.iter().find(|(choice, _)| *choice == word.text);
        if choice.is_none() {
            let names = choices.iter().map(|(name, _)| *name);
            let message = format!("`{}` is no value of `--{name}`", word.text);
            let hint = suggest(&word.text, names.clone()).unwrap_or_else(|| {
                format!("it is one of {}", names.collect::<Vec<_>>().join(", "))
            });
            notes.errors.push(Diagnostic::error(word.span, message).hint(hint));
        }
        choice.map(|(_, value)| *value)
    }
}

/// The error for a variable where none is expanded.
pub(super) fn no_variables(what: &str, word: &Word) -> Diagnostic {
    Diagnostic::error(word.span, format!("variables are not expanded in `{what}`"))
        .hint("name a stage `FROM ${IMAGE} AS name`, and take that name here".to_owned())
}

/// Parses `NAME[,required[=BOOLEAN]]` of `--device`.
fn device(text: &str) -> Result<Device, String> {
    let mut device = Device { name: String::new(), required: false };
    for field in text.split(',') {
        match field.split_once('=') {
            None if field.eq_ignore_ascii_case("required") => device.required = true,
            Some((key, value)) if key.eq_ignore_ascii_case("required") => {
                let value = boolean(value);
                device.required =
                    value.ok_or_else(|| format!("invalid device option `{field}`"))?;
            }
            Some((key, value)) if key.eq_ignore_ascii_case("name") => {
                value.clone_into(&mut device.name);
            }
            _ if device.name.is_empty() => field.clone_into(&mut device.name),
            _ => return Err(format!("unknown device option `{field}`")),
        }
    }
    if device.name.is_empty() { Err("`--device` needs a name".to_owned()) } else { Ok(device) }
}

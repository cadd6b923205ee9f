//! The lint rules that need no more than the text. Those that depend on what is built, on arguments
//! and base images, are the lowering's.

use std::collections::HashMap;

use super::diagnostic::{Diagnostic, Kind};
use super::directive::{Check, Directives};
use super::lint::Rule;
use super::tree::{Dockerfile, From, Instruction, Stage, Statement};

/// Finds what the rules have to say; no `# check=` is asked yet.
pub(super) fn find(file: &Dockerfile) -> Vec<Diagnostic> {
    let mut findings = Findings(Vec::new());
    findings.casing(file);
    for statement in &file.args {
        let names: Vec<_> = statement.value.iter().map(|arg| arg.name.text.as_str()).collect();
        findings.description("ARG", statement, &names);
    }
    let mut before: Before = HashMap::new();
    for stage in &file.stages {
        findings.from(&stage.from, &before);
        findings.instructions(stage);
        if let Some(name) = &stage.from.value.name {
            before.insert(name, stage.from.span.lines.0);
        }
    }
    findings.0
}

impl Dockerfile {
    /// A file without any instruction.
    pub(super) fn nothing(directives: Directives) -> Self {
        Self { directives, args: Vec::new(), stages: Vec::new(), warnings: Vec::new() }
    }

    /// Returns the warnings that the checks leave: the one given, and those above instructions.
    pub fn warnings_under(&self, check: Option<&Check>) -> Vec<Diagnostic> {
        self.kept_under(check, self.warnings.clone())
    }

    /// Leaves of some warnings about this file those that the checks leave, like
    /// [`warnings_under`](Self::warnings_under).
    pub fn kept_under(&self, check: Option<&Check>, mut all: Vec<Diagnostic>) -> Vec<Diagnostic> {
        all.retain(|warning| match warning.kind {
            Kind::Lint(rule) => Check::applies(check, self.check_at(warning.span.start), rule),
            Kind::Error => true,
        });
        all
    }

    /// The check above the instruction that holds a place of the file.
    fn check_at(&self, place: usize) -> Option<&Check> {
        fn last<T>(statements: &[Statement<T>], place: usize) -> Option<&Statement<T>> {
            let behind = statements.partition_point(|statement| statement.span.start <= place);
            statements.get(behind.checked_sub(1)?)
        }
        let behind = self.stages.partition_point(|stage| stage.from.span.start <= place);
        let Some(stage) = behind.checked_sub(1).and_then(|index| self.stages.get(index)) else {
            return last(&self.args, place)?.check.as_ref();
        };
        match last(&stage.instructions, place) {
            Some(statement) => statement.check.as_ref(),
            None => stage.from.check.as_ref(),
        }
    }
}

/// The stages so far by name, and their lines.
type Before<'f> = HashMap<&'f str, usize>;

struct Findings(Vec<Diagnostic>);

impl Findings {
    fn add<T>(&mut self, rule: Rule, statement: &Statement<T>, message: String) {
        self.0.push(Diagnostic::lint(rule, statement.span, message));
    }

    /// Keywords in one case, by the majority of the stages.
    fn casing(&mut self, file: &Dockerfile) {
        let mut keywords = Vec::new();
        for stage in &file.stages {
            keywords.push((keyword(&stage.from), stage.from.span));
            keywords.extend(stage.instructions.iter().map(|s| (keyword(s), s.span)));
        }
        let is_lower = |word: &str| !word.contains(|c: char| c.is_ascii_uppercase());
        let is_upper = |word: &str| !word.contains(|c: char| c.is_ascii_lowercase());
        let lower = keywords.iter().filter(|(word, _)| is_lower(word)).count();
        let upper = keywords.iter().filter(|(word, _)| is_upper(word)).count();
        let (wanted, matches): (_, &dyn Fn(&str) -> bool) =
            if lower > upper { ("lower", &is_lower) } else { ("upper", &is_upper) };
        for (word, span) in keywords.into_iter().filter(|(word, _)| !matches(word)) {
            let message = format!("`{word}` is not in the {wanted} case of the rest");
            self.0.push(Diagnostic::lint(Rule::ConsistentInstructionCasing, span, message));
        }
    }

    fn from(&mut self, statement: &Statement<From>, before: &Before) {
        if let Some(name) = &statement.value.name {
            self.stage_name(statement, name, before);
            self.description("FROM", statement, &[name]);
        }
    }

    fn stage_name(&mut self, statement: &Statement<From>, name: &str, before: &Before) {
        let mut words = statement.text.split_whitespace().rev();
        let (written, keyword_as) = (words.next().unwrap_or(name), words.next().unwrap_or("AS"));
        if written != name {
            let message = format!("the stage name `{written}` should be in lower case");
            self.add(Rule::StageNameCasing, statement, message);
        }
        let keyword = keyword(statement);
        let upper = keyword == keyword.to_ascii_uppercase();
        let lower = keyword == keyword.to_ascii_lowercase();
        if (upper && keyword_as != "AS") || (lower && keyword_as != "as") {
            let message = format!("`{keyword_as}` and `{keyword}` are not in the same case");
            self.add(Rule::FromAsCasing, statement, message);
        }
        if matches!(name, "scratch" | "context") {
            let message = format!("the stage name `{name}` is reserved");
            self.add(Rule::ReservedStageName, statement, message);
        }
        if let Some(line) = before.get(name) {
            let message = format!("a stage of line {line} is named `{name}` too");
            self.add(Rule::DuplicateStageName, statement, message);
        }
    }

    /// The last line of the comment above, where there is one, starts with what it describes.
    fn description<T>(&mut self, keyword: &str, statement: &Statement<T>, names: &[&str]) {
        let Some(line) = statement.comments.last() else {
            return;
        };
        let first = line.split(' ').next().unwrap_or_default();
        if !names.contains(&first) {
            let name = if let [name] = names { name } else { "NAME" };
            let message =
                format!("the comment above {keyword} should have the form `# {name} DESCRIPTION`");
            self.add(Rule::InvalidDefinitionDescription, statement, message);
        }
    }

    fn instructions(&mut self, stage: &Stage) {
        for statement in &stage.instructions {
            match &statement.value {
                Instruction::Arg(args) => {
                    let names: Vec<_> = args.iter().map(|arg| arg.name.text.as_str()).collect();
                    self.description("ARG", statement, &names);
                }
                Instruction::Maintainer(_) => {
                    let message = "use a label in place of MAINTAINER: \
                                   `LABEL org.opencontainers.image.authors=...`";
                    self.add(Rule::MaintainerDeprecated, statement, message.to_owned());
                }
                _ => {}
            }
        }
    }
}

fn keyword<T>(statement: &Statement<T>) -> &str {
    statement.text.split_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{parse, parse_all};
    use super::*;

    /// The rules and lines of what is found without any check of the file, experiments included.
    fn found(text: &str) -> Vec<(&'static str, usize)> {
        let (file, _) = parse_all(text.as_bytes());
        let told = |warning: Diagnostic| match warning.kind {
            Kind::Lint(rule) => (rule.name(), warning.span.lines.0),
            Kind::Error => panic!("{warning}"),
        };
        file.warnings.into_iter().map(told).collect()
    }

    macro_rules! rules {
        ($($name:ident: $rule:ident at $line:literal in $bad:expr, not in $good:expr;)*) => {
            $(#[test]
            fn $name() {
                let rule = stringify!($rule);
                assert_eq!(found($bad), [(rule, $line)]);
                assert_eq!(found($good), []);
            })*
        };
    }

    rules! {
        stage_names_are_lower: StageNameCasing at 1 in "FROM a AS Base", not in "FROM a AS base";
        as_is_like_from: FromAsCasing at 2 in "FROM a AS b\nFROM a as c", not in "from a as b";
        a_mixed_from_is_another_rule: ConsistentInstructionCasing at 1
            in "From a as b\nRUN c", not in "from a as b\nrun c";
        keywords_are_in_one_case: ConsistentInstructionCasing at 2
            in "FROM a\nrun b\nRUN c", not in "arg A\nFROM a\nRUN b";
        names_are_unique: DuplicateStageName at 2
            in "FROM a AS b\nFROM a AS b", not in "FROM a AS b\nFROM a AS c";
        names_are_not_reserved: ReservedStageName at 1
            in "FROM a AS scratch", not in "FROM scratch AS a";
        maintainer_is_old: MaintainerDeprecated at 2
            in "FROM a\nMAINTAINER me", not in "FROM a\nLABEL maintainer=me";
        keys_have_equals_signs: LegacyKeyValueFormat at 2
            in "FROM a\nENV a b", not in "FROM a\nENV a=b\nONBUILD ENV a b";
        continuations_are_not_empty: NoEmptyContinuation at 4
            in "FROM a\nRUN b \\\n\n  c", not in "FROM a\nRUN b \\\n  # d\n  c";
        stages_are_described: InvalidDefinitionDescription at 2
            in "# BASE is it\nFROM a AS base", not in "# base is it\nFROM a AS base";
        arguments_are_described: InvalidDefinitionDescription at 2
            in "# it\nARG a=1 b=2\nFROM a", not in "# other words\n# b is it\nARG a=1 b=2\nFROM a";
        comments_further_up_describe_nothing: InvalidDefinitionDescription at 5
            in "# a\n\nARG b\n# c\nFROM a AS d", not in "# a\n#\nARG b\n# c\n\nFROM a AS d\n# e\nRUN f";
    }

    #[test]
    fn checks_of_the_file_and_of_an_instruction_add_up() {
        let left = |text: &str| {
            let file = parse(text.as_bytes()).expect("valid");
            let warnings = file.warnings_under(file.directives.check.as_ref());
            warnings.iter().map(|warning| warning.span.lines.0).collect::<Vec<_>>()
        };
        let file =
            "FROM a\n# check=skip=MaintainerDeprecated // she insists\nMAINTAINER b\nENV c d\n";
        assert_eq!(left(file), [4]);
        assert!(left(&format!("# check=skip=LegacyKeyValueFormat\n{file}")).is_empty());
        assert!(left(&format!("# check=skip=all\n{file}")).is_empty());
        assert_eq!(left("FROM a\n# check=nonsense\nMAINTAINER b\n"), [3]);
        assert!(left("# a\nARG b\nFROM a\n").is_empty());
        let experiment = "experimental=InvalidDefinitionDescription";
        assert_eq!(left(&format!("# check=skip=all;{experiment}\n# a\nARG b\nFROM a\n")), [3]);
        assert_eq!(left(&format!("\n# a\n# check={experiment}\nARG b\n# a\nARG c\nFROM a\n")), [4]);
    }

    #[test]
    fn a_file_with_errors_has_warnings_too() {
        assert_eq!(
            found("FROM a AS Bad\nMAINTAINER me\nBADCMD\n"),
            [("StageNameCasing", 1), ("MaintainerDeprecated", 2)]
        );
        assert_eq!(found("\0"), []);
    }
}

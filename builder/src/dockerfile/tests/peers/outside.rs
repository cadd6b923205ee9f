//! What the parsers of others get wrong: a reason, and the fixtures it holds for.

/// What `parse-dockerfile` 0.1.9 reads in another way, or not at all.
pub(super) const OUTSIDE_PEER: &[(&str, &[&str])] = &[
    (
        "refuses a command or an array without words",
        &["cmd-empty", "entrypoint-reset", "json-forms"],
    ),
    ("takes `--` for an argument", &["cmd-flags", "copy-dash-dash", "flags-end"]),
    (
        "neither groups by the quotes of a flag nor resolves them",
        &["flags-quoted", "run-mount-quoted"],
    ),
    (
        "knows no blanks before a directive, and no directive without a value",
        &["directive-leading-blanks", "directive-without-value"],
    ),
    (
        "knows no descriptor and no blank beside `<<`",
        &[
            "heredoc-blank-before-word",
            "heredoc-dash-blank",
            "heredoc-descriptor",
            "heredoc-run-alone",
        ],
    ),
    (
        "finds here-documents only where the arguments start",
        &["heredoc-on-continued-line", "heredoc-run-command"],
    ),
    (
        "continues a line that ends with a doubled escape character",
        &["lines-continuation", "lines-escape-backquote"],
    ),
    ("keeps the blanks around paths in an array", &["volume-json-trimmed"]),
];

/// What `dockerfile-parser` 0.9.0 reads in another way, or not at all.
pub(super) const OUTSIDE_PEST: &[(&str, &[&str])] = &[
    (
        "reads no here-documents",
        &[
            "heredoc-add",
            "heredoc-backquote",
            "heredoc-behind-flags",
            "heredoc-between-sources",
            "heredoc-blank-before-word",
            "heredoc-carriage-returns",
            "heredoc-comments-inside",
            "heredoc-continuations-inside",
            "heredoc-copy",
            "heredoc-dash-blank",
            "heredoc-descriptor",
            "heredoc-empty",
            "heredoc-end-in-text",
            "heredoc-instructions-inside",
            "heredoc-no-last-end",
            "heredoc-on-continued-line",
            "heredoc-quoted-parts",
            "heredoc-quotes-in-body",
            "heredoc-run-alone",
            "heredoc-run-command",
            "heredoc-run-script",
            "heredoc-same-name-twice",
            "heredoc-swapped",
            "heredoc-tabs",
            "heredoc-variable-name",
            "lines-carriage-returns",
            "onbuild-heredocs",
            "whole-rust",
        ],
    ),
    (
        "leaves the flags of RUN in its text",
        &[
            "flags-end",
            "run-devices",
            "run-flags",
            "run-flags-alone",
            "run-json-behind-flags",
            "run-mount-bind",
            "run-mount-booleans",
            "run-mount-cache",
            "run-mount-keys-in-any-case",
            "run-mount-quoted",
            "run-mount-secret",
            "run-mount-ssh",
            "run-mount-tmpfs",
            "run-mount-variables",
            "run-mounts",
            "run-network",
            "run-security",
            "whole-node",
        ],
    ),
    (
        "takes flags of COPY without a value, and `--`, for sources",
        &["copy-chown", "copy-dash-dash", "copy-link-values", "copy-parents", "flags-continued"],
    ),
    (
        "cuts quotes and escapes of flags and paths in a way of its own",
        &[
            "copy-forms",
            "copy-json-blanks",
            "copy-quotes-are-no-groups",
            "copy-variables",
            "flags-quoted",
        ],
    ),
    (
        "reads an ARG of one name only",
        &[
            "arg-forms",
            "arg-global",
            "arg-quotes",
            "arg-several",
            "lint-secrets",
            "whole-multi-stage",
        ],
    ),
    (
        "reads ENV and LABEL with few of their forms",
        &[
            "env-continued-quotes",
            "env-empty-values",
            "env-escaped-blank",
            "env-forms",
            "env-one-name",
            "env-open-quote",
            "env-quoted-parts",
            "env-single-quotes",
            "label-forms",
        ],
    ),
    ("refuses a command without words", &["cmd-and-entrypoint", "cmd-empty"]),
    ("takes `--` before a command for a part of it", &["cmd-flags"]),
    ("takes single quotes and a comma too many in an array", &["json-invalid-is-text"]),
    (
        "reads no array but one of simple strings, and no text that starts like one",
        &["json-forms", "run-json-escapes", "run-json-then-text"],
    ),
    (
        "knows no directives",
        &["directive-all", "directive-leading-blanks", "lines-escape-backquote"],
    ),
    ("knows no byte order mark", &["directive-after-byte-order-mark", "lines-byte-order-mark"]),
    (
        "checks digests, and knows few signs in the name of a stage",
        &["from-digest", "from-forms", "from-name-signs"],
    ),
    (
        "loses its way at comments and empty lines in a continued instruction, and at its ends",
        &[
            "lines-comments",
            "lines-continuation",
            "lines-continuation-alone",
            "lines-continuation-at-end",
            "lines-continuation-first",
            "lines-empty-continuation",
        ],
    ),
    ("knows few blanks", &["lines-other-blanks"]),
];

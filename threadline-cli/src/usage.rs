//! What is wrong with the arguments, said as every other error is: what offends, and what to write instead.

use std::env;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

/// One line of what is wrong; `None` for what is no mistake but a help that was not asked for.
pub(crate) fn told(error: &Error, command: &Command) -> Option<String> {
    let of = |kind| error.get(kind).map(texts).unwrap_or_default();
    let first = |kind| of(kind).into_iter().next().unwrap_or_default();
    let argument = first(ContextKind::InvalidArg);
    let verb = verb(command);
    let help = format!("`{verb} --help` says what there is");
    let near = |kind| match first(kind) {
        near if near.is_empty() => help.clone(),
        near => format!("did you mean `{near}`? {help}"),
    };
    let value = first(ContextKind::InvalidValue);
    let allowed = of(ContextKind::ValidValue).join(", ");
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    Some(match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return None,
        ErrorKind::UnknownArgument => {
            format!("`{}` is no argument of `{verb}`; {}", name(&argument), near(ContextKind::SuggestedArg))
        }
        ErrorKind::InvalidSubcommand => {
            let given = first(ContextKind::InvalidSubcommand);
            format!("`{given}` is no verb of `{verb}`; {}", near(ContextKind::SuggestedSubcommand))
        }
        ErrorKind::MissingSubcommand => format!("`{verb}` takes one more verb; {help}"),
        ErrorKind::InvalidValue if argument.is_empty() => raw(error),
        ErrorKind::InvalidValue if value.is_empty() && allowed.is_empty() => {
            format!("`{}` has no value; write `{argument}`", name(&argument))
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            format!("`{}` has no value; write one of: {allowed}", name(&argument))
        }
        ErrorKind::InvalidValue => {
            format!("`{value}` is no value of `{}`; write one of: {allowed}", name(&argument))
        }
        ErrorKind::ValueValidation if argument.is_empty() => raw(error),
        ErrorKind::ValueValidation => format!("`{value}` is no value of `{}`: {cause}", name(&argument)),
        ErrorKind::MissingRequiredArgument => {
            let missing: Vec<String> = of(ContextKind::InvalidArg).iter().map(|one| written(one)).collect();
            let verb = if missing.len() == 1 { "is" } else { "are" };
            format!("{} {verb} missing; {help}", missing.join(" and "))
        }
        ErrorKind::ArgumentConflict => {
            let others: Vec<String> =
                of(ContextKind::PriorArg).iter().map(|other| format!("`{}`", name(other))).collect();
            match &others[..] {
                [other] if *other == format!("`{}`", name(&argument)) => {
                    format!("{other} is given twice; give it once")
                }
                [] => format!("`{}` cannot be used with what else is given; {help}", name(&argument)),
                others => format!(
                    "`{}` cannot be used with {}; leave one out",
                    name(&argument),
                    others.join(" and ")
                ),
            }
        }
        ErrorKind::TooManyValues => {
            format!("`{value}` is a value too many of `{}`; {help}", name(&argument))
        }
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            format!("`{}` has too few values; write `{argument}`", name(&argument))
        }
        _ => raw(error),
    })
}

fn texts(value: &ContextValue) -> Vec<String> {
    match value {
        ContextValue::String(text) => vec![text.clone()],
        ContextValue::Strings(texts) => texts.clone(),
        other => vec![other.to_string()],
    }
}

/// `--by` of `--by <ACTOR>`, `TABLE` of `<TABLE>`, and what was typed as it is.
fn name(argument: &str) -> &str {
    let name = argument.split([' ', '=']).next().unwrap_or(argument);
    name.trim_start_matches(['<', '[']).trim_end_matches("...").trim_end_matches(['>', ']'])
}

/// What is missing, as it is to be written; of a group one of several.
fn written(argument: &str) -> String {
    match argument.strip_prefix("<--").and_then(|rest| rest.strip_suffix('>')) {
        Some(group) => {
            let names: Vec<String> = group.split("|--").map(|one| format!("`--{}`", name(one))).collect();
            format!("one of {}", names.join(", "))
        }
        None if argument.starts_with('-') => format!("`{argument}`"),
        None => format!("`{}`", name(argument)),
    }
}

/// What one of our own checks says, without what clap adds.
fn raw(error: &Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    text.split("\n\n").next().unwrap_or(text).trim_end().replace('\n', " ")
}

/// The verb that was called, as `threadline retention holds`.
fn verb(command: &Command) -> String {
    let (mut called, mut at) = (command.get_name().to_owned(), command);
    for argument in env::args().skip(1) {
        let Some(inner) = at.find_subcommand(&argument) else { continue };
        called = format!("{called} {}", inner.get_name());
        at = inner;
    }
    called
}

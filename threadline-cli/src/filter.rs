//! The flags of a filter: one for each name `Filter::from_pairs` takes, which also judges their values.

use chrono::SecondsFormat;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use threadline::Filter;

use crate::time;

/// Which part of the trail is asked for.
#[derive(Debug)]
pub(crate) struct FilterArgs {
    pub(crate) filter: Filter,
}

/// Of a flag: the name of its value, and its help.
fn described(name: &str) -> (&'static str, &'static str) {
    match name {
        "table" => ("TABLE", "Changes of this table, as `posts` or `blog.posts`"),
        "schema" => ("SCHEMA", "Changes of the tables in this schema"),
        "key" => ("COLUMN=VALUE", "Changes of the row with this key, with one --table"),
        "actor" => ("ACTOR", "By this actor, as `user:42`, `anonymous`, or `nobody` where none was named"),
        "action" => ("NAME", "In transactions that recorded an action of this name"),
        "status" => ("STATUS", "In transactions whose action ended so: `ok` or `error`"),
        "category" => ("CATEGORY", "In transactions that recorded an action of this category"),
        "correlation_id" => ("ID", "In transactions that recorded an action with this correlation id"),
        "transaction_correlation_id" => {
            ("ID", "In transactions with this correlation id, with or without an action")
        }
        "request_id" => ("ID", "By this request"),
        "job_id" => ("ID", "By this background job"),
        "op" => ("OP", "Of this kind: `insert`, `update`, `delete` or `truncate`"),
        "column" => ("COLUMN", "Updates that changed this column"),
        "from" => {
            ("TIME", "At this time or later: `2026-11-21T09:30:00Z`, `2026-11-21`, or `2h` for two hours ago")
        }
        "to" => ("TIME", "At this time or earlier"),
        "db_role" => ("ROLE", "By database sessions that logged in as this role"),
        _ => ("VALUE", ""),
    }
}

/// The id of a flag's argument, which may have the name of a positional one.
fn id(name: &str) -> String {
    format!("filter.{name}")
}

impl Args for FilterArgs {
    fn augment_args(command: Command) -> Command {
        let arguments = Filter::NAMES.iter().map(|name| {
            let (value, help) = described(name);
            let is_list = Filter::REPEATABLE.contains(name);
            let help = if is_list { format!("{help}; may be given several times") } else { help.to_owned() };
            Arg::new(id(name))
                .long(name.replace('_', "-"))
                .value_name(value)
                .help(help)
                // The library says what is given twice, too.
                .action(ArgAction::Append)
                .help_heading("Filter")
        });
        command.args(arguments)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FilterArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut pairs = Vec::new();
        for name in Filter::NAMES {
            for value in matches.get_many::<String>(&id(name)).into_iter().flatten() {
                let value = match name {
                    "from" | "to" => time::parse(value)
                        .map_err(|forms| {
                            Error::raw(
                                ErrorKind::InvalidValue,
                                format!("`{value}` is no value of `--{name}`: {forms}"),
                            )
                        })?
                        .to_rfc3339_opts(SecondsFormat::AutoSi, true),
                    _ => value.clone(),
                };
                pairs.push((name, value));
            }
        }
        Filter::from_pairs(pairs)
            .map(|filter| Self { filter })
            .map_err(|error| Error::raw(ErrorKind::InvalidValue, error.to_string()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_filter_is_a_flag_with_a_help() {
        let command = FilterArgs::augment_args(Command::new("test"));
        for name in Filter::NAMES {
            let argument = command.get_arguments().find(|argument| argument.get_id() == id(name).as_str());
            let help = argument.and_then(Arg::get_help).map(ToString::to_string).unwrap_or_default();
            assert!(help.len() > 10, "{name}: {help}");
        }
    }
}

//! One file a verb: its `Args`, which document it, and its `run`. A new verb is a `mod` line and a line in `verbs!`.

mod actions;
mod actor;
mod as_of;
mod completions;
mod config;
mod continuity;
mod correlation;
mod coverage;
mod diff;
mod doctor;
mod evidence;
mod export;
mod exports;
mod feed;
mod generate;
mod history;
mod incident;
mod install;
mod man;
mod migrate;
mod partitions;
mod policy;
mod retention;
mod storage;
mod timeline;
mod undo;
mod verify;
mod worker;

use anyhow::Result;

use crate::Outcome;

/// The subcommands, in the order of the help: each has the arguments of its module, and is run by it.
macro_rules! verbs {
    ($($verb:ident => $module:ident),+ $(,)?) => {
        #[derive(clap::Subcommand)]
        pub(crate) enum Command {
            $($verb($module::Args)),+
        }

        impl Command {
            pub(crate) fn run(&self) -> Result<Outcome> {
                match self {
                    $(Self::$verb(args) => $module::run(args)),+
                }
            }
        }
    };
}

verbs! {
    Install => install,
    Generate => generate,
    Migrate => migrate,
    Timeline => timeline,
    History => history,
    AsOf => as_of,
    Diff => diff,
    Incident => incident,
    Actor => actor,
    Correlation => correlation,
    Actions => actions,
    Undo => undo,
    Export => export,
    Feed => feed,
    Verify => verify,
    Coverage => coverage,
    Policy => policy,
    Doctor => doctor,
    Continuity => continuity,
    Evidence => evidence,
    Config => config,
    Retention => retention,
    Partitions => partitions,
    Exports => exports,
    Storage => storage,
    Worker => worker,
    Completions => completions,
    Man => man,
}

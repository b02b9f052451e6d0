//! The command as its users meet it: files in, files, messages and exit codes out.

mod example;
mod generate;
mod help;
mod host;
mod install;
mod sources;
mod look;
mod sample;

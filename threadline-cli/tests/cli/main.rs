//! The command as its users meet it: files in, files, messages and exit codes out.

mod connection;
mod example;
mod export;
mod feed;
mod generate;
mod guide;
mod help;
mod host;
mod install;
mod migrate;
mod operations;
mod reading;
mod retention;
mod sample;
mod schemas;
mod sources;
mod terminal;
mod undo;
mod worker;

//! The pages for operators, asked as a browser asks.

mod access_log;
mod addresses;
mod api;
mod browser;
mod exports;
mod fragments;
mod gaps;
mod gates;
mod health;
mod hostile;
mod lists;
mod pages;
mod recovery;
mod retention;
mod rights;
mod site;
mod states;
mod views;

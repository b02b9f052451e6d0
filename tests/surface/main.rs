//! The pages for operators, asked as a browser asks.

mod gates;
mod hostile;
mod pages;
mod site;
mod states;

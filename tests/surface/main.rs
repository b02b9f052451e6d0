//! The pages for operators, asked as a browser asks.

mod api;
mod gates;
mod hostile;
mod pages;
mod site;
